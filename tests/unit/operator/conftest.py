"""Schedulers and drains of an operator, with a real scheduler as their partner."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from dask_k8s.errors import LeadershipLost, SchedulerSilent
from dask_k8s.kinds.value import Ref
from dask_k8s.kube.client import Client
from dask_k8s.kube.credentials import Credentials
from dask_k8s.operator.caches import Caches, Scope
from dask_k8s.operator.drains import Drains
from dask_k8s.operator.engine.queue import Key
from dask_k8s.operator.observed import Known
from dask_k8s.operator.schedulers import Schedulers
from dask_k8s.scheduler.connection import Connection, connect
from dask_k8s.settings import Timing
from tests.unit.given import CLUSTER
from tests.unit.scheduler.conftest import Partner, alone, located

KEY = Key("DaskAutoscaler", "default", "simple")
OTHER = Key("DaskWorkerGroup", "default", "simple-default")
DEADLINE = 60.0


@dataclass
class Way:
    """How the scheduler is reached, closed while it is away; and how many connections there were at a time at most."""

    address: str
    closed: bool = False
    attempts: int = 0
    most: int = 0
    _opened: list[Connection] = field(default_factory=list)

    async def connect(self, _: Ref) -> Connection:
        """A connection to the partner."""
        self.attempts += 1
        if self.closed:
            raise SchedulerSilent("nobody answers")
        self._opened.append(await connect(*located(self.address)))
        self.most = max(self.most, self.open())
        return self._opened[-1]

    def open(self) -> int:
        """How many connections there are."""
        return sum(not each.closed for each in self._opened)


@dataclass
class Lease:
    """What drains have to hold."""

    lost: bool = False
    missed: int = 0

    def check(self) -> None:
        """Asked before a worker retires."""
        if self.lost:
            self.missed += 1
            raise LeadershipLost("it was lost")


@dataclass
class Talking:
    """Schedulers and drains at work, and what they told."""

    schedulers: Schedulers
    drains: Drains
    caches: Caches
    partner: Partner
    way: Way
    lease: Lease
    woken: list[Key] = field(default_factory=list)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something, with a deadline."""
        async with asyncio.timeout(DEADLINE):
            while not condition():
                await asyncio.sleep(0.02)

    def targets(self) -> object:
        """What is known of the target."""
        return self.schedulers.answers(CLUSTER).targets

    def target(self) -> int | None:
        """The latest one."""
        found = self.schedulers.answers(CLUSTER).targets
        return found.answer.latest if isinstance(found, Known) else None


async def no_headers() -> Mapping[str, str]:
    """Nobody is asked anything."""
    return {}


async def no_refresh() -> None:
    """Nor logged in."""


def unasked_client() -> Client:
    """A client of an API server that is never asked."""
    return client_of("http://127.0.0.1:1")


def client_of(server: str) -> Client:
    """A client without a log-in."""
    credentials = Credentials(
        server=server,
        tls=lambda: None,
        headers=no_headers,
        refresh=no_refresh,
        namespace=None,
        proxy=None,
        server_hostname=None,
        in_cluster=False,
    )
    return Client(credentials)


def caches() -> Caches:
    """Caches of that API server."""
    return Caches(unasked_client(), Scope(namespaces=("default",)), relist=Timing().relist)


@asynccontextmanager
async def talking(partner: Partner) -> AsyncIterator[Talking]:
    """Schedulers that run, and reach the partner."""
    way, woken, timing, empty = Way(partner.address), list[Key](), Timing(silence=0.3, refused_drain=0.5), caches()
    schedulers, lease = Schedulers(empty, way, woken.append, timing), Lease()
    empty.clusters.get = lambda *_: {"metadata": {"uid": CLUSTER.uid}}  # type: ignore[method-assign]
    drains = Drains(empty, way, woken.append, timing, permit=lease.check)
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(each.run()) for each in (schedulers, drains)]
        await asyncio.sleep(0)
        yield Talking(schedulers, drains, empty, partner, way, lease, woken)
        for task in running:
            task.cancel()


@pytest.fixture
async def talk() -> AsyncIterator[Talking]:
    """A scheduler of the test's own."""
    async with alone() as partner, talking(partner) as found:
        yield found
