"""Two operators, of which the leading one is killed, frozen, cut off or asked to end, again and again."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from dask_k8s import make_cluster_spec
from dask_k8s.errors import Conflict, Missing
from dask_k8s.kube.client import Client
from dask_k8s.kube.credentials import Credentials
from dask_k8s.kube.resources import DASK_WORKER_GROUP, POD
from tests.faults.namespaces import own_namespaces
from tests.faults.operators import Candidate, candidate
from tests.faults.referee import Referee

Json = dict[str, Any]

NAMES = ("one", "two")
MANNERS = ("killed", "frozen", "cut off", "asked to end")
WITHIN = 60.0
"""Seconds for a take-over, after which it counts as none."""

SETTLES = 10.0

MOST = 6
"""Workers of the group that is scaled up and down meanwhile, so that there is always something to write."""


async def takeovers(own: Credentials, folder: Path, count: int, seed: int) -> Json:
    """The seconds that each took until the other one wrote, by manner, and the fouls."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Client(own))
        (namespace,) = await stack.enter_async_context(own_namespaces(client, "takeovers", 1))
        referee = Referee()
        places = {}
        for name in NAMES:
            arguments = ["--namespace", namespace]
            places[name] = await stack.enter_async_context(candidate(own, folder, name, arguments, {}))
            places[name].faults.passed = referee.of(name)
        match = Match(client, namespace, places, referee, random.Random(seed))
        try:
            return {"seed": seed, **await match.play(count)}
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise


class Match:
    """The two of them, and what happens to them."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        places: dict[str, Candidate],
        referee: Referee,
        chance: random.Random,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._places = places
        self._referee = referee
        self._chance = chance

    async def play(self, count: int) -> Json:
        """So many take-overs."""
        took: defaultdict[str, list[float]] = defaultdict(list)
        await self._make_a_cluster()
        for place in self._places.values():
            await self._starts(place)
        async with asyncio.TaskGroup() as group:
            scaling = group.create_task(self._scale())
            await self._until(lambda: self._referee.first_write_after(0.0, self._referee.leader), "the first leader")
            for number in range(count):
                manner = MANNERS[number % len(MANNERS)]
                took[manner].append(round(await self._take_over(manner), 2))
            scaling.cancel()
        return {
            "take-overs": count,
            "seconds until the other wrote": dict(took),
            "writes": self._referee.writes,
            "complaints": [*self._referee.fouls(), *await self._surplus()],
        }

    async def _take_over(self, manner: str) -> float:
        """One; afterwards both are well again."""
        leader = self._referee.leader
        other = next(name for name in NAMES if name != leader)
        await asyncio.sleep(self._chance.uniform(1, 4))  # anywhere between two renewals
        place, began = self._places[leader], time.monotonic()
        await self._befalls(manner, place)
        at: float = await self._until(lambda: self._referee.first_write_after(began, other), f"{other} writes")
        await self._recovers(manner, place)
        return at - began

    async def _befalls(self, manner: str, place: Candidate) -> None:
        match manner:
            case "killed":
                await place.kill()
            case "frozen":
                place.signal(signal.SIGSTOP)
            case "cut off":
                place.faults.frozen = True
            case _:
                place.signal(signal.SIGTERM)
                assert await place.ended() == 0

    async def _recovers(self, manner: str, place: Candidate) -> None:
        """What wakes up has some seconds to do wrong."""
        match manner:
            case "frozen":
                place.signal(signal.SIGCONT)
            case "cut off":
                place.faults.frozen = False
            case _:
                await self._starts(place)
        await asyncio.sleep(self._chance.uniform(3, 6))

    async def _starts(self, place: Candidate) -> None:
        """Returns once it has looked at the Lease: its patience with the holder counts from then."""
        before = len(place.faults.requests)
        await place.start()
        await self._until(lambda: any("/leases/" in met.path for met in place.faults.requests[before:]), "it looks")

    async def _make_a_cluster(self) -> None:
        cluster = make_cluster()
        metadata = {**cluster["metadata"], "namespace": self._namespace}
        await self._client.create({**cluster, "metadata": metadata})

    async def _scale(self) -> None:
        """Up and down, and a Pod that somebody removes."""
        while True:
            await asyncio.sleep(self._chance.uniform(0.05, 0.4))
            replicas = {"spec": {"worker": {"replicas": self._chance.randint(0, MOST)}}}
            with contextlib.suppress(Missing, Conflict):
                await self._client.patch(DASK_WORKER_GROUP, self._namespace, "shared-default", replicas)
            for pod in (await self._workers())[:1]:
                with contextlib.suppress(Missing, Conflict):
                    await self._client.delete(POD, self._namespace, pod["metadata"]["name"], grace=0)

    async def _workers(self) -> list[Json]:
        listed = await self._client.list(POD, self._namespace, labels="dask.org/component=worker")
        return [pod for pod in listed["items"] if "deletionTimestamp" not in pod["metadata"]]

    async def _surplus(self) -> list[str]:
        """Whether there are exactly so many workers as are asked for, in the end."""
        group = await self._client.get(DASK_WORKER_GROUP, self._namespace, "shared-default")
        asked = group["spec"]["worker"]["replicas"]
        until = time.monotonic() + SETTLES
        while (there := len(await self._workers())) != asked and time.monotonic() < until:
            await asyncio.sleep(0.2)
        return [] if there == asked else [f"{there} workers where {asked} are asked for"]

    async def _until(self, condition: Callable[[], Any], what: str) -> Any:
        try:
            async with asyncio.timeout(WITHIN):
                while not (found := condition()):
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"not within {WITHIN:g} s: {what}; {self._referee.leader or 'nobody'} leads") from None
        return found


def make_cluster() -> Json:
    """A cluster whose scheduler is bound to a node, so that workers are made at once."""
    cluster = make_cluster_spec("shared", image="played", n_workers=2)
    cluster["spec"]["scheduler"]["spec"]["nodeName"] = "node"
    return cluster
