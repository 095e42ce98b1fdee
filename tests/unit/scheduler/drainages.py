"""Drains as tests begin them: over one connection, or with another for questions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import aclosing, asynccontextmanager, nullcontext

from dask_k8s.scheduler.connection import Connection
from dask_k8s.scheduler.drain import Drainage, Outcome
from dask_k8s.scheduler.retirement import Moving
from dask_k8s.scheduler.rpc import Calls, SchedulerRpc

EMPTY = Outcome()


def ignored(_: Moving) -> None:
    """Progress that nobody looks at."""


def drainage(
    connection: Calls,
    told: Callable[[Moving], None] = ignored,
    asking: Calls | None = None,
    beside: Calls | None = None,
) -> Drainage:
    """One that talks over this connection, or asks over another, and removes over a third who waits for nobody."""

    @asynccontextmanager
    async def own() -> AsyncIterator[SchedulerRpc]:
        yield SchedulerRpc(connection)

    other = SchedulerRpc(beside or connection)
    return Drainage(SchedulerRpc(asking or connection), own, lambda: nullcontext(other), told)


async def drained(
    connection: Calls,
    leaving: Mapping[str, Collection[str]],
    timeout: float,
    told: Callable[[Moving], None] = ignored,
    asking: Calls | None = None,
) -> list[Mapping[str, Outcome]]:
    """What became of them, in the portions in which it became known."""
    named = {name: frozenset(workers) for name, workers in leaving.items()}
    async with aclosing(drainage(connection, told, asking).drain(named, timeout)) as results:
        return [result async for result in results]


async def drain(connection: Connection, workers: Collection[str], *, timeout: float) -> Mapping[str, Outcome]:
    """What became of single workers in the end."""
    found = dict[str, Outcome]()
    for result in await drained(connection, {worker: [worker] for worker in workers}, timeout):
        found.update(result)
    return found
