"""Drains with a real scheduler: what becomes of them, and what does not disturb them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dask_k8s.kinds.value import Ref
from dask_k8s.kube.slots import Lane, lane
from dask_k8s.operator.actions import Ask, Question, Retire
from dask_k8s.operator.draining import Draining
from dask_k8s.operator.drains import UNCLEAR
from dask_k8s.operator.observed import Drain, Drained, Silent
from dask_k8s.scheduler.drain import NOWHERE
from tests.unit.given import CLUSTER
from tests.unit.operator.conftest import KEY, OTHER, Talking

WAITING = tuple(f"waiting-{number}" for number in range(5))

Pods = Callable[..., dict[str, dict[str, Any]]]


@pytest.fixture
def pods(talk: Talking, monkeypatch: pytest.MonkeyPatch) -> Pods:
    """Pods of these names are in the cache, all of them on this machine's address."""

    def given(*names: str) -> dict[str, dict[str, Any]]:
        there = {name: pod(name) for name in names}
        monkeypatch.setattr(talk.caches.pods, "by", lambda _, __: iter(there.values()))
        monkeypatch.setattr(talk.caches.pods, "get", lambda _, name: there.get(name))
        return there

    return given


def pod(name: str) -> dict[str, Any]:
    """A worker's Pod as the cache has it."""
    status = {"phase": "Running", "podIP": "127.0.0.1", "containerStatuses": [{"restartCount": 0}]}
    meta = {"name": name, "namespace": "default", "uid": f"uid-of-{name}"}
    return {"metadata": meta, "spec": {"namesWorkers": False}, "status": status}


def ref(name: str) -> Ref:
    """The Pod of a worker of the partner."""
    return Ref(kind="Pod", namespace="default", name=name, uid=f"uid-of-{name}")


_timeouts = itertools.count(30)


def retire(*names: str, timeout: int | None = None) -> Retire:
    """A drain of these, and of nobody else with them: those whose time is the same would be drained together."""
    timeout = next(_timeouts) if timeout is None else timeout
    return Retire(cluster=CLUSTER, workers=frozenset(map(ref, names)), timeout=timeout, final=False)


def state_of(talk: Talking, name: str) -> Drain | None:
    """Where its drain stands."""
    told = talk.drains.of(ref(name))
    return None if told is None else told.state


def silence_of(talk: Talking, name: str) -> Silent | None:
    """Since when its scheduler does not answer."""
    told = talk.drains.of(ref(name))
    return None if told is None else told.silent


async def ended(talk: Talking, name: str) -> Drained:
    """What became of it; when is left out."""
    found: list[Drained] = []

    def over() -> bool:
        told = talk.drains.of(ref(name))
        if told is not None and told.state is not Drain.UNDER_WAY:
            found.append(told)
        return bool(found)

    await talk.until(over)
    told = found[0]
    assert told.ended is not None
    assert timedelta() <= datetime.now(UTC) - told.ended < timedelta(seconds=60)
    return replace(told, moved=None, ended=None)


async def test_those_who_began_it_are_woken_when_it_is_over(talk: Talking, pods: Pods) -> None:
    """Found by name among those that share an address; nothing of it is lost."""
    pods("worker-0", "worker-1")
    await talk.partner.scene("begin", count=2)
    await talk.partner.scene("scatter", count=4)
    talk.drains.begin(OTHER, retire("worker-0"))
    assert state_of(talk, "worker-0") is Drain.UNDER_WAY
    assert await ended(talk, "worker-0") == Drained(state=Drain.EMPTY)
    assert set(talk.woken) == {OTHER}
    assert await talk.partner.scene("gather") == {f"key-{n}": n for n in range(4)}
    assert (await talk.partner.workers()).keys() == {"worker-1"}


async def test_a_pod_whose_worker_never_joined_is_empty(talk: Talking, pods: Pods) -> None:
    """The scheduler knows of none, at this very moment; those that are drained with it take their time."""
    pods("worker-0", "worker-1", "new")
    await talk.partner.scene("begin", count=2)
    await talk.partner.scene("slow", what="retire_workers", seconds=1.5)
    talk.drains.begin(OTHER, retire("new", "worker-0"))
    assert await ended(talk, "new") == Drained(state=Drain.ABSENT)
    assert state_of(talk, "worker-0") is Drain.UNDER_WAY, "nobody waits for the others"
    await talk.until(lambda: talk.drains.of(ref("new")) is None)  # soon it may be otherwise


