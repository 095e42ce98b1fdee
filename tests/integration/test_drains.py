"""Drains where things go wrong in the middle, seen through the operator's own parts: real schedulers, real workers."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from distributed import Scheduler, Security

from dask_k8s.operator.actions import Ask, Create, Delete, Question
from dask_k8s.operator.caches import Caches
from dask_k8s.operator.drains import Drains
from dask_k8s.operator.observed import Drain, Drained, Silent
from dask_k8s.operator.plan.worker_group import plan
from dask_k8s.operator.reach import Reach
from dask_k8s.operator.schedulers import Schedulers
from dask_k8s.scheduler.drain import NOWHERE
from dask_k8s.settings import Timing
from tests.unit.given import CLUSTER, NOW, cluster_manifest, group, observed, worker
from tests.unit.operator.conftest import OTHER, Talking, caches, talking, unasked_client
from tests.unit.operator.plan.words import condition, retiring
from tests.unit.operator.test_drains import ended, pod, ref, retire
from tests.unit.scheduler.conftest import alone, connected, located, process

pytestmark = pytest.mark.filterwarnings("default")  # of distributed itself, not ours

RETIRING = "closing_gracefully"


def housing(found: Caches, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Pods of these names are in the cache, all of them on this machine's address."""
    there = {name: pod(name) for name in names}
    monkeypatch.setattr(found.pods, "by", lambda _, __: iter(there.values()))
    monkeypatch.setattr(found.pods, "get", lambda _, name: there.get(name))


@pytest.fixture
async def talk() -> AsyncIterator[Talking]:
    """An operator's drains, and a scheduler of the test's own."""
    async with alone() as partner, talking(partner) as found:
        yield found


async def named(talk: Talking, count: int) -> Mapping[str, str]:
    """The workers by name, once there are so many."""
    async with asyncio.timeout(60):
        while len(workers := await talk.partner.workers()) != count:
            await asyncio.sleep(0.1)
    return workers


async def leaves(talk: Talking, address: str) -> None:
    """Wait until a worker's data begins to move."""
    async with asyncio.timeout(30):
        while (await talk.partner.scene("state"))["status"].get(address) != RETIRING:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP], ids=["its process dies", "its node is lost"])
async def test_a_worker_that_is_lost_while_it_is_drained_holds_up_nobody(
    talk: Talking, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, end: signal.Signals
) -> None:
    """Its task runs again elsewhere; the one that was chosen with it goes, and what that held is kept."""
    housing(talk.caches, monkeypatch, "lost", "worker-0", "worker-1")
    await talk.partner.scene("begin", count=2)
    await talk.partner.scene("scatter", count=4)
    with process("worker", talk.partner.address, "lost") as lost:
        address = (await named(talk, 3))["lost"]
        ran = tmp_path / "ran"
        await talk.partner.scene("submit", task="work", key="key", path=str(ran), seconds=4.0, worker=address)
        talk.drains.begin(OTHER, retire("lost", "worker-0", timeout=6))
        await leaves(talk, address)
        lost.send_signal(end)
        assert await ended(talk, "worker-0") == Drained(state=Drain.EMPTY)
        assert await ended(talk, "lost") == Drained(state=Drain.EMPTY)
        assert (await talk.partner.workers()).keys() == {"worker-1"}
        assert await talk.partner.scene("gather") == {"key": "done", **{f"key-{n}": n for n in range(4)}}
        assert ran.read_text() == "ran\n" * 2


async def test_a_worker_that_two_operators_retired_at_once_is_stuck_until_there_is_room(
    talk: Talking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One was ended in the middle, and its call goes on: both are refused. Another worker is made in its place."""
    housing(talk.caches, monkeypatch, "worker-0", "other")
    await talk.partner.scene("begin", count=1)
    await talk.partner.scene("scatter", count=3)
    (address,) = (await talk.partner.workers()).values()
    async with connected(talk.partner.address) as before, asyncio.TaskGroup() as calls:
        calls.create_task(talk.partner.scene("hold", seconds=3.0))
        await asyncio.sleep(0.3)
        calls.create_task(before.rpc.retire([address], remove=False))
        talk.drains.begin(OTHER, retire("worker-0"))
    told = await ended(talk, "worker-0")
    assert told == Drained(state=Drain.STUCK, why=NOWHERE)
    found = plan(group(replicas=1), observed(retiring("worker-0", drained=told)), NOW)
    assert condition(found, "Degraded")["reason"] == "WorkerStuck"
    assert [action.manifest["kind"] for action in found.actions if isinstance(action, Create)] == ["Pod"]
    await talk.partner.scene("more", count=1, name="other")
    await talk.until(lambda: talk.drains.of(ref("worker-0")) is None)
    talk.drains.begin(OTHER, retire("worker-0"))
    assert await ended(talk, "worker-0") == Drained(state=Drain.EMPTY)
    assert await talk.partner.scene("gather") == {f"key-{n}": n for n in range(3)}


async def test_a_scheduler_that_speaks_tls_alone_is_silent_and_nobody_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its order nor a drain is to be had: the condition says so, and workers stay."""
    options = {"host": "127.0.0.1", "port": 0, "dashboard": False, "dashboard_address": "127.0.0.1:0"}
    async with Scheduler(protocol="tls", security=Security.temporary(), **options) as scheduler:
        there = caches()
        _, port = located(scheduler.address.replace("tls://", "tcp://"))
        monkeypatch.setattr(there.clusters, "get", lambda _, __: cluster_manifest(metadata={"uid": CLUSTER.uid}))
        housing(there, monkeypatch, "simple-scheduler", "worker-0")
        there.pods.get("default", "simple-scheduler")["spec"]["commPort"] = port  # type: ignore[index]
        woken = list[object]()
        reach, timing = Reach(unasked_client(), there, inside=True), Timing(silence=0.3)
        schedulers = Schedulers(there, reach, woken.append, timing)
        drains = Drains(there, reach, woken.append, timing, permit=lambda: None)
        async with running(schedulers.run, drains.run):
            schedulers.ask(OTHER, CLUSTER, frozenset({Question(ask=Ask.ORDER, every=0.1)}))
            drains.begin(OTHER, retire("worker-0"))
            async with asyncio.timeout(30):
                while not (told := drains.of(ref("worker-0"))) or not told.silent:
                    await asyncio.sleep(0.02)
                while not isinstance(order := schedulers.answers(CLUSTER).order, Silent):
                    await asyncio.sleep(0.02)
    for leaver in (worker("worker-0"), retiring("worker-0", drained=told)):
        planned = plan(group(replicas=1), observed(leaver, worker("stays"), order=order), NOW)
        assert condition(planned, "Degraded")["reason"] == "SchedulerSilent"
        assert not any(isinstance(action, Delete) for action in planned.actions)


@asynccontextmanager
async def running(*runs: Callable[[], Any]) -> AsyncIterator[None]:
    """Parts of an operator at work."""
    async with asyncio.TaskGroup() as parts:
        tasks = [parts.create_task(run()) for run in runs]
        await asyncio.sleep(0)
        yield
        for task in tasks:
            task.cancel()
