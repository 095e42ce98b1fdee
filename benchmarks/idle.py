"""What an operator costs that has nothing to do: hundreds of clusters that rest, and some that drain workers.

Nodes and Pods are KWOK's, and one process speaks for all schedulers. The operator is a process in the cluster's
network. Its processor time, memory and connections are the kernel's figures, the requests are the API server's.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator

from benchmarks import report, usage
from benchmarks.field import OURS, Field, Used, field
from dask_k8s import names
from dask_k8s.kinds.value import Manifest
from dask_k8s.kube.resources import DASK_CLUSTER, POD
from tests.played.playing import manifest
from tests.played.scene import SCENE
from tests.played.server import COUNT

IDLE, DRAINING = 500, 20
WORKERS, LEFT = 10, 5
"""Workers of a cluster that drains, before and after."""

WINDOW, SETTLE = 60.0, 15.0
IDLE_TIMEOUT = 300
"""Seconds: far from its end a scheduler is asked each ten seconds, and all is measured before it warns."""

DAY = 86_400
"""Seconds that a task of a worker that drains would take, and that it is waited for."""

HEADER = ("", "questions a second", "of a core", "connections", "begun", "requests", "memory")


def main(rounds: int | None) -> None:
    """Measure and print; further rounds repeat each window."""
    rows = asyncio.run(_measured(rounds or 1))
    runs = {f"{number}, {row[0]}": row[1:] for number, row in enumerate(rows, 1)}
    report.publish("idle", HEADER, rows, f"{WINDOW:g} s each.", runs)


async def _measured(rounds: int) -> list[tuple[str, ...]]:
    """All situations, one after the other, in one life of an operator."""
    async with field() as place, place.namespace() as namespace:
        with place.operator(OURS, [namespace]) as used:
            watcher = Watcher(place, used)
            return [
                (name, *await watcher.window()) async for name in situations(place, namespace) for _ in range(rounds)
            ]


class Watcher:
    """Looks at one operator."""

    def __init__(self, place: Field, used: Used) -> None:
        self._place = place
        self._used = used

    async def window(self) -> tuple[str, ...]:
        """What it used in a while."""
        await asyncio.sleep(SETTLE)
        lines, pid = self._place.play.lines, self._used.pid
        told, asked = len(lines()), usage.requests(self._place.environment)
        began = time.monotonic()
        self._used.seconds()
        await asyncio.sleep(WINDOW)
        share = self._used.seconds() / (time.monotonic() - began)
        requests = usage.requests(self._place.environment) - asked
        new = lines()[told:]
        totals = [line["total"] for line in new if line["what"] == "asked"]
        row = (
            f"{(totals[-1] - totals[0]) / (len(totals) - 1) / COUNT:.0f}",
            f"{share:.1%}",
            str(usage.connections(pid, names.SCHEDULER_PORT)),
            str(sum(line["what"] == "connected" for line in new)),
            ", ".join(f"{count} {verb}" for verb, count in sorted(requests.items())) or "none",
            f"{self._used.memory():.0f} MiB",
        )
        print(*row, sep=" | ", file=sys.stderr, flush=True)
        return row


async def situations(place: Field, namespace: str) -> AsyncIterator[str]:
    """Brings each about, and says its name once it is there."""
    idle = [f"idle-{number}" for number in range(IDLE)]
    await place.make(namespace, (manifest(name, 1) for name in idle))
    await place.told("joined", IDLE)
    yield f"{IDLE} clusters, nothing is asked"
    await place.patch(DASK_CLUSTER, namespace, idle, {"spec": {"idleTimeout": IDLE_TIMEOUT}})
    yield f"{IDLE} clusters with idleTimeout"
    draining = [f"draining-{number}" for number in range(DRAINING)]
    await place.make(namespace, map(drains_long, draining))
    await place.told("joined", IDLE + DRAINING * WORKERS)
    await _all_are_at_work(place, namespace)
    await place.scale(namespace, draining, LEFT)
    yield f"the same, and {DRAINING} clusters that drain {WORKERS - LEFT} workers each"


def drains_long(name: str) -> Manifest:
    """A cluster whose drains outlast the measurement."""
    made = manifest(name, WORKERS)
    made["spec"]["worker"]["drainTimeout"] = DAY
    return made


async def _all_are_at_work(place: Field, namespace: str) -> None:
    """Workers of clusters that drain have tasks that outlast the measurement."""
    workers = await place.client.list(POD, namespace, labels=f"{names.COMPONENT}={names.Component.WORKER}")
    busy = [name for pod in workers["items"] if (name := pod["metadata"]["name"]).startswith("draining-")]
    await place.patch(POD, namespace, busy, {"metadata": {"annotations": {SCENE: json.dumps({"tasks": [DAY]})}}})
    await place.told("performs", len(busy))