async def test_a_worker_that_joins_while_its_pod_is_drained_is_drained_as_well(talk: Talking, pods: Pods) -> None:
    """Several workers in one Pod need not join at a time."""
    pods("worker", "other")
    await talk.partner.scene("begin", count=1)
    await talk.partner.scene("more", count=1, name="other")
    await talk.partner.scene("slow", what="retire_workers", seconds=1.0)
    talk.drains.begin(OTHER, retire("worker"))
    while not await talk.partner.scene("calls", what="retire_workers"):
        await asyncio.sleep(0.02)
    await talk.partner.scene("more", count=1, name="worker")
    assert await ended(talk, "worker") == Drained(state=Drain.EMPTY)
    assert (await talk.partner.workers()).keys() == {"other-1"}


async def test_a_worker_that_may_be_any_pods_is_nobodys_to_drain(talk: Talking, pods: Pods) -> None:
    """Else its data would be lost with a Pod that seemed to hold nothing."""
    pods("a", "b")
    await talk.partner.scene("begin", count=1)
    talk.drains.begin(OTHER, retire("a"))
    assert await ended(talk, "a") == Drained(state=Drain.REFUSED, why=UNCLEAR)


async def test_a_worker_that_joined_by_hand_holds_up_no_pod_that_names_its_own(talk: Talking, pods: Pods) -> None:
    """It is none of theirs: one that has not joined goes first."""
    there = pods("a", "b")
    for each in there.values():
        each["spec"]["namesWorkers"] = True
    await talk.partner.scene("begin", count=1)
    talk.drains.begin(OTHER, retire("a"))
    assert await ended(talk, "a") == Drained(state=Drain.ABSENT)


async def test_a_container_that_was_started_again_is_another_worker(talk: Talking, pods: Pods) -> None:
    """The one that was drained holds nothing; this one may."""
    there = pods("worker-0", "worker-1")
    await talk.partner.scene("begin", count=2)
    talk.drains.begin(OTHER, retire("worker-0"))
    await ended(talk, "worker-0")
    there["worker-0"]["status"]["containerStatuses"] = [{"restartCount": 1}]
    assert talk.drains.of(ref("worker-0")) is None
    talk.drains.begin(OTHER, retire("worker-0"))
    assert await ended(talk, "worker-0") == Drained(state=Drain.ABSENT)


async def test_a_drain_that_waits_for_others_is_not_tried_yet(talk: Talking, pods: Pods) -> None:
    """Nobody may say of its data that it stood still: its time begins when Dask begins with it."""
    pods("worker-0", "worker-1", "worker-2")
    await talk.partner.scene("begin", count=3)
    await talk.partner.scene("slow", what="retire_workers", seconds=2.5)  # as for a rebalance, before it begins
    talk.drains._cluster(CLUSTER).lines._free = asyncio.Semaphore(1)
    for name in ("worker-0", "worker-1"):
        talk.drains.begin(OTHER, retire(name))
    await talk.until(lambda: (told := talk.drains.of(ref("worker-1"))) is not None and told.waits)
    await talk.until(lambda: (told := talk.drains.of(ref("worker-0"))) is not None and told.left is not None)
    assert talk.drains.of(ref("worker-0")) == Drained(state=Drain.UNDER_WAY, left=0)
    assert talk.drains.of(ref("worker-1")) == Drained(state=Drain.UNDER_WAY, waits=True)
    # Its second retirement is of a worker that leaves already.
    await talk.until(lambda: (told := talk.drains.of(ref("worker-0"))) is not None and told.moved is not None)
    assert await ended(talk, "worker-1") == Drained(state=Drain.EMPTY)


async def test_what_has_moved_is_not_told_to_be_left_while_a_task_runs(
    talk: Talking, pods: Pods, tmp_path: Path
) -> None:
    """Nor may anybody say that it stands still."""
    pods("worker-0", "worker-1")
    await talk.partner.scene("begin", count=2)
    await talk.partner.scene("scatter", count=4)
    worker = (await talk.partner.workers())["worker-0"]
    await talk.partner.scene("submit", task="work", key="t", path=str(tmp_path / "t"), seconds=300.0, worker=worker)
    await talk.partner.scene("slow", what="retire_workers", seconds=4.0)
    talk.drains.begin(OTHER, retire("worker-0", timeout=600))
    await talk.until(lambda: (told := talk.drains.of(ref("worker-0"))) is not None and bool(told.left))
    await talk.until(lambda: talk.drains.of(ref("worker-0")) == Drained(state=Drain.UNDER_WAY))


