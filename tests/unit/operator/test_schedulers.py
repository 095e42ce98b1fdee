"""Conversations with real schedulers: questions and drains do not disturb each other, and nobody is asked in vain."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from dask_k8s.errors import SchedulerSilent
from dask_k8s.kinds.value import Ref
from dask_k8s.kube.client import Client
from dask_k8s.kube.credentials import Credentials
from dask_k8s.operator.actions import Ask, Question, Retire
from dask_k8s.operator.caches import Caches, Scope
from dask_k8s.operator.engine.queue import Key
from dask_k8s.operator.observed import Drain, Known, Silent, Unasked
from dask_k8s.operator.schedulers import Schedulers
from dask_k8s.scheduler.connection import Connection, connect
from dask_k8s.settings import Timing
from tests.unit.given import CLUSTER
from tests.unit.scheduler.conftest import Partner, connected, located, process

KEY = Key("DaskAutoscaler", "default", "simple")
OTHER = Key("DaskWorkerGroup", "default", "simple-default")
TARGET = frozenset({Question(ask=Ask.TARGET, every=0.1)})
ORDER = frozenset({Question(ask=Ask.ORDER, every=0.1)})
POD = Ref(kind="Pod", namespace="default", name="w", uid="uid-of-w")
DEADLINE = 10.0


@dataclass
class Way:
    """How the scheduler is reached; closed while it is away."""

    address: str
    closed: bool = False
    attempts: int = 0

    async def connect(self, _: Ref) -> Connection:
        """A connection to the partner."""
        self.attempts += 1
        if self.closed:
            raise SchedulerSilent("nobody answers")
        return await connect(*located(self.address))


@dataclass
class Talking:
    """Schedulers at work, and what they told."""

    schedulers: Schedulers
    partner: Partner
    way: Way
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


def caches() -> Caches:
    """Caches of an API server that is never asked."""
    credentials = Credentials(
        server="http://127.0.0.1:1",
        ssl=None,
        headers=no_headers,
        refresh=no_refresh,
        namespace=None,
        proxy=None,
        server_hostname=None,
        in_cluster=False,
    )
    return Caches(Client(credentials), Scope(namespaces=("default",)))


@asynccontextmanager
async def talking(partner: Partner) -> AsyncIterator[Talking]:
    """Schedulers that run, and reach the partner."""
    way, woken = Way(partner.address), list[Key]()
    schedulers = Schedulers(caches(), way, woken.append, Timing(silence=0.3, flush=0.2, refused_drain=60))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(schedulers.run())
        await asyncio.sleep(0)
        yield Talking(schedulers, partner, way, woken)
        running.cancel()


@pytest.fixture
async def talk() -> AsyncIterator[Talking]:
    """A scheduler of the test's own."""
    with process("scheduler") as running:
        assert running.stdout is not None
        async with connected(running.stdout.readline().strip()) as partner, talking(partner) as found:
            yield found


async def test_those_who_ask_are_woken_by_news_alone(talk: Talking) -> None:
    """The same target again and again is none."""
    await talk.partner.scene("target", workers=3)
    talk.schedulers.ask(KEY, CLUSTER, TARGET)
    await talk.until(lambda: talk.target() == 3)
    await asyncio.sleep(0.5)
    assert talk.woken == [KEY]
    await talk.partner.scene("target", workers=4)
    await talk.until(lambda: talk.target() == 4)
    assert talk.woken == [KEY, KEY]


async def test_an_answer_that_nobody_asks_for_any_more_is_dropped(talk: Talking) -> None:
    """It was on its way when the question was withdrawn; later it would pass for the beginning of a window."""
    await talk.partner.scene("slow", what="adaptive_target", seconds=0.4)
    talk.schedulers.ask(KEY, CLUSTER, TARGET)
    while not await talk.partner.scene("calls", what="adaptive_target"):
        await asyncio.sleep(0.02)
    talk.schedulers.forget(KEY)
    await asyncio.sleep(0.8)
    assert isinstance(talk.targets(), Unasked)


async def test_a_cluster_that_is_not_ours_any_more_is_not_asked(talk: Talking) -> None:
    """A pass that serves nothing withdraws the questions of the passes before it."""
    talk.schedulers.ask(KEY, CLUSTER, TARGET)
    await talk.until(lambda: talk.target() is not None)
    talk.schedulers.ask(KEY, None, frozenset())
    assert isinstance(talk.targets(), Unasked)
    await asyncio.sleep(0.3)
    before = len(talk.woken)
    await talk.partner.scene("target", workers=9)
    await asyncio.sleep(0.3)
    assert len(talk.woken) == before


async def test_an_error_in_one_answer_silences_no_other(talk: Talking) -> None:
    """The connection goes on, and so do the other questions."""
    await talk.partner.scene("begin", count=1)
    await talk.partner.scene("fails", what="adaptive_target")
    talk.schedulers.ask(KEY, CLUSTER, TARGET)
    talk.schedulers.ask(OTHER, CLUSTER, ORDER)
    await talk.until(lambda: isinstance(talk.targets(), Silent))
    await talk.until(lambda: isinstance(talk.schedulers.answers(CLUSTER).order, Known))
    assert talk.way.attempts == 1


async def test_silence_is_told_once_and_tried_less_and_less_often(
    talk: Talking, caplog: pytest.LogCaptureFixture
) -> None:
    """One line, one waking; when it is back, it is news again."""
    caplog.set_level(logging.INFO)
    talk.way.closed = True
    talk.schedulers.ask(KEY, CLUSTER, TARGET)
    await talk.until(lambda: talk.way.attempts >= 4)
    assert talk.woken == [KEY]
    assert sum("is silent" in line for line in caplog.messages) == 1
    talk.way.closed = False
    await talk.until(lambda: talk.target() is not None)
    assert talk.woken == [KEY, KEY]


async def test_a_slow_answer_ends_no_drain(talk: Talking, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question that times out is asked again; the retire that is under way is the only one."""
    await talk.partner.scene("begin", count=2)
    await talk.partner.scene("scatter", count=4)
    await talk.partner.scene("slow", what="retire_workers", seconds=1.5)
    host = next(iter((await talk.partner.workers()).values()))
    monkeypatch.setattr(talk.schedulers, "_address", lambda _: located(host)[0])
    talk.schedulers.begin(OTHER, Retire(cluster=CLUSTER, workers=frozenset({POD}), timeout=30))
    while not await talk.partner.scene("calls", what="retire_workers"):
        await asyncio.sleep(0.02)
    talk.way.closed = True
    talk.schedulers.ask(KEY, CLUSTER, TARGET)
    await talk.until(lambda: isinstance(talk.targets(), Silent))
    await talk.until(lambda: (talk.schedulers.drain(POD) or (None, ""))[0] is not Drain.UNDER_WAY)
    calls: Any = await talk.partner.scene("calls", what="retire_workers")
    assert calls <= 2, "moving the data, and removing what was moved"
