"""Moves that take long: they are looked at, sent once, and their loss is found out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest

from dask_k8s.errors import SchedulerRefused, SchedulerSilent
from dask_k8s.scheduler.connection import Connection, connect
from dask_k8s.scheduler.drain import UNMOVABLE, Drainage, Outcome
from dask_k8s.scheduler.facts import LEAVING
from dask_k8s.scheduler.lines import Lines
from dask_k8s.scheduler.retirement import PATIENCE, Moving
from dask_k8s.scheduler.rpc import SchedulerRpc
from tests.unit.scheduler.conftest import Partner, alone, located
from tests.unit.scheduler.drainages import EMPTY, drainage, drained, ignored
from tests.unit.scheduler.servers import answering, serving


class Nobody:
    """No question is answered."""

    async def call(self, op: str, /, **_: Any) -> Any:
        raise SchedulerSilent("nobody answers")


@pytest.fixture
async def own() -> AsyncIterator[Partner]:
    """A scheduler of the test's own, whose ops it may slow down."""
    async with alone() as found:
        yield found


async def test_data_moves_for_as_long_as_it_takes(own: Partner) -> None:
    """The time-out is for tasks; meanwhile it is told how much is left."""
    await own.scene("begin", count=2)
    await own.scene("scatter", count=4)
    await own.scene("slow", what="retire_workers", seconds=3.0)
    worker, _ = await own.rpc.leaving_order()
    told = list[Moving]()

    async with aclosing(await connect(*located(own.address))) as asking:
        found = await drained(own.connection, {worker: [worker]}, 0.0, told.append, asking)
    assert found == [{worker: EMPTY}]
    assert [moving.left.keys() for moving in told[:1]] == [{worker}]
    assert not any(moving.silent for moving in told)


async def test_a_scheduler_that_answers_nothing_any_more_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the call and is never heard again: nor over another connection."""
    monkeypatch.setattr("dask_k8s.scheduler.retirement.FIRST_LOOK", 0.05)
    monkeypatch.setattr("dask_k8s.scheduler.retirement.DEAF", 0.3)
    async with serving(answering()) as address, aclosing(await connect(*address)) as connection:
        with pytest.raises(SchedulerSilent, match="no answer, nor to anything else: nobody answers"):
            await drained(connection, {"w": ["w"]}, 0.2, asking=Nobody())


async def test_a_call_that_waits_for_its_turn_is_not_sent_again(own: Partner, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's ``rebalance`` holds Dask's lock: nobody leaves before it is over, and one call is enough."""
    monkeypatch.setattr("dask_k8s.scheduler.retirement.FIRST_LOOK", 0.2)
    await own.scene("begin", count=2)
    await own.scene("scatter", count=4)
    worker, _ = await own.rpc.leaving_order()
    async with aclosing(await connect(*located(own.address))) as asking, asyncio.TaskGroup() as group:
        group.create_task(own.scene("hold", seconds=5.0))
        await asyncio.sleep(0.3)
        began = time.monotonic()
        found = await drained(own.connection, {worker: [worker]}, 0.0, asking=asking)
    assert time.monotonic() - began > 4.0, "the lock was not held: nothing was tested"
    assert found == [{worker: EMPTY}]


