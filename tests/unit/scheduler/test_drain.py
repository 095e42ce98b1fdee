"""Workers leave a real scheduler: nothing is lost, nothing is suspicious, and who cannot leave is told why."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, aclosing
from pathlib import Path
from typing import Any

import pytest

from dask_k8s.errors import AnswerTooLarge, SchedulerSilent
from dask_k8s.scheduler.connection import connect
from dask_k8s.scheduler.drain import NOWHERE, UNMOVABLE, Outcome
from dask_k8s.scheduler.facts import MOST, Key
from dask_k8s.scheduler.lines import Lines
from dask_k8s.scheduler.rpc import SchedulerRpc
from dask_k8s.scheduler.wire import Limits
from tests.unit.scheduler.conftest import Partner, located, process
from tests.unit.scheduler.drainages import EMPTY, drain, drainage, drained
from tests.unit.scheduler.servers import HELLO, Reader, Writer, heard, message, serving

Start = Callable[[int], Awaitable[Partner]]

GONE = "tcp://127.0.0.1:1"


async def until_workers(scheduler: Partner, count: int) -> dict[str, str]:
    """The workers by name, once there are so many."""
    async with asyncio.timeout(60):
        while len(workers := await scheduler.workers()) != count:
            await asyncio.sleep(0.1)
    return workers


async def test_nothing_that_was_scattered_is_lost(partner: Start) -> None:
    """300 keys that cannot be computed again, on 4 workers, of which 2 leave and are killed at once."""
    scheduler = await partner(2)
    with ExitStack() as stack:
        running = [stack.enter_context(process("worker", scheduler.address, name)) for name in ("a", "b")]
        named = await until_workers(scheduler, 4)
        await scheduler.scene("scatter", count=300)
        held = (await scheduler.scene("state"))["data"]
        leaving = (named["a"], named["b"])
        assert sum(held.values()) == 300
        assert all(held[worker] for worker in leaving)
        assert await drain(scheduler.connection, leaving, timeout=60) == dict.fromkeys(leaving, EMPTY)
        for worker in running:
            worker.kill()
    assert (await scheduler.workers()).keys() == {"worker-0", "worker-1"}
    assert await scheduler.scene("gather") == {f"key-{n}": n for n in range(300)}
    assert (await scheduler.scene("state"))["suspicious"] == 0
    about = [line for line in await scheduler.scene("logs") if any(worker in line for worker in leaving)]
    assert about
    assert not [line for line in about if re.search(r"\b(lost|lose)\b", line)]


@pytest.mark.parametrize(("task", "seconds"), [("work", 2.0), ("nap", 1.0), ("away", 1.0)])
async def test_what_runs_there_finishes_there(partner: Start, tmp_path: Path, task: str, seconds: float) -> None:
    """In a thread, on the worker's loop, or seceded; it runs once, and its result moves."""
    scheduler = await partner(2)
    worker, other = await scheduler.rpc.leaving_order()
    ran = tmp_path / "ran"
    await scheduler.scene("submit", task=task, key="key", path=str(ran), seconds=seconds, worker=worker)
    assert await drain(scheduler.connection, [worker], timeout=60) == {worker: EMPTY}
    state = await scheduler.scene("state")
    assert (state["suspicious"], state["data"]) == (0, {other: 1})
    assert await scheduler.scene("gather") == {"key": "done"}
    assert ran.read_text() == "ran\n"


async def test_what_waits_there_runs_elsewhere(partner: Start, tmp_path: Path) -> None:
    """A worker with one thread has a task that runs and three that wait; only the one is waited for."""
    scheduler = await partner(2)
    worker, other = await scheduler.rpc.leaving_order()
    for key in "abcd":
        await scheduler.scene("submit", task="work", key=key, path=str(tmp_path / key), seconds=0.5, worker=worker)
    began = time.monotonic()
    assert await drain(scheduler.connection, [worker], timeout=60) == {worker: EMPTY}
    assert time.monotonic() - began < 50
    assert await scheduler.scene("gather") == dict.fromkeys("abcd", "done")
    state = await scheduler.scene("state")
    assert (state["suspicious"], state["data"]) == (0, {other: 4})
    assert [(tmp_path / key).read_text() for key in "abcd"] == ["ran\n"] * 4


