"""The soak: people, nodes and faults at random, and then a quiet minute in which everything has to be true."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dask_k8s.kube import calls, credentials
from dask_k8s.kube.client import Client
from tests.faults.chance import WRITES, Chance
from tests.faults.checker import Checker
from tests.faults.deeds import Deeds
from tests.faults.namespaces import own_namespaces
from tests.faults.operators import Candidate, candidate
from tests.faults.proxy import Met
from tests.faults.referee import LEASES, QUESTIONS

Json = dict[str, Any]

NAMESPACES = 3
SETTLES = 150.0
"""Seconds after the last fault within which all has to be true: a watch that fell silent is missed after 75 s, and one
that lost an event lists again after at most 90 s."""

NO_WORK = (LEASES, QUESTIONS)
"""What is written however little there is to do."""

UPDATES = "patch events"
"""Events of what happened before are brought up to date a minute later."""

STEADY = 5.0
"""Seconds without a complaint after which it is as it will stay: a status may be a second behind."""

MOST_REQUESTS = 8.0
"""Requests of every kind for each worker that people asked for or away, each Pod that went otherwise, and each deed:
those included that met a fault and came again."""

MOST_PODS = 1.2
"""Pods that were made for each worker that was asked for or had to be replaced: one may go before it was seen."""

LIFE = (3.0, 12.0)
"""Seconds that a process has before it is killed."""

SETTINGS = {
    "DASK_KUBERNETES__LEASE_DURATION": "6s",
    "DASK_KUBERNETES__TIMING__RELIST": "60s",
    "DASK_KUBERNETES__TIMING__REFUSED_DRAIN": "2s",
}


@dataclass(frozen=True)
class Options:
    """One run.

    Parameters
    ----------
    seconds
        Of deeds and faults.
    quiet
        Seconds at the end in which nothing may be written.
    kills
        How often the operator is killed meanwhile.
    faults
        Whether the API server fails, too.
    folder
        Where the logs go.
    """

    seconds: float
    seed: int
    folder: str
    quiet: float = 60.0
    kills: int = 0
    faults: bool = True


async def soak(options: Options) -> Json:
    """Its figures; ``complaints`` says what was not as it should be. It stands in the cluster's network."""
    async with AsyncExitStack() as stack:
        own = await credentials.load()
        client = await stack.enter_async_context(Client(own))
        namespaces = await stack.enter_async_context(own_namespaces(client, "soak", NAMESPACES))
        served = [word for namespace in namespaces for word in ("--namespace", namespace)]
        place = await stack.enter_async_context(candidate(own, Path(options.folder), "operator", served, SETTINGS))
        checker = Checker(client, namespaces, place.beliefs)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        watching = group.create_task(checker.run())
        await checker.synced()
        run = Run(options, place, checker, Deeds(client, namespaces, checker, options.seed))
        await run.shake()
        figures = await run.ends()
        watching.cancel()
        return figures


class Run:
    """One soak, from its first deed to its last look."""

    def __init__(self, options: Options, place: Candidate, checker: Checker, deeds: Deeds) -> None:
        self._options = options
        self._place = place
        self._checker = checker
        self._deeds = deeds
        self._chance = Chance(place.faults, options.seed + 1)
        self._random = random.Random(options.seed + 2)
        self._answered: list[tuple[Met, bytes, int]] = []
        place.faults.passed = self._passed

    async def shake(self) -> None:
        """Deeds, faults and kills, for as long as was asked."""
        await self._place.start()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._deeds.run())]
            if self._options.faults:
                tasks.append(group.create_task(self._chance.run()))
            killing = group.create_task(self._kills())
            await asyncio.sleep(self._options.seconds)
            await killing
            for task in tasks:
                task.cancel()

    async def _kills(self) -> None:
        for _ in range(self._options.kills):
            await asyncio.sleep(self._random.uniform(*LIFE))
            self._checker.crashed()
            await self._place.kill()
            await self._place.start()

    async def ends(self) -> Json:
        """What there is once it has had its time, and then nothing is written any more."""
        began = well = time.monotonic()
        complaints: list[str] = []
        while (now := time.monotonic()) - began < SETTLES and now - well < STEADY:
            await asyncio.sleep(0.5)
            complaints = await self._checker.complaints()
            well = now if complaints else well
        settled = well - began
        before = len(self._place.faults.requests)
        writes = self._writes()
        quiet = time.monotonic()
        await asyncio.sleep(self._options.quiet)
        causes = self._checker.more + self._checker.fewer + self._deeds.ended + self._deeds.done.total()
        per_change = before / causes
        if per_change > MOST_REQUESTS:
            complaints.append(f"{per_change:.1f} requests for a change, where {MOST_REQUESTS:g} are enough")
        wanted = self._checker.more + self._deeds.ended
        if self._checker.created > MOST_PODS * wanted:
            complaints.append(f"{self._checker.created} workers were made, where {wanted} were wanted")
        return {
            "seed": self._options.seed,
            "complaints": [*self._checker.surplus, *complaints, *self._loud(quiet)],
            "surplus after a crash": self._checker.after_a_crash,
            "settled after, s": round(settled, 1),
            "deeds": dict(self._deeds.done),
            "faults": dict(self._chance.met),
            "processes": self._place.starts,
            "worker Pods": {"created": self._checker.created, "gone": self._checker.gone},
            "writes": writes.total(),
            "writes by kind": dict(writes),
            "requests": len(self._place.faults.requests),
            "pages": sum("continue" in met.query for met in self._place.faults.requests),
            "requests a change": round(per_change, 2),
            "workers wanted": wanted,
            "deleted by the operator": sorted(self._deleted()),
        }

    def _passed(self, met: Met, body: bytes, status: int) -> None:
        self._answered.append((met, body, status))

    def _loud(self, since: float) -> Iterator[str]:
        """What was written where nothing had to be."""
        for met, body, _ in self._answered:
            name = _name(met)
            if met.at >= since and name not in (UPDATES, None):
                yield f"written while quiet: {name}, {met.path}: {body.decode()}"

    def _deleted(self) -> set[str]:
        """The Pods, as ``namespace/name``, that it deleted from groups that were there.

        One that was refused, since the Pod is not as it was seen any more, deleted nothing.
        """
        named = [
            (met.path.removeprefix("/api/v1/namespaces/").replace("/pods/", "/"), met.at)
            for met, _, status in self._answered
            if met.method == "DELETE" and "/pods/" in met.path and status < 300
        ]
        return {pod for pod, at in named if not self._checker.went_with_its_group(pod, at)}

    def _writes(self) -> Counter[str]:
        """All that were asked for until now, answered or not."""
        return Counter(filter(None, map(_name, self._place.faults.requests)))


def _name(met: Met) -> str | None:
    """What a request writes; None where it reads, and for what is written however little there is to do."""
    call = calls.of(met.method, met.path)
    return f"{call.verb} {call.resource}" if met.method in WRITES and call.resource not in NO_WORK else None


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(soak(Options(**json.loads(sys.argv[1]))))))