class Lossy:
    """A connection on which the answer to a retirement is lost, without that anything breaks."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def call(self, op: str, /, **arguments: Any) -> Any:
        answer = await self._connection.call(op, **arguments)
        if op == "retire_workers":
            await asyncio.Event().wait()
        return answer


class Refusing:
    """A connection on which one question is refused."""

    def __init__(self, connection: Connection, op: str) -> None:
        self._connection = connection
        self._op = op

    async def call(self, op: str, /, **arguments: Any) -> Any:
        if op == self._op:
            raise SchedulerRefused(f"{op}: it is odd")
        return await self._connection.call(op, **arguments)


async def test_an_error_is_an_answer(own: Partner, monkeypatch: pytest.MonkeyPatch) -> None:
    """How far it has come cannot be told, but the scheduler is there: the call is not given up."""
    monkeypatch.setattr("dask_k8s.scheduler.retirement.FIRST_LOOK", 0.2)
    monkeypatch.setattr("dask_k8s.scheduler.retirement.DEAF", 0.5)
    await own.scene("begin", count=2)
    await own.scene("slow", what="retire_workers", seconds=2.0)
    worker, _ = await own.rpc.leaving_order()
    async with aclosing(await connect(*located(own.address))) as asking:
        found = await drained(own.connection, {worker: [worker]}, 0.0, asking=Refusing(asking, "identity"))
    assert found == [{worker: EMPTY}]


@pytest.mark.parametrize("held", ["what nobody tells", "an actor"])
async def test_an_answer_that_was_lost_is_found_out(own: Partner, monkeypatch: pytest.MonkeyPatch, held: str) -> None:
    """After the first step a worker goes on leaving, and nothing is left to move: the scheduler has noted the end."""
    monkeypatch.setattr("dask_k8s.scheduler.retirement.FIRST_LOOK", 0.2)
    monkeypatch.setattr("dask_k8s.scheduler.retirement.BEATS", 1_000_000)
    await own.scene("begin", count=2)
    worker, _ = await own.rpc.leaving_order()
    if held == "an actor":
        await own.scene("actor", worker=worker)
    async with asyncio.timeout(30), aclosing(await connect(*located(own.address))) as asking:
        with pytest.raises(SchedulerSilent, match="it is over, and its answer was lost"):
            await drained(Lossy(own.connection), {worker: [worker]}, 0.0, asking=asking)
    assert ((await own.scene("state"))["status"][worker] == "running") is (held == "an actor")


async def test_a_value_that_cannot_be_moved_holds_up_nobody_else(own: Partner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dask tries it for ever, in one call for all that leave together. Those who are empty go meanwhile."""
    monkeypatch.setattr("dask_k8s.scheduler.retirement.FIRST_LOOK", 0.2)
    await own.scene("begin", count=4)
    await own.scene("scatter", count=4)
    holds, *others = (await own.workers()).values()
    await own.scene("unmovable", worker=holds)
    leaving = {worker: frozenset([worker]) for worker in (holds, *others[:2])}
    async with AsyncExitStack() as stack:
        asking, beside = [
            await stack.enter_async_context(aclosing(await connect(*located(own.address)))) for _ in range(2)
        ]
        drain = drainage(own.connection, ignored, asking, beside).drain(leaving, 30.0)
        results, found = await stack.enter_async_context(aclosing(drain)), dict[str, Outcome]()
        with suppress(TimeoutError):
            async with asyncio.timeout(30):
                while len(found) < 2:
                    found.update(await anext(results))
        assert found == dict.fromkeys(others[:2], EMPTY)
        assert (await own.scene("state"))["status"] == {holds: LEAVING, others[2]: "running"}
        await own.scene("forget", key="unmovable")
        assert await anext(results) == {holds: EMPTY}
    assert await own.scene("gather") == {f"key-{number}": number for number in range(4)}