async def test_what_runs_too_long_runs_again_elsewhere(partner: Start, tmp_path: Path) -> None:
    """The time-out ends the waiting, and makes no task suspicious."""
    scheduler = await partner(2)
    worker, other = await scheduler.rpc.leaving_order()
    ran = str(tmp_path / "ran")
    await scheduler.scene("submit", task="work", key="key", path=ran, seconds=60, worker=worker)
    began = time.monotonic()
    assert await drain(scheduler.connection, [worker], timeout=1.0) == {worker: EMPTY}
    assert 1.0 <= time.monotonic() - began < 40
    assert (await scheduler.scene("state"))["suspicious"] == 0
    assert await scheduler.rpc.processing([other]) == {other: 1}


async def test_the_last_holder_is_refused(partner: Start) -> None:
    """There is nowhere to put its data; it stays, and goes on."""
    scheduler = await partner(1)
    (worker,) = await scheduler.rpc.leaving_order()
    await scheduler.scene("scatter", count=3)
    assert await drain(scheduler.connection, [worker], timeout=10) == {worker: Outcome(refused=NOWHERE)}
    assert (await scheduler.scene("state"))["data"] == {worker: 3}
    assert await scheduler.scene("gather") == {"key-0": 0, "key-1": 1, "key-2": 2}
    async with asyncio.timeout(5):
        while await scheduler.rpc.running() != {worker}:
            await asyncio.sleep(0.02)


async def test_all_workers_can_leave_when_they_hold_nothing(partner: Start) -> None:
    """There is nothing to put anywhere."""
    scheduler = await partner(2)
    workers = await scheduler.rpc.leaving_order()
    assert await drain(scheduler.connection, workers, timeout=10) == dict.fromkeys(workers, EMPTY)
    assert await scheduler.rpc.leaving_order() == ()


async def test_a_worker_with_an_actor_is_refused_and_the_others_leave(partner: Start) -> None:
    """An actor cannot be moved."""
    scheduler = await partner(3)
    acting, leaving, _ = await scheduler.rpc.leaving_order()
    await scheduler.scene("actor", worker=acting)
    assert await drain(scheduler.connection, [acting, leaving], timeout=10) == {
        acting: Outcome(refused=UNMOVABLE),
        leaving: EMPTY,
    }


async def test_a_worker_that_is_gone_is_empty(partner: Start) -> None:
    """Nothing of it can be kept, so nothing is waited for."""
    scheduler = await partner(1)
    assert await drain(scheduler.connection, [GONE], timeout=10) == {GONE: EMPTY}


async def test_nobody_is_drained_at_once(partner: Start) -> None:
    """An empty choice is a choice."""
    scheduler = await partner(1)
    assert await drain(scheduler.connection, [], timeout=10) == {}


async def test_a_drain_that_was_cancelled_can_begin_anew(partner: Start, tmp_path: Path) -> None:
    """Over another connection: the one that it was cancelled on may be in the middle of a reply."""
    scheduler = await partner(2)
    worker, _ = await scheduler.rpc.leaving_order()
    ran = tmp_path / "ran"
    await scheduler.scene("submit", task="work", key="key", path=str(ran), seconds=2.0, worker=worker)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await drain(scheduler.connection, [worker], timeout=30)
    async with aclosing(await connect(*located(scheduler.address))) as connection:
        assert await drain(connection, [worker], timeout=30) == {worker: EMPTY}
    assert await scheduler.scene("gather") == {"key": "done"}
    assert ran.read_text() == "ran\n"


async def answer(*replies: Any, then: Callable[[], Any]) -> Any:
    """A drain of one worker, by a scheduler that gives these replies, and then does not."""

    async def behave(reader: Reader, writer: Writer) -> None:
        writer.write(message(HELLO))
        await heard(reader)
        for reply in replies:
            await heard(reader)
            writer.write(message(reply))
        await heard(reader)
        await then()

    async with serving(behave) as address:
        connection = await connect(*address, limits=Limits(seconds=0.3))
        async with aclosing(connection):
            return await drain(connection, ["w"], timeout=0.2)