def test_a_silence_is_over_once_the_scheduler_has_answered() -> None:
    """Two late answers with minutes of others between them are no silence of minutes."""
    told = Drained(state=Drain.UNDER_WAY)
    each = Draining(cluster="c", pod=ref("a"), key=OTHER, timeout=60.0, restarts=0, told=told)
    began = each.silence("no answer").since
    assert each.silence("no answer").since == began
    each.asked()
    assert each.unheard is None


@pytest.fixture
def few_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two drains at a time, and one of each namespace."""
    monkeypatch.setattr("dask_k8s.operator.drains.MOST", 2)
    monkeypatch.setattr("dask_k8s.operator.drains.SHARE", 1)


@pytest.mark.usefixtures("few_places")
async def test_drains_of_one_namespace_leave_others_their_places(talk: Talking, pods: Pods) -> None:
    """They may stand still for long; who waits behind them is told so."""
    pods("worker-0", "worker-1", "worker-2", "other")
    await talk.partner.scene("begin", count=3)
    await talk.partner.scene("more", count=1, name="other")
    await talk.partner.scene("slow", what="retire_workers", seconds=4.0)
    names = {"worker-0": "large", "worker-1": "large", "worker-2": "small"}
    for name, namespace in names.items():
        lane.set(Lane(namespace))
        talk.drains.begin(OTHER, retire(name))

    def who(holds: Callable[[Drained], bool]) -> set[str]:
        return {name for name in names if (told := talk.drains.of(ref(name))) is not None and holds(told)}

    await talk.until(lambda: len(who(lambda told: told.left is not None)) == 2)
    assert who(lambda told: told.left is not None) == {"worker-0", "worker-2"}
    assert who(lambda told: told.waits) == {"worker-1"}


async def test_nothing_is_begun_for_a_cluster_that_is_gone(talk: Talking, pods: Pods) -> None:
    """Its deletion may be seen while the plan is carried out."""
    pods("worker-0")
    gone = replace(retire("worker-0"), cluster=replace(CLUSTER, uid="another"))
    talk.drains.begin(OTHER, gone)
    assert talk.drains.of(ref("worker-0")) is None
    assert talk.way.attempts == 0


async def test_a_refused_drain_may_be_tried_again_after_a_while(talk: Talking, pods: Pods) -> None:
    """Whoever began it is woken for that; each time it takes longer."""
    pods("worker-0")
    await talk.partner.scene("begin", count=1)
    await talk.partner.scene("scatter", count=1)
    for _ in range(2):
        talk.drains.begin(OTHER, retire("worker-0"))
        assert await ended(talk, "worker-0") == Drained(state=Drain.REFUSED, why=NOWHERE)
        talk.woken.clear()
        await talk.until(lambda: talk.woken == [OTHER])
        assert talk.drains.of(ref("worker-0")) is None


async def test_a_refusal_is_told_until_an_attempt_gets_further(talk: Talking, pods: Pods) -> None:
    """Between two attempts and in the next one, too: what was in the way is so still, as far as anybody knows."""
    pods("worker-0", "other")
    await talk.partner.scene("begin", count=1)
    await talk.partner.scene("scatter", count=1)
    worker, refused = ref("worker-0"), Drained(state=Drain.REFUSED, why=NOWHERE)
    last: Drained | None = None
    for _ in range(2):
        talk.drains.begin(OTHER, retire("worker-0"))
        assert await ended(talk, "worker-0") == refused
        await talk.until(lambda: talk.drains.of(worker) is None)
        last = talk.drains.refused(worker)
        assert last is not None
        assert replace(last, ended=None) == refused
    await talk.partner.scene("more", count=1, name="other")
    talk.drains.begin(OTHER, retire("worker-0"))
    assert (state_of(talk, "worker-0"), talk.drains.refused(worker)) == (Drain.UNDER_WAY, last)
    assert await ended(talk, "worker-0") == Drained(state=Drain.EMPTY)
    assert talk.drains.refused(worker) is None


async def test_a_refusal_holds_nobody_up_who_is_chosen_anew(talk: Talking, pods: Pods) -> None:
    """A plan says when: its time to be tried again may be long. It is told until that attempt gets further."""
    pods("worker-0")
    await talk.partner.scene("begin", count=1)
    await talk.partner.scene("scatter", count=1)
    talk.drains.begin(OTHER, retire("worker-0"))
    await ended(talk, "worker-0")
    refused = talk.drains.of(ref("worker-0"))
    began = datetime.now(UTC)
    for _ in range(2):
        talk.drains.begin(OTHER, replace(retire("worker-0"), final=True))
        assert state_of(talk, "worker-0") is Drain.UNDER_WAY
    assert talk.drains.refused(ref("worker-0")) == refused
    told = await ended(talk, "worker-0")
    assert told.final is not None
    assert began <= told.final <= datetime.now(UTC)
    assert told == Drained(state=Drain.REFUSED, why=NOWHERE, final=told.final)
    talk.drains.begin(OTHER, replace(retire("worker-0"), final=True))
    assert (await ended(talk, "worker-0")).final == told.final, "however often it is tried"
    talk.drains.begin(OTHER, retire("worker-0"))
    assert (await ended(talk, "worker-0")).final is None


async def test_a_drain_that_is_under_way_is_told_that_none_is_to_stay(talk: Talking, pods: Pods) -> None:
    """It goes on, and its time to be given up counts from there; or does not, where others are to stay again."""
    pods("worker-0", "worker-1")
    await talk.partner.scene("begin", count=2)
    await talk.partner.scene("slow", what="retire_workers", seconds=1.0)
    talk.drains.begin(OTHER, retire("worker-0"))
    for final in (True, False, True):
        talk.drains.begin(OTHER, replace(retire("worker-0"), final=final))
        told = talk.drains.of(ref("worker-0"))
        assert told is not None
        assert (told.state, told.final is not None) == (Drain.UNDER_WAY, final)
    assert (await ended(talk, "worker-0")).final is not None
    assert await talk.partner.scene("calls", what="retire_workers") == 2, "one drain: moved, and removed"


async def test_tasks_have_their_time_from_when_the_scheduler_is_asked(
    talk: Talking, pods: Pods, tmp_path: Path
) -> None:
    """And not from when nobody could ask it."""
    pods("worker-0", "worker-1")
    await talk.partner.scene("begin", count=2)
    worker = (await talk.partner.workers())["worker-0"]
    path = tmp_path / "ran"
    await talk.partner.scene("submit", task="work", key="key", path=str(path), seconds=3.0, worker=worker)
    talk.way.closed = True
    talk.drains.begin(OTHER, retire("worker-0", timeout=4))
    await asyncio.sleep(2)
    talk.way.closed = False
    assert await ended(talk, "worker-0") == Drained(state=Drain.EMPTY)
    assert await talk.partner.scene("gather") == {"key": "done"}
    assert path.read_text() == "ran\n"


async def test_who_is_given_up_is_forgotten_without_suspicion(talk: Talking, pods: Pods, tmp_path: Path) -> None:
    """Its data is lost, and what ran there runs elsewhere. However many go, it is asked once or twice who they are."""
    pods(*(f"worker-{number}" for number in range(5)))
    await talk.partner.scene("begin", count=5)
    workers = await talk.partner.workers()
    path = tmp_path / "ran"
    await talk.partner.scene("submit", task="work", key="key", path=str(path), seconds=3.0, worker=workers["worker-0"])
    while not path.exists():
        await asyncio.sleep(0.02)
    talk.drains.begin(OTHER, retire("elsewhere"))
    await ended(talk, "elsewhere")
    await talk.partner.scene("slow", what="workers_to_close", seconds=0.0)  # which counts them
    for number in range(4):
        talk.drains.give_up(CLUSTER, ref(f"worker-{number}"))
    async with asyncio.timeout(10):
        while len(await talk.partner.workers()) > 1:
            await asyncio.sleep(0.02)
    assert await talk.partner.scene("calls", what="workers_to_close") <= 2
    assert await talk.partner.scene("gather") == {"key": "done"}
    assert (await talk.partner.scene("state"))["suspicious"] == 0
    assert path.read_text().count("ran\n") >= 2, "once more, at least: elsewhere may be one that is forgotten next"


async def test_a_slow_answer_ends_no_drain(talk: Talking, pods: Pods) -> None:
    """A question that times out is asked again; the retire that is under way is the only one."""
    pods("worker-0", "worker-1")
    await talk.partner.scene("begin", count=2)
    await talk.partner.scene("scatter", count=4)
    await talk.partner.scene("slow", what="retire_workers", seconds=0.7)
    talk.drains.begin(OTHER, retire("worker-0"))
    while not await talk.partner.scene("calls", what="retire_workers"):
        await asyncio.sleep(0.02)
    talk.way.closed = True
    talk.schedulers.ask(KEY, CLUSTER, frozenset({Question(ask=Ask.TARGET, every=0.1)}))
    await talk.until(lambda: isinstance(talk.targets(), Silent))
    await ended(talk, "worker-0")
    calls: Any = await talk.partner.scene("calls", what="retire_workers")
    assert calls == 2, "moving the data, and removing what was moved"


async def test_a_scheduler_that_cannot_be_reached_is_told(talk: Talking, pods: Pods) -> None:
    """Since when, however often it is tried; and the drain goes on by itself when it can."""
    pods("worker-0", "worker-1")
    await talk.partner.scene("begin", count=2)
    talk.way.closed = True
    began = datetime.now(UTC)
    talk.drains.begin(OTHER, retire("worker-0"))
    await talk.until(lambda: silence_of(talk, "worker-0") is not None)
    first, attempts = silence_of(talk, "worker-0"), talk.way.attempts
    assert first is not None
    assert first.why == "nobody answers"
    assert began <= first.since <= datetime.now(UTC)
    await talk.until(lambda: talk.way.attempts > attempts + 1)
    assert silence_of(talk, "worker-0") == first
    talk.way.closed = False
    assert await ended(talk, "worker-0") == Drained(state=Drain.EMPTY)


async def test_a_drain_waits_while_the_lease_is_lost(talk: Talking, pods: Pods) -> None:
    """No worker retires, and nothing else ends by it: writes that are on their way have to arrive. Then it goes on."""
    pods("worker-0", "worker-1")
    await talk.partner.scene("begin", count=2)
    talk.lease.lost = True
    talk.drains.begin(OTHER, retire("worker-0"))
    await talk.until(lambda: talk.lease.missed > 0)
    assert state_of(talk, "worker-0") is Drain.UNDER_WAY
    talk.lease.lost = False
    assert await ended(talk, "worker-0") == Drained(state=Drain.EMPTY)
    assert (await talk.partner.workers()).keys() == {"worker-1"}


async def test_only_so_many_drains_of_a_cluster_run_at_a_time(
    talk: Talking, pods: Pods, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is chosen meanwhile is drained after them, and together."""
    monkeypatch.setattr("dask_k8s.operator.drains.PARALLEL", 2)
    names = [f"worker-{number}" for number in range(4)]
    pods(*names, "other")
    await talk.partner.scene("begin", count=4)
    await talk.partner.scene("more", count=1, name="other")
    await talk.partner.scene("slow", what="retire_workers", seconds=0.5)
    for name in names:
        talk.drains.begin(OTHER, retire(name))
    while (calls := await talk.partner.scene("calls", what="retire_workers")) < 2:
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.2)
    assert (calls, await talk.partner.scene("calls", what="retire_workers")) == (2, 2)
    for name in names:
        assert await ended(talk, name) == Drained(state=Drain.EMPTY)
    assert await talk.partner.scene("calls", what="retire_workers") in (6, 7, 8), "after them the others"


