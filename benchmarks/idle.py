"""What an operator costs that has nothing to do: hundreds of clusters that rest, and some that drain workers.

Nodes and Pods are KWOK's, and one process speaks for all schedulers. The operator is a process in the cluster's
network. Its processor time, memory and connections are the kernel's figures, the requests are the API server's.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any

from benchmarks import report, serving, usage
from benchmarks.start import installed, plain_environment
from dask_k8s import names
from dask_k8s.kinds.value import Manifest
from dask_k8s.kube import credentials
from dask_k8s.kube.client import Client
from dask_k8s.kube.resources import DASK_CLUSTER, DASK_WORKER_GROUP, NAMESPACE, POD
from devcluster import Cluster, up
from tests.played.playing import Play, manifest, playing
from tests.played.scene import SCENE
from tests.played.server import COUNT

IDLE, DRAINING = 500, 20
WORKERS, LEFT = 10, 5
"""Workers of a cluster that drains, before and after."""

WINDOW, SETTLE, LONGEST = 60.0, 15.0, 600.0
AT_ONCE = 20
IDLE_TIMEOUT = 300
"""Seconds: far from its end a scheduler is asked each ten seconds, and all is measured before it warns."""

DAY = 86_400
"""Seconds that a task of a worker that drains would take, and that it is waited for."""

HEADER = ("", "questions a second", "of a core", "connections", "begun", "requests", "memory")


def main(rounds: int | None) -> None:
    """Measure and print; further rounds repeat each window."""
    cluster = up("scale")
    with installed(cluster, serves=False), playing(cluster) as play:
        asyncio.run(measured(cluster, play, rounds or 1))


async def measured(cluster: Cluster, play: Play, rounds: int) -> None:
    """All situations, one after the other, in one life of an operator."""
    environment = {**plain_environment(), **cluster.environment()}
    namespace = f"idle-{secrets.token_hex(3)}"
    async with Client(await credentials.from_kubeconfig(str(cluster.kubeconfig))) as client:
        await client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        try:
            with serving.process(cluster.inside([*serving.OURS, "--namespace", namespace]), environment) as process:
                watcher = Watcher(play, process, environment)
                rows = [
                    (name, *await watcher.window())
                    async for name in situations(Scene(client, play, namespace))
                    for _ in range(rounds)
                ]
        finally:
            await client.delete(NAMESPACE, None, namespace)
    report.publish(
        "idle",
        HEADER,
        rows,
        f"{WINDOW:g} s each.",
        {f"{number}, {row[0]}": row[1:] for number, row in enumerate(rows, 1)},
    )


class Watcher:
    """Looks at one operator."""

    def __init__(self, play: Play, process: subprocess.Popen[bytes], environment: Mapping[str, str]) -> None:
        self._play = play
        self._pid = process.pid
        self._environment = environment

    async def window(self) -> tuple[str, ...]:
        """What it used in a while."""
        await asyncio.sleep(SETTLE)
        began, used, told = time.monotonic(), usage.processor(self._pid), len(self._play.lines())
        asked = usage.requests(self._environment)
        await asyncio.sleep(WINDOW)
        took, used = time.monotonic() - began, usage.processor(self._pid) - used
        lines = self._play.lines()[told:]
        totals = [line["total"] for line in lines if line["what"] == "asked"]
        requests = usage.requests(self._environment) - asked
        row = (
            f"{(totals[-1] - totals[0]) / (len(totals) - 1) / COUNT:.0f}",
            f"{used / took:.1%}",
            str(usage.connections(self._pid, names.SCHEDULER_PORT)),
            str(sum(line["what"] == "connected" for line in lines)),
            ", ".join(f"{count} {verb}" for verb, count in sorted(requests.items())) or "none",
            f"{usage.memory(self._pid):.0f} MiB",
        )
        print(*row, sep=" | ", file=sys.stderr, flush=True)
        return row


async def situations(scene: Scene) -> AsyncIterator[str]:
    """Brings each about, and says its name once it is there."""
    await scene.make((manifest(f"idle-{number}", 1) for number in range(IDLE)), joined=IDLE)
    yield f"{IDLE} clusters, nothing is asked"
    await scene.all_patched(DASK_CLUSTER, {"spec": {"idleTimeout": IDLE_TIMEOUT}}, [f"idle-{n}" for n in range(IDLE)])
    yield f"{IDLE} clusters with idleTimeout"
    draining = [f"draining-{number}" for number in range(DRAINING)]
    await scene.make(map(drains_long, draining), joined=IDLE + DRAINING * WORKERS)
    await scene.all_are_at_work()
    groups = [names.default_group(name) for name in draining]
    await scene.all_patched(DASK_WORKER_GROUP, {"spec": {"worker": {"replicas": LEFT}}}, groups)
    yield f"the same, and {DRAINING} clusters that drain {WORKERS - LEFT} workers each"


def drains_long(name: str) -> Manifest:
    """A cluster whose drains outlast the measurement."""
    made = manifest(name, WORKERS)
    made["spec"]["worker"]["drainTimeout"] = DAY
    return made


class Scene:
    """The clusters of a namespace."""

    def __init__(self, client: Client, play: Play, namespace: str) -> None:
        self._client = client
        self._play = play
        self._namespace = namespace

    async def make(self, clusters: Iterable[Manifest], joined: int) -> None:
        """Create clusters, and wait until so many workers in all have joined."""
        metadata = {"namespace": self._namespace}
        await _each(
            lambda one: self._client.create({**one, "metadata": {**one["metadata"], **metadata}}), list(clusters)
        )
        async with asyncio.timeout(LONGEST):
            while sum(line["what"] == "joined" for line in self._play.lines()) < joined:
                await asyncio.sleep(1)

    async def all_patched(self, resource: Any, patch: Manifest, called: Iterable[str]) -> None:
        """The same patch for each."""
        await _each(lambda name: self._client.patch(resource, self._namespace, name, patch), list(called))

    async def all_are_at_work(self) -> None:
        """Workers of clusters that drain have tasks that outlast the measurement."""
        pods = (await self._client.list(POD, self._namespace, labels=f"{names.COMPONENT}={names.Component.WORKER}"))[
            "items"
        ]
        busy = [pod["metadata"]["name"] for pod in pods if pod["metadata"]["name"].startswith("draining-")]
        await self.all_patched(POD, {"metadata": {"annotations": {SCENE: json.dumps({"tasks": [DAY]})}}}, busy)
        async with asyncio.timeout(LONGEST):
            while sum(line["what"] == "performs" for line in self._play.lines()) < len(busy):
                await asyncio.sleep(1)


async def _each(do: Callable[[Any], Awaitable[object]], things: list[Any]) -> None:
    """Do something for each of many, not all at once."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(thing: Any) -> None:
        async with turn:
            await do(thing)

    async with asyncio.TaskGroup() as group:
        for thing in things:
            group.create_task(one(thing))
