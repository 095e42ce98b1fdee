"""The connections over which drains talk, to a real scheduler."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from dask_k8s.scheduler.connection import Connection, connect
from dask_k8s.scheduler.lines import Lines
from dask_k8s.scheduler.rpc import SchedulerRpc
from tests.unit.scheduler.conftest import Partner, located

Start = Callable[[int], Awaitable[Partner]]


async def test_who_comes_while_the_last_user_leaves_keeps_what_it_opens(partner: Start) -> None:
    """Its call would end in the middle, and go on in the scheduler beside the next one."""
    scheduler = await partner(0)
    opened = list[Connection]()

    async def another() -> Connection:
        opened.append(await connect(*located(scheduler.address)))
        return opened[-1]

    lines = Lines(another)
    first = lines.used()
    await first.__aenter__()
    await SchedulerRpc(lines.questions).identity()
    async with lines.own() as line:
        await SchedulerRpc(line).identity()
    leaves = asyncio.create_task(first.__aexit__(None, None, None))
    await asyncio.sleep(0)
    async with lines.used():
        for _ in range(3):
            async with lines.own() as line:
                await SchedulerRpc(line).identity()
        await leaves
        assert [each.closed for each in opened] == [True, True, False]
    assert all(each.closed for each in opened)


async def test_nobody_waits_for_ever_for_calls_that_never_end(partner: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others begin where two take long, but no more than so many; and all places come back."""
    monkeypatch.setattr("dask_k8s.scheduler.lines.MOVES", 2)
    monkeypatch.setattr("dask_k8s.scheduler.lines.LONG", 0.2)
    monkeypatch.setattr("dask_k8s.scheduler.lines.MOST_LONG", 3)
    scheduler = await partner(0)
    lines, begun, end = Lines(lambda: connect(*located(scheduler.address))), list[int](), asyncio.Event()

    async def never_ends(number: int) -> None:
        async with lines.own() as line:
            await SchedulerRpc(line).identity()
            begun.append(number)
            await end.wait()

    async with lines.used(), asyncio.timeout(30), asyncio.TaskGroup() as group:
        for number in range(7):
            group.create_task(never_ends(number))
        while len(begun) < 5:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        assert (len(begun), lines.busy) == (5, True)
        end.set()
    assert len(begun) == 7
    async with lines.own(), lines.own():
        assert lines.busy
    assert not lines.busy
