"""Deeds of many passes at a time: no more than there are places, and none is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dask_k8s.kinds.value import Ref
from dask_k8s.kube.slots import Lane, lane
from dask_k8s.operator.act import AT_ONCE, Hands
from dask_k8s.operator.actions import Delete, Retire
from dask_k8s.operator.deeds import Deeds
from dask_k8s.operator.engine.election import Fence, boottime
from dask_k8s.operator.engine.expectations import Expectations
from dask_k8s.operator.engine.queue import Key
from dask_k8s.operator.refusals import Refusals
from tests.unit.operator.conftest import client_of

MANY = 1_000


class NoDrains:
    """Nobody is drained."""

    def begin(self, key: Key, retire: Retire) -> frozenset[Ref]:
        """Never asked."""
        raise AssertionError

    def give_up(self, cluster: Ref, pod: Ref) -> None:
        """Nor is this."""
        raise AssertionError


@asynccontextmanager
async def hands(fence: Fence) -> AsyncIterator[Hands]:
    """With an API server that takes what comes, and never answers."""

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1 << 16):
            pass
        writer.close()

    async with await asyncio.start_server(swallow, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with client_of(f"http://127.0.0.1:{port}") as client:
            yield Hands(
                client,
                fence=fence,
                expectations=Expectations(),
                refusals=Refusals(),
                drains=NoDrains(),
                deeds=Deeds(),
                progressed=lambda key: None,
            )


async def carried_out(found: Hands, namespace: str) -> None:
    """A pass that deletes many Pods."""
    lane.set(Lane(namespace))
    refs = [Ref(kind="Pod", namespace=namespace, name=f"p{number}", uid=f"u{number}") for number in range(MANY)]
    await found.carry_out(Key("DaskWorkerGroup", namespace, "g"), [Delete(target=ref) for ref in refs])


def deeds() -> int:
    """How many have begun and not ended."""
    return sum(getattr(task.get_coro(), "__qualname__", "") == "Hands._do" for task in asyncio.all_tasks())


async def test_what_waits_for_its_turn_costs_nothing_yet() -> None:
    """Ten passes with ten thousand deeds hold no more of them at once than one does; ended, they leave none."""
    fence = Fence()
    fence.extend(boottime() + 60)
    async with hands(fence) as found:
        passes = [asyncio.create_task(carried_out(found, f"n{number}")) for number in range(10)]
        await asyncio.sleep(0.5)
        assert deeds() == AT_ONCE
        for each in passes:
            each.cancel()
        await asyncio.wait(passes)
        assert deeds() == 0
        async with asyncio.timeout(1):
            for number in range(AT_ONCE):
                lane.set(Lane(f"n{number % 10}"))
                await found._places.take()
