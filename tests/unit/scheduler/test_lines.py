"""The connections over which drains talk, to a real scheduler."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

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
