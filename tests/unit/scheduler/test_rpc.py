"""What a real scheduler answers, and what becomes of answers that are wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from dask_k8s.errors import SchedulerRefused
from dask_k8s.scheduler.connection import connect
from dask_k8s.scheduler.facts import MOST_WORKERS
from dask_k8s.scheduler.rpc import SchedulerRpc
from tests.unit.scheduler.conftest import Partner
from tests.unit.scheduler.servers import answering, message, serving

Start = Callable[[int], Awaitable[Partner]]
ADDRESS = "tcp://10.0.0.7:4000"
GONE = "tcp://127.0.0.1:1"
WORKER = {"name": "w", "status": "running", "nthreads": 1, "memory_limit": 0, "metrics": {}, "last_seen": 0.0}


async def answered(ask: Callable[[SchedulerRpc], Awaitable[Any]], *replies: Any) -> Any:
    """What a question ends in where the scheduler answers so."""
    async with serving(answering(*map(message, replies))) as address, aclosing(await connect(*address)) as connection:
        return await ask(SchedulerRpc(connection))


async def test_a_scheduler_tells_who_it_is_and_its_workers(partner: Start) -> None:
    """All of them, with what their heartbeats said."""
    scheduler = await partner(7)
    identity = await scheduler.rpc.identity()
    assert identity.id.startswith("Scheduler-")
    assert identity.address == scheduler.address
    assert {worker.name for worker in identity.workers.values()} == {f"worker-{n}" for n in range(7)}
    assert {(worker.status, worker.nthreads, worker.executing) for worker in identity.workers.values()} == {
        ("running", 1, 0)
    }


async def test_the_leaving_order_is_live_and_whole(partner: Start, tmp_path: Path) -> None:
    """Idle ones with least data first, then busy ones, then those with tasks that seceded, all at once."""
    scheduler = await partner(5)
    named = await scheduler.workers()
    await scheduler.scene("scatter", count=5, worker=named["worker-1"])
    for task, name in (("away", "worker-2"), ("work", "worker-3")):
        await scheduler.scene("submit", task=task, key=task, path=str(tmp_path / "ran"), seconds=30, worker=named[name])
    names = {address: name for name, address in named.items()}
    order = [names[address] for address in await scheduler.rpc.leaving_order()]
    assert sorted(order[:2]) == ["worker-0", "worker-4"]
    assert order[2:] == ["worker-1", "worker-3", "worker-2"]


async def test_a_retired_worker_stands_in_the_order_until_it_is_removed(partner: Start) -> None:
    """It takes no tasks any more, and the scheduler still knows it."""
    scheduler = await partner(2)
    worker, other = await scheduler.rpc.leaving_order()
    assert await scheduler.rpc.retire([worker], remove=False) == {worker}
    assert sorted(await scheduler.rpc.leaving_order()) == sorted([worker, other])
    assert await scheduler.rpc.running() == {other}
    assert await scheduler.rpc.retire([worker], remove=True) == {worker}
    assert await scheduler.rpc.leaving_order() == (other,)


async def test_a_scheduler_without_workers_has_an_empty_order(partner: Start) -> None:
    """And wants none, since there is nothing to do."""
    scheduler = await partner(0)
    assert await scheduler.rpc.leaving_order() == ()
    assert await scheduler.rpc.adaptive_target() == 0


async def test_assigned_tasks_are_counted_and_gone_workers_left_out(partner: Start, tmp_path: Path) -> None:
    """Those that run and those that wait; Dask itself would refuse the question for one that is gone."""
    scheduler = await partner(2)
    busy, idle = await scheduler.rpc.leaving_order()
    for key in ("a", "b", "c"):
        await scheduler.scene("submit", task="work", key=key, path=str(tmp_path / "ran"), seconds=30, worker=busy)
    assert await scheduler.rpc.processing([busy, idle, GONE]) == {busy: 3, idle: 0}
    assert await scheduler.rpc.processing([GONE]) == {}


async def test_retiring_an_unknown_worker_retires_none(partner: Start) -> None:
    """The reply says so by leaving it out."""
    scheduler = await partner(1)
    assert await scheduler.rpc.retire([GONE], remove=False) == frozenset()


async def test_an_unknown_op_is_answered_with_none(partner: Start) -> None:
    """So what a call cannot take None for is refused, and the connection goes on."""
    scheduler = await partner(0)
    assert await scheduler.connection.call("no_such_op") is None
    assert await scheduler.rpc.adaptive_target() == 0


async def test_an_error_of_a_real_scheduler_bears_its_text(partner: Start) -> None:
    """The exception itself comes pickled, and its text beside it."""
    scheduler = await partner(0)
    with pytest.raises(SchedulerRefused, match=f"^processing: KeyError\\('{GONE}'\\)$"):
        await scheduler.connection.call("processing", workers=[GONE])
    assert await scheduler.rpc.adaptive_target() == 0


def told(count: int, **more: Any) -> dict[str, Any]:
    """An identity with so many workers."""
    return {"id": "s", "address": "a", "workers": {f"tcp://w:{n}": WORKER for n in range(count)}, **more}


@pytest.mark.parametrize(
    "replies",
    [
        pytest.param([told(7)], id="2023.5: all, and no count"),
        pytest.param([told(7, n_workers=7)], id="2026.8: all, and a count"),
        pytest.param([told(5, n_workers=7), told(7, n_workers=7)], id="between: five, unless asked for more"),
    ],
)
async def test_all_workers_are_told_by_each_version(replies: list[Any]) -> None:
    """No question is asked that a version would refuse."""
    identity = await answered(SchedulerRpc.identity, *replies)
    assert len(identity.workers) == 7


@pytest.mark.parametrize(
    ("offered", "there", "order"),
    [
        (["a", "b"], {"a": 1, "b": 1}, ("a", "b")),
        (["b", "a"], {"a": 1, "b": 1}, ("b", "a")),
        (["b"], {"a": 1, "b": 1, "c": 1}, ("b", "a", "c")),
        (["b", "b", "gone", "b"], {"a": 1, "b": 1}, ("b", "a")),
        ([], {}, ()),
    ],
)
async def test_each_worker_stands_once_in_the_order(offered: list[str], there: Any, order: tuple[str, ...]) -> None:
    """Whatever the scheduler says: those that are there, and no other."""
    assert await answered(SchedulerRpc.leaving_order, offered, there) == order


@pytest.mark.parametrize(("given", "target"), [(-3, 0), (4, 4), (2**63, MOST_WORKERS)])
async def test_the_target_is_clamped(given: int, target: int) -> None:
    """How many workers there may be is the operator's matter, but not a number without end."""
    assert await answered(SchedulerRpc.adaptive_target, given) == target


