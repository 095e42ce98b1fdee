"""The loop: side by side, never two passes for one key; what a pass raises decides when it comes again."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable

import pytest

from dask_k8s.errors import Conflict, InvalidResource, LeadershipLost, Unavailable, Unreachable
from dask_k8s.operator.engine.loop import LONGEST_CONFLICT, LONGEST_STALE, Loop
from dask_k8s.operator.engine.queue import FIRST_BACKOFF, Key, Queue
from tests.unit import virtual_time

A = Key("DaskCluster", "one", "a")


async def passes(queue: Queue, reconcile: Callable[[Key], Awaitable[None]], seconds: float, workers: int = 4) -> Loop:
    """So many seconds of a loop."""
    loop = Loop(queue, reconcile, workers=workers)
    running = asyncio.ensure_future(loop.run())
    await asyncio.sleep(seconds)
    running.cancel()
    await asyncio.wait([running])
    if not running.cancelled():
        running.result()
    return loop


def times_of(errors: list[Exception | None], seconds: float = 1000) -> tuple[list[float], Loop]:
    """When the passes for one key began, where each raises the next of these errors, or nothing."""

    async def main() -> tuple[list[float], Loop]:
        queue, began, left = Queue(jitter=lambda: 0.5), [], list(errors)

        async def reconcile(key: Key) -> None:
            assert key == A
            began.append(asyncio.get_running_loop().time())
            error = left.pop(0) if left else None
            if error is not None:
                raise error

        queue.add(A)
        return began, await passes(queue, reconcile, seconds)

    return virtual_time.run(main())


def test_a_pass_that_succeeds_does_not_come_again() -> None:
    """Only an event, or its own wish, brings it back."""
    began, loop = times_of([None])
    assert (began, loop.passes, loop.failures) == ([0], 1, 0)


@pytest.mark.parametrize("error", [Unavailable(503, "", "busy"), Unreachable("no route"), RuntimeError("a bug")])
def test_a_pass_that_fails_comes_again_later_and_later(error: Exception) -> None:
    """Also where the fault is ours: one resource's bug stops neither others nor itself for ever."""
    began, loop = times_of([error] * 3)
    assert began == pytest.approx([0, FIRST_BACKOFF, 3 * FIRST_BACKOFF, 7 * FIRST_BACKOFF])
    assert (loop.passes, loop.failures) == (4, 3)


@pytest.mark.parametrize(("reason", "longest"), [("Conflict", LONGEST_STALE), ("Terminating", LONGEST_CONFLICT)])
def test_a_conflict_comes_again_soon_and_is_no_failure(reason: str, longest: float) -> None:
    """Somebody wrote in between: the cache has mostly caught up at once, and where it has not, it is not hammered."""
    began, loop = times_of([Conflict(409, reason, "read again")] * 12)
    pauses = [later - earlier for earlier, later in itertools.pairwise(began)]
    assert pauses[:3] == pytest.approx([FIRST_BACKOFF, 2 * FIRST_BACKOFF, 4 * FIRST_BACKOFF])
    assert pauses[-1] == pytest.approx(longest)
    assert loop.failures == 0


def test_a_success_in_between_begins_the_back_off_anew() -> None:
    """Failures count only in a row."""

    async def main() -> None:
        queue, began = Queue(jitter=lambda: 0.5), list[float]()
        errors: list[Exception | None] = [RuntimeError(), RuntimeError(), None, RuntimeError()]

        async def reconcile(_: Key) -> None:
            began.append(asyncio.get_running_loop().time())
            error = errors.pop(0) if errors else None
            if error is not None:
                raise error
            if errors:
                queue.add(A)

        queue.add(A)
        await passes(queue, reconcile, 100)
        assert began[4] - began[3] == pytest.approx(FIRST_BACKOFF)

    virtual_time.run(main())


def test_lost_leadership_ends_the_loop() -> None:
    """Nothing may be written any more: the error leaves, in the TaskGroup's wrapping, and no pass begins after it."""
    with pytest.raises(ExceptionGroup) as caught:
        times_of([LeadershipLost("run out")])
    assert caught.group_contains(LeadershipLost)