async def test_who_stays_for_its_actor_is_told_while_others_move(own: Partner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dask takes the holder of an actor back at once, and answers when it is done with all: it is exchanged before."""
    monkeypatch.setattr("dask_k8s.scheduler.retirement.FIRST_LOOK", 0.2)
    await own.scene("begin", count=3)
    acts, holds, _ = (await own.workers()).values()
    await own.scene("actor", worker=acts)
    await own.scene("unmovable", worker=holds)
    leaving = {worker: frozenset([worker]) for worker in (acts, holds)}
    async with asyncio.timeout(30), aclosing(await connect(*located(own.address))) as asking:
        results = drainage(own.connection, ignored, asking).drain(leaving, 0.0)
        assert await anext(results) == {acts: Outcome(refused=UNMOVABLE)}
        assert (await own.scene("state"))["status"][acts] == "running"
        await own.scene("forget", key="unmovable")
        assert [result async for result in results] == [{holds: EMPTY}]


async def test_who_leaves_since_an_earlier_call_says_nothing_of_one_that_waits_for_its_turn(
    own: Partner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Dask has not begun with the other one yet, and will: it is in service, and was not taken back."""
    monkeypatch.setattr("dask_k8s.scheduler.retirement.FIRST_LOOK", 0.2)
    await own.scene("begin", count=3)
    await own.scene("scatter", count=3)
    before, waits, _ = (await own.workers()).values()
    await own.scene("submit", task="work", key="t", path=str(tmp_path / "t"), seconds=6.0, worker=before)
    await own.rpc.retire([before], remove=False)
    leaving = {worker: frozenset([worker]) for worker in (before, waits)}
    looks = list[Moving]()
    async with (
        asyncio.timeout(60),
        aclosing(await connect(*located(own.address))) as asking,
        aclosing(await connect(*located(own.address))) as other,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(own.scene("hold", seconds=5.0))
        await asyncio.sleep(0.3)
        results = drainage(own.connection, looks.append, asking, other).drain(leaving, 60.0)
        found = [each async for each in results]
    assert len(looks) > PATIENCE, "it did not wait for its turn: nothing was tested"
    assert {name: outcome for each in found for name, outcome in each.items()} == dict.fromkeys(leaving, EMPTY)


async def test_an_answer_is_not_waited_for_where_all_have_gone(own: Partner, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was lost, and nobody needs it."""
    monkeypatch.setattr("dask_k8s.scheduler.retirement.FIRST_LOOK", 0.2)
    await own.scene("begin", count=2)
    worker, _ = await own.rpc.leaving_order()
    async with asyncio.timeout(30), AsyncExitStack() as stack:
        asking, beside = [
            await stack.enter_async_context(aclosing(await connect(*located(own.address)))) for _ in range(2)
        ]
        results = drainage(Lossy(own.connection), ignored, asking, beside).drain({worker: frozenset([worker])}, 0.0)
        assert [result async for result in results] == [{worker: EMPTY}]
    assert worker not in (await own.workers()).values()


async def test_what_is_not_answered_beside_a_move_does_not_disturb_it(
    own: Partner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether an empty worker has tasks cannot be told; it waits then, and nobody is retired a second time."""
    monkeypatch.setattr("dask_k8s.scheduler.retirement.FIRST_LOOK", 0.2)
    await own.scene("begin", count=3)
    await own.scene("scatter", count=3)
    holds, empty, _ = (await own.workers()).values()
    await own.scene("unmovable", worker=holds)
    leaving = {worker: frozenset([worker]) for worker in (holds, empty)}
    looks = list[Moving]()
    async with AsyncExitStack() as stack:
        asking = await stack.enter_async_context(aclosing(await connect(*located(own.address))))
        results = drainage(own.connection, looks.append, Refusing(asking, "processing")).drain(leaving, 30.0)
        first = asyncio.ensure_future(anext(results))
        async with asyncio.timeout(30):
            while sum(moving.left.get(empty) == 0 for moving in looks) < 6:
                await asyncio.sleep(0.1)
        assert not first.done()
        await own.scene("forget", key="unmovable")
        with pytest.raises(SchedulerRefused, match="it is odd"):
            await asyncio.wait_for(first, 30)
    assert sum("Retire worker addresses" in line for line in await own.scene("logs")) == 1


@pytest.mark.parametrize("first", ["all can move", "one cannot"])
async def test_a_late_result_that_cannot_be_moved_holds_up_nobody_else(
    own: Partner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, first: str
) -> None:
    """Neither who is idle, nor who runs a task until the time is over: after the first move, and beside it."""
    monkeypatch.setattr("dask_k8s.scheduler.retirement.FIRST_LOOK", 0.2)
    await own.scene("begin", count=5)
    late, busy, idle, holds, stays = (await own.workers()).values()
    if first == "one cannot":
        await own.scene("unmovable", worker=holds)
    await own.scene("submit", task="work", key="busy", path=str(tmp_path / "busy"), seconds=60.0, worker=busy)
    await own.scene("unmovable", worker=late, seconds=2.0, key="late")
    leaving = {worker: frozenset([worker]) for worker in (late, busy, idle, holds)}
    expected = dict.fromkeys([busy, idle] if first == "one cannot" else [busy, idle, holds], EMPTY)
    lines, found = Lines(lambda: connect(*located(own.address))), dict[str, Outcome]()

    @asynccontextmanager
    async def line() -> AsyncIterator[SchedulerRpc]:
        async with lines.own() as mine:
            yield SchedulerRpc(mine)

    asking, beside = SchedulerRpc(lines.questions), SchedulerRpc(lines.beside)
    async with lines.used():
        results = Drainage(asking, line, lambda: nullcontext(beside), ignored).drain(leaving, 5.0)
        with suppress(TimeoutError):
            async with asyncio.timeout(30):
                while len(found) < len(expected):
                    found.update(await anext(results))
        await results.aclose()
    assert found == expected
    assert set((await own.workers()).values()) == {late, stays} | ({holds} if first == "one cannot" else set())