@pytest.mark.parametrize(
    ("ask", "replies", "why"),
    [
        (SchedulerRpc.adaptive_target, ["4"], "adaptive_target: the reply must be a whole number, not str"),
        (SchedulerRpc.adaptive_target, [4.5], "adaptive_target: the reply must be a whole number, not float"),
        (SchedulerRpc.adaptive_target, [None], "adaptive_target: the reply must be a whole number, not NoneType"),
        (SchedulerRpc.leaving_order, [None], "workers_to_close: the reply must be an array, not NoneType"),
        (SchedulerRpc.leaving_order, [[1]], "workers_to_close: an address must be a string"),
        (SchedulerRpc.leaving_order, [["a"], ["a"]], "ncores: the reply must be a map, not tuple"),
        (SchedulerRpc.leaving_order, [["a"], {"a": "1"}], "ncores: a must be a whole number, not str"),
        (SchedulerRpc.running, [["a"]], "ncores_running: the reply must be a map, not tuple"),
        (lambda rpc: rpc.retire(["a"], remove=True), [["a"]], "retire_workers: the reply must be a map, not tuple"),
        (lambda rpc: rpc.processing(["a"]), [{"a": 1}, {"a": 3}], "processing: a must be an array, not int"),
        (lambda rpc: rpc.processing(["a"]), [{"a": 1}, {}], "processing: a must be an array, not NoneType"),
    ],
)
async def test_an_answer_of_the_wrong_type_is_refused(
    ask: Callable[[SchedulerRpc], Awaitable[Any]], replies: list[Any], why: str
) -> None:
    """With the op, the field, and what would be right."""
    with pytest.raises(SchedulerRefused, match=f"^{why}"):
        await answered(ask, *replies)


async def test_a_worker_that_leaves_between_two_questions_is_left_out() -> None:
    """The question is asked again without it."""
    error = {"status": "uncaught-error", "exception_text": "KeyError('a')"}
    replies = [{"a": 1, "b": 1}, error, {"b": 1}, {"b": ["x", "y"]}]
    assert await answered(lambda rpc: rpc.processing(["a", "b"]), *replies) == {"b": 2}


async def test_a_question_that_is_refused_for_no_reason_is_not_asked_for_ever() -> None:
    """Only a worker less is a reason to ask again."""
    error = {"status": "uncaught-error", "exception_text": "KeyError('a')"}
    with pytest.raises(SchedulerRefused, match="KeyError"):
        await answered(lambda rpc: rpc.processing(["a"]), {"a": 1}, error, {"a": 1, "z": 1})


async def test_only_workers_that_were_asked_for_are_retired() -> None:
    """A scheduler that names others names them in vain."""
    assert await answered(lambda rpc: rpc.retire([ADDRESS], remove=True), {ADDRESS: {}, "other": {}}) == {ADDRESS}


async def test_a_rest_has_one_mark_until_there_is_work(partner: Start, tmp_path: Path) -> None:
    """None after work, then a mark that stays; another one after other work, however short that was."""
    scheduler = await partner(1)
    (worker,) = (await scheduler.workers()).values()
    await scheduler.rpc.idle_since()
    first = await scheduler.rpc.idle_since()
    assert first is not None
    assert [await scheduler.rpc.idle_since() for _ in range(3)] == [first] * 3
    await scheduler.scene("submit", task="work", key="key", path=str(tmp_path / "ran"), seconds=0.5, worker=worker)
    assert [await scheduler.rpc.idle_since() for _ in range(3)] == [None] * 3
    await scheduler.scene("gather")
    await scheduler.rpc.idle_since()
    assert await scheduler.rpc.idle_since() not in (None, first)


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        ([1769860000.5], "1769860000.5"),
        ([None, {"packages": {"distributed": "2026.8.0"}}], None),
        ([None, {"packages": {"distributed": "2023.3.0"}}, {ADDRESS: 1}, {ADDRESS: 1}, {ADDRESS: []}], ""),
        ([None, {"packages": {"distributed": "2023.3.0"}}, {ADDRESS: 1}, {ADDRESS: 1}, {ADDRESS: ["task"]}], None),
        ([None, {"packages": {"distributed": "2023.3.0"}}, {}], None),
    ],
    ids=["it says", "at work", "old, no task anywhere", "old, a task", "old, without workers"],
)
async def test_rests_of_new_and_old_schedulers(replies: list[Any], expected: str | None) -> None:
    """An old one is looked at: it answers None to a question that it does not know."""
    assert await answered(SchedulerRpc.idle_since, *replies) == expected