def test_a_loop_that_is_closed_waits_for_what_it_began_and_begins_nothing() -> None:
    """What a pass may write no more ends that pass alone, so that the writes of others arrive."""

    async def main() -> None:
        queue, ended = Queue(), list[str]()

        async def reconcile(key: Key) -> None:
            await asyncio.sleep(1)
            if key == A:
                raise LeadershipLost("it ends")
            await asyncio.sleep(1)
            ended.append(key.name)

        loop = Loop(queue, reconcile, workers=2)
        running = asyncio.ensure_future(loop.run())
        for key in (A, Key("DaskCluster", "one", "b"), Key("DaskCluster", "one", "c")):
            queue.add(key)
        await asyncio.sleep(0.5)
        assert await loop.close(within=10)
        assert asyncio.get_running_loop().time() == pytest.approx(2, abs=0.1)
        assert ended == ["b"]
        running.cancel()

    virtual_time.run(main())


def test_a_loop_that_is_closed_waits_no_longer_than_it_may() -> None:
    """A server that does not answer holds nobody up."""

    async def main() -> None:
        queue = Queue()

        async def reconcile(_: Key) -> None:
            await asyncio.sleep(1000)

        loop = Loop(queue, reconcile)
        running = asyncio.ensure_future(loop.run())
        queue.add(A)
        await asyncio.sleep(1)
        assert not await loop.close(within=3)
        assert asyncio.get_running_loop().time() == pytest.approx(4)
        running.cancel()

    virtual_time.run(main())


async def test_a_pass_that_gets_further_is_still_the_one_that_began() -> None:
    """When it began and when it last got further are two moments; what is not under way has neither."""
    queue, seen = Queue(), asyncio.Event()

    async def reconcile(_: Key) -> None:
        began = loop.under_way[A]
        assert loop.progress[A] == began
        loop.progressed(A)
        assert loop.under_way[A] == began < loop.progress[A]
        seen.set()

    loop = Loop(queue, reconcile)
    queue.add(A)
    running = asyncio.ensure_future(loop.run())
    async with asyncio.timeout(10):
        await seen.wait()
    while loop.under_way:
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running])
    loop.progressed(A)
    assert loop.progress == {}


def test_keys_go_side_by_side_and_one_key_never_twice() -> None:
    """As many as there are workers; a slow pass keeps only its own key waiting."""

    async def main() -> None:
        queue, running, most = Queue(), list[Key](), 0

        async def reconcile(key: Key) -> None:
            nonlocal most
            assert key not in running
            running.append(key)
            most = max(most, len(running))
            await asyncio.sleep(10)
            running.remove(key)

        keys = [Key("K", "n", str(index)) for index in range(12)]
        for key in keys * 2:
            queue.add(key)
        loop = asyncio.ensure_future(passes(queue, reconcile, 100))
        await asyncio.sleep(5)
        for key in keys[:4]:
            queue.add(key)
        assert (await loop).passes == 16
        assert most == 4

    virtual_time.run(main())


@pytest.mark.parametrize(
    ("error", "level"), [(RuntimeError("a bug"), logging.ERROR), (InvalidResource("spec", "bad"), logging.INFO)]
)
def test_a_bug_is_told_with_its_traceback_and_the_expected_without(
    error: Exception, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    """An operator's log shows traces only where the code is wrong."""
    caplog.set_level(logging.INFO)
    times_of([error])
    (record,) = caplog.records
    assert record.levelno == level
    assert bool(record.exc_info) == (level == logging.ERROR)
    assert "DaskCluster one/a" in record.getMessage()
    about = {"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster", "namespace": "one", "name": "a"}
    assert vars(record)["k8s_ref"] == about


@pytest.mark.parametrize(("error", "told"), [(Unavailable(503, "", "busy"), 1), (Unreachable("no route"), 0)])
def test_what_keeps_failing_is_told_once(error: Exception, told: int, caplog: pytest.LogCaptureFixture) -> None:
    """Until it has succeeded; that nobody answers at all is told by the caches, once for all keys."""
    caplog.set_level(logging.INFO)
    times_of([error] * 5)
    assert len(caplog.records) == told
