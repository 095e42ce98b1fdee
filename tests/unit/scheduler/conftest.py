"""A real scheduler as the partner, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dask_k8s.scheduler.connection import Connection, connect
from dask_k8s.scheduler.rpc import SchedulerRpc

PARTNER = Path(__file__).with_name("partner.py")


@contextmanager
def process(*arguments: str, python: str = sys.executable) -> Iterator[subprocess.Popen[str]]:
    """A partner's process, which ends with the block."""
    with subprocess.Popen(
        [python, str(PARTNER), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as running:
        try:
            yield running
        finally:
            running.kill()


@dataclass(frozen=True, slots=True, kw_only=True)
class Partner:
    """A scheduler with workers, and two connections to it: one that is tried, one for the scene."""

    address: str
    rpc: SchedulerRpc
    connection: Connection
    _scene: Connection

    async def scene(self, op: str, **arguments: Any) -> Any:
        """Set or look at the scene."""
        return await self._scene.call(f"scene-{op}", within=60, **arguments)

    async def workers(self) -> dict[str, str]:
        """The address of each worker by its name."""
        return {facts.name: address for address, facts in (await self.rpc.identity()).workers.items()}


def located(address: str) -> tuple[str, int]:
    """Host and port of ``tcp://host:port``."""
    host, _, port = address.strip().removeprefix("tcp://").rpartition(":")
    return host, int(port)


@pytest.fixture(scope="session")
def scheduler() -> Iterator[str]:
    """The address of a scheduler, the same for all tests of this process: to start it takes longer than they do."""
    with process("scheduler") as running:
        assert running.stdout is not None
        yield running.stdout.readline().strip()


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Partner]:
    """A scheduler with both connections to it open."""
    async with AsyncExitStack() as stack:
        connection, scene = [
            await stack.enter_async_context(aclosing(await connect(*located(address)))) for _ in range(2)
        ]
        yield Partner(address=address, rpc=SchedulerRpc(connection), connection=connection, _scene=scene)


@asynccontextmanager
async def alone() -> AsyncIterator[Partner]:
    """A scheduler of one test's own: what it is asked has effects on it."""
    with process("scheduler") as running:
        assert running.stdout is not None
        async with connected(running.stdout.readline().strip()) as found:
            yield found


@pytest.fixture
async def partner(scheduler: str) -> AsyncIterator[Callable[[int], Awaitable[Partner]]]:
    """Gives the scheduler so many new workers, and nothing else."""
    async with connected(scheduler) as found:

        async def begin(workers: int) -> Partner:
            await found.scene("begin", count=workers)
            return found

        yield begin