async def test_a_scheduler_has_few_connections_however_many_drains_there_are(talk: Talking, pods: Pods) -> None:
    """All move slowly, which is looked at, and questions are asked beside them; afterwards none is left."""
    names = [f"worker-{number}" for number in range(7)]
    pods(*names, "other")
    await talk.partner.scene("begin", count=len(names))
    await talk.partner.scene("more", count=1, name="other")
    await talk.partner.scene("slow", what="retire_workers", seconds=1.5)
    talk.schedulers.ask(KEY, CLUSTER, frozenset({Question(ask=Ask.TARGET, every=0.1)}))
    for name in names:
        talk.drains.begin(OTHER, retire(name))
    for name in names:
        assert await ended(talk, name) == Drained(state=Drain.EMPTY)
    assert talk.way.most == talk.way.attempts == 6, "one for plans' questions, one for drains', and four to move data"
    await talk.until(lambda: talk.way.open() == 1)


async def test_tasks_that_nobody_may_run_any_more_are_told_until_somebody_may(
    talk: Talking, pods: Pods, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were restricted to a worker that left. However many are asked about at once, all are found."""
    monkeypatch.setattr("dask_k8s.scheduler.rpc.KEYS_AT_ONCE", 2)
    pods("worker-0", "worker-1", "worker-2")
    await talk.partner.scene("begin", count=3)
    worker = (await talk.partner.workers())["worker-0"]
    for key in ("running", *WAITING):
        path = str(tmp_path / key)
        await talk.partner.scene("submit", task="work", key=key, path=path, seconds=6.0, worker=worker, only=True)
    talk.drains.begin(KEY, retire("worker-2"))  # of another group, at the same time
    talk.drains.begin(OTHER, retire("worker-0"))
    await ended(talk, "worker-0")
    await ended(talk, "worker-2")
    assert talk.drains.stranded(OTHER) == WAITING
    assert talk.drains.stranded(KEY) == ()
    for key in WAITING:
        await talk.partner.scene("forget", key=key)
    await talk.until(lambda: talk.drains.stranded(OTHER) == ())