async def test_more_tasks_than_are_listened_to_hold_nobody_up(partner: Start) -> None:
    """Their worker is busy until the time-out; then they run elsewhere, as few would."""
    scheduler = await partner(2)
    worker, other = await scheduler.rpc.leaving_order()
    lines = Lines(lambda: connect(*located(scheduler.address), limits=Limits(elements=1_000)))
    few = lines.questions
    async with lines.used(), asyncio.timeout(60):
        await scheduler.scene("load", worker=worker, count=500)
        with pytest.raises(AnswerTooLarge, match="more than 1000 elements"):
            await SchedulerRpc(few).assigned([worker])
        assert await SchedulerRpc(few).processing([worker, other]) == {worker: MOST, other: 0}
        assert await drained(few, {worker: [worker]}, 1.5) == [{worker: EMPTY}]
    assert len(await scheduler.rpc.assigned([other])) > 400


async def test_a_worker_that_dies_while_it_is_drained_is_empty(partner: Start, tmp_path: Path) -> None:
    """Its process is killed while a task of it runs; the scheduler notices, the task runs again, the others leave."""
    scheduler = await partner(2)
    with process("worker", scheduler.address, "dies") as dies:
        named = await until_workers(scheduler, 3)
        leaving = (named["dies"], named["worker-0"])
        path = str(tmp_path / "ran")
        await scheduler.scene("submit", task="work", key="key", path=path, seconds=3.0, worker=named["dies"])
        async with asyncio.TaskGroup() as group:
            draining = group.create_task(drain(scheduler.connection, leaving, timeout=60))
            while (await scheduler.scene("state"))["status"][named["dies"]] != "closing_gracefully":
                await asyncio.sleep(0.02)
            dies.kill()
    assert draining.result() == dict.fromkeys(leaving, EMPTY)
    assert (await scheduler.workers()).keys() == {"worker-1"}
    assert await scheduler.scene("gather") == {"key": "done"}


async def test_who_has_nothing_to_do_does_not_wait_for_who_has(partner: Start, tmp_path: Path) -> None:
    """Chosen together, their data moves together; but each goes when it is done."""
    scheduler = await partner(3)
    idle, busy, _ = await scheduler.rpc.leaving_order()
    await scheduler.scene("submit", task="work", key="k", path=str(tmp_path / "k"), seconds=2.0, worker=busy)
    found = await drained(scheduler.connection, {"idle": [idle], "busy": [busy]}, 60)
    assert found == [{"idle": EMPTY}, {"busy": EMPTY}]
    assert await scheduler.scene("gather") == {"k": "done"}


async def test_workers_of_one_pod_leave_together(partner: Start, tmp_path: Path) -> None:
    """One that has nothing to do waits for the other: the Pod goes with both."""
    scheduler = await partner(3)
    idle, busy, _ = await scheduler.rpc.leaving_order()
    await scheduler.scene("submit", task="work", key="k", path=str(tmp_path / "k"), seconds=1.0, worker=busy)
    assert await drained(scheduler.connection, {"pod": [idle, busy], "none": []}, 60) == [
        {"none": EMPTY},
        {"pod": EMPTY},
    ]
    assert (tmp_path / "k").read_text() == "ran\n"


async def test_one_that_stays_holds_back_the_others_of_its_pod(partner: Start) -> None:
    """The others are out of service by then, so that the Pod cannot be taken back."""
    scheduler = await partner(3)
    acting, other, _ = await scheduler.rpc.leaving_order()
    await scheduler.scene("actor", worker=acting)
    found = await drained(scheduler.connection, {"pod": [acting, other]}, 10)
    assert found == [{"pod": Outcome(refused=UNMOVABLE, stuck=True)}]


async def test_two_retirements_at_once_leave_a_worker_out_of_service(partner: Start) -> None:
    """What an operator's restart may bring about: both are refused, and the later one remembers the earlier one."""
    scheduler = await partner(1)
    (worker,) = await scheduler.rpc.leaving_order()
    await scheduler.scene("scatter", count=3)
    await scheduler.scene("status", worker=worker, status="closing_gracefully")
    assert await drain(scheduler.connection, [worker], timeout=10) == {worker: Outcome(refused=NOWHERE, stuck=True)}
    await scheduler.scene("more", count=1)
    assert await drain(scheduler.connection, [worker], timeout=10) == {worker: EMPTY}
    assert await scheduler.scene("gather") == {"key-0": 0, "key-1": 1, "key-2": 2}


