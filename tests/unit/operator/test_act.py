"""Deeds of many passes at a time: no more than there are places, and none is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from dask_k8s.errors import Unavailable
from dask_k8s.kinds.value import Ref
from dask_k8s.kube.client import Client
from dask_k8s.kube.slots import Lane, lane
from dask_k8s.operator.act import AT_ONCE, OF_ONE_CLEAR, Hands
from dask_k8s.operator.actions import Clear, Delete, Retire
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
            yield at(client, fence, progressed=lambda _: None)


def at(client: Client, fence: Fence, progressed: Callable[[Key], None]) -> Hands:
    """Those that write by this client."""
    return Hands(
        client,
        fence=fence,
        expectations=Expectations(),
        refusals=Refusals(),
        drains=NoDrains(),
        deeds=Deeds(),
        progressed=progressed,
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


@asynccontextmanager
async def deleting(status: Callable[[int], int], told: Callable[[Key], None]) -> AsyncIterator[tuple[Hands, list[str]]]:
    """With an API server that has none of the owners; it answers so to the first, second … deletion; and those."""
    asked = list[str]()

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method == "GET":
            return web.json_response({"reason": "NotFound"}, status=404)
        asked.append(request.path)
        return web.json_response({}, status=status(len(asked)))

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fence, (host, port) = Fence(), runner.addresses[0]
    fence.extend(boottime() + 60)
    lane.set(Lane("n"))
    async with client_of(f"http://{host}:{port}") as client:
        yield at(client, fence, told), asked
    await runner.cleanup()


OF_A_GROUP = Key("DaskWorkerGroup", "n", "g")
CLEAR = Clear(
    owner=Ref(kind="DaskWorkerGroup", namespace="n", name="g", uid="u"),
    left=tuple(Ref(kind="Pod", namespace="n", name=f"p{number}", uid=f"u{number}") for number in range(MANY)),
)


async def test_what_is_cleared_away_is_told_batch_by_batch_and_ends_with_the_first_failure() -> None:
    """Who does not hear of it for minutes takes the pass for dead; and a server that is in need gets one batch."""
    told, well = list[Key](), 2 * OF_ONE_CLEAR
    async with deleting(lambda number: 200 if number <= well else 503, told.append) as (found, asked):
        with pytest.raises(Unavailable):
            await found.carry_out(OF_A_GROUP, [CLEAR])
    assert len(asked) == well + OF_ONE_CLEAR
    assert len(told) == 3 + 1, "one for each batch, and one for the deed"


async def test_a_pod_that_may_not_be_deleted_holds_up_no_other() -> None:
    """Somebody's webhook may keep it: the others go, and what was refused is tried again later."""
    async with deleting(lambda number: 403 if number == 1 else 200, lambda _: None) as (found, asked):
        await found.carry_out(OF_A_GROUP, [CLEAR])
        assert found._refusals.waits(OF_A_GROUP, CLEAR)
    assert len(asked) == MANY