@pytest.mark.parametrize("key", ["one", ("x", 0)], ids=["text", "tuple"])
async def test_tasks_that_may_run_there_alone_are_told(partner: Start, tmp_path: Path, key: Key) -> None:
    """They wait for a worker that does not come back; the others run elsewhere."""
    scheduler = await partner(2)
    worker, _ = await scheduler.rpc.leaving_order()
    for number, each in enumerate(["running", key]):
        path = str(tmp_path / f"{number}")
        await scheduler.scene("submit", task="work", key=each, path=path, seconds=1.0, worker=worker, only=True)
    draining = drainage(scheduler.connection)
    async with aclosing(draining.drain({"w": frozenset({worker})}, 30)) as results:
        assert [result async for result in results] == [{"w": EMPTY}]
    assert draining.stranded == {key}
    assert await scheduler.rpc.stranded({key}) == {key}


async def leave() -> None:
    """Go away."""


@pytest.mark.parametrize(("running", "why"), [({"w": 1}, NOWHERE), ({"w": 1, "other": 1}, UNMOVABLE)])
@pytest.mark.parametrize(
    "before", [[], [{"w": {}}, {"w": 1}, {"w": []}, {"w": 1}, {"w": []}]], ids=["its data", "its late results"]
)
async def test_a_refusal_tells_whether_there_was_room(before: list[Any], running: Any, why: str) -> None:
    """Who was refused may be running again by then, and is no room for itself; in the first step or in the last."""
    assert await answer(*before, {}, {"w": 1}, running, then=leave) == {"w": Outcome(refused=why)}


async def test_a_scheduler_that_goes_away_is_silent_and_refuses_nothing() -> None:
    """The connection breaks before the time is over."""
    with pytest.raises(SchedulerSilent):
        await answer(then=leave)


async def test_a_scheduler_that_falls_silent_after_the_first_step_is_silent() -> None:
    """The data has moved; what runs there is not known."""
    with pytest.raises(SchedulerSilent):
        await answer({"w": {}}, then=asyncio.Event().wait)


WORKER = {"name": "w", "status": "closing_gracefully", "nthreads": 1, "memory_limit": 0}


async def asked(
    executing: Callable[[int], int], seen: Callable[[int], float], timeout: float
) -> tuple[list[str], float]:
    """The ops of a drain whose worker has a task, and its seconds; heartbeats differ by the number of the question."""
    ops: list[str] = []

    def reply(op: str) -> Any:
        number = ops.count("identity")
        counts = {"executing": executing(number)}
        told = {**WORKER, "metrics": {"task_counts": counts}, "last_seen": seen(number)}
        return {
            "ncores": {"w": 1},
            "processing": {"w": ["task"]},
            "identity": {"id": "s", "address": "a", "workers": {"w": told}},
            "retire_workers": {"w": {}},
            "get_task_status": {"task": "memory"},
        }[op]

    async def behave(reader: Reader, writer: Writer) -> None:
        writer.write(message(HELLO))
        await heard(reader)
        while True:
            ops.append((await heard(reader))["op"])
            writer.write(message(reply(ops[-1])))

    async with serving(behave) as address, aclosing(await connect(*address)) as connection:
        began = time.monotonic()
        assert await drain(connection, ["w"], timeout=timeout) == {"w": EMPTY}
        return ops, time.monotonic() - began


async def test_a_worker_is_idle_once_two_new_heartbeats_have_come() -> None:
    """The first may have been written before the worker knew that it retires."""
    ops, _ = await asked(executing=lambda number: 0, seen=float, timeout=30)
    assert ops.count("identity") == 3
    assert ops[-2:] == ["retire_workers", "get_task_status"]


async def test_an_old_heartbeat_says_nothing() -> None:
    """A worker that is not heard any more may still be at work: only the time-out ends that."""
    _, took = await asked(executing=lambda number: 0, seen=lambda number: 1.0, timeout=1.5)
    assert took >= 1.5


async def test_a_worker_that_executes_is_waited_for() -> None:
    """However many heartbeats come."""
    ops, _ = await asked(executing=lambda number: 1 if number < 4 else 0, seen=float, timeout=30)
    assert ops.count("identity") == 4
