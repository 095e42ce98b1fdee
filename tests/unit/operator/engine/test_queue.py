"""The queue's semantics: client-go's, and fair between namespaces. Time is virtual, so that delays are exact."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_k8s.operator.engine.queue import FIRST_BACKOFF, LONGEST_BACKOFF, SHARE, Key, Queue
from tests.unit import virtual_time


def key(name: str, namespace: str = "one") -> Key:
    return Key("Kind", namespace, name)


A, B = key("a"), key("b")


async def due(queue: Queue) -> list[Key]:
    """All keys that are due now, each taken and done with."""
    taken: list[Key] = []
    while True:
        getting = asyncio.ensure_future(queue.get())
        for _ in range(3):
            await asyncio.sleep(0)
        if not getting.done():
            getting.cancel()
            await asyncio.wait([getting])
            return taken
        taken.append(await getting)
        queue.done(taken[-1])


def test_a_key_is_in_it_once() -> None:
    """However many events there were, one pass sees all of them."""

    async def main() -> None:
        queue = Queue()
        for each in (A, B, A, A):
            queue.add(each)
        assert len(queue) == 2
        assert await due(queue) == [A, B]

    virtual_time.run(main())


def test_a_namespace_has_half_of_the_places_at_most() -> None:
    """However many of its keys are due, and however long each of them takes, others find a place."""

    async def main() -> None:
        queue = Queue()
        many = [key(str(number), "many") for number in range(SHARE + 2)]
        for each in many:
            queue.add(each)
        taken = [await queue.get() for _ in range(SHARE)]
        assert taken == many[:SHARE]
        assert await due(queue) == []
        queue.add(A)
        assert await due(queue) == [A]
        getting = asyncio.ensure_future(queue.get())
        await asyncio.sleep(1)
        assert not getting.done()
        queue.done(taken[0])
        assert await getting == many[SHARE]

    virtual_time.run(main())


def test_a_key_is_never_worked_on_twice_at_once() -> None:
    """What is added while it is worked on comes again, once, when that is over."""

    async def main() -> None:
        queue = Queue()
        queue.add(A)
        assert await queue.get() == A
        queue.add(A)
        queue.add(A)
        queue.add(B)
        assert await queue.get() == B
        queue.done(B)
        assert await due(queue) == []
        queue.done(A)
        assert await due(queue) == [A]

    virtual_time.run(main())


def test_what_was_not_added_again_does_not_come_again() -> None:
    """The end of a pass alone wakes nobody."""

    async def main() -> None:
        queue = Queue()
        queue.add(A)
        queue.done(await queue.get())
        assert len(queue) == 0
        assert await due(queue) == []

    virtual_time.run(main())


def test_namespaces_take_turns() -> None:
    """A thousand keys of one namespace do not keep another's waiting."""

    async def main() -> None:
        queue = Queue()
        for index in range(1000):
            queue.add(key(str(index), "large"))
        for index in range(2):
            queue.add(key(str(index), "small"))
        order = [each.namespace for each in await due(queue)]
        assert order[:5] == ["large", "small", "large", "small", "large"]
        assert len(order) == 1002

    virtual_time.run(main())


def test_a_delay_is_kept() -> None:
    """Not before, and right then."""

    async def main() -> None:
        queue, loop = Queue(), asyncio.get_running_loop()
        queue.add_after(A, 30)
        assert await due(queue) == []
        assert await queue.get() == A
        assert loop.time() == pytest.approx(30)

    virtual_time.run(main())


@pytest.mark.parametrize("delays", [(30, 10), (10, 30), (10, 10)])
def test_of_two_delays_the_earlier_counts(delays: tuple[float, float]) -> None:
    """And the key comes once."""

    async def main() -> None:
        queue, loop = Queue(), asyncio.get_running_loop()
        for delay in delays:
            queue.add_after(A, delay)
        queue.done(await queue.get())
        assert loop.time() == pytest.approx(10)
        await asyncio.sleep(60)
        assert await due(queue) == []

    virtual_time.run(main())


@pytest.mark.parametrize("delay", [0, -5])
def test_a_delay_that_is_over_is_none(delay: float) -> None:
    """A moment in the past, as of a ``wake_at`` that a long pass has overtaken, is now."""

    async def main() -> None:
        queue = Queue()
        queue.add_after(A, delay)
        assert await due(queue) == [A]

    virtual_time.run(main())


def test_a_sleeper_hears_of_an_earlier_key() -> None:
    """Whoever waits for the first delay is woken by a shorter one."""

    async def main() -> None:
        queue, loop = Queue(), asyncio.get_running_loop()
        queue.add_after(A, 100)
        getting = asyncio.ensure_future(queue.get())
        await asyncio.sleep(1)
        queue.add_after(B, 5)
        assert await getting == B
        assert loop.time() == pytest.approx(6)
        assert await queue.get() == A
        assert loop.time() == pytest.approx(100)

    virtual_time.run(main())


def test_all_sleepers_are_woken_for_all_keys() -> None:
    """As many passes begin at once as there are workers that wait and keys that come."""

    async def main() -> None:
        queue = Queue()
        getting = [asyncio.ensure_future(queue.get()) for _ in range(4)]
        await asyncio.sleep(1)
        for index in range(4):
            queue.add(key(str(index)))
        assert {each.name for each in await asyncio.gather(*getting)} == {"0", "1", "2", "3"}

    virtual_time.run(main())


@pytest.mark.parametrize("keys", [0, 1, 2])
def test_sleepers_that_find_nothing_sleep_on(keys: int) -> None:
    """An idle operator costs nothing: workers do not wake each other."""

    async def main() -> None:
        queue = Queue()
        getting = [asyncio.ensure_future(queue.get()) for _ in range(4)]
        await asyncio.sleep(1)
        for index in range(keys):
            queue.add(key(str(index)))
        await asyncio.sleep(1000)
        assert sum(each.done() for each in getting) == keys
        for each in getting:
            each.cancel()
        await asyncio.wait(getting)

    virtual_time.run(main())


def test_failures_come_back_later_and_later() -> None:
    """Twice as late with every failure in a row, up to a minute."""

    async def main() -> None:
        queue, loop, delays = Queue(jitter=lambda: 0.5), asyncio.get_running_loop(), []
        for _ in range(14):
            before = loop.time()
            queue.add_failed(A)
            queue.done(await queue.get())
            delays.append(loop.time() - before)
        assert delays == pytest.approx([min(LONGEST_BACKOFF, FIRST_BACKOFF * 2**number) for number in range(14)])

    virtual_time.run(main())


def test_a_success_begins_the_back_off_anew() -> None:
    """Each key for itself."""

    async def main() -> None:
        queue, loop = Queue(jitter=lambda: 0.5), asyncio.get_running_loop()
        for _ in range(10):
            queue.add_failed(A)
            queue.done(await queue.get())
        queue.forget_failures(A)
        before = loop.time()
        queue.add_failed(A)
        assert await queue.get() == A
        assert loop.time() - before == pytest.approx(FIRST_BACKOFF)

    virtual_time.run(main())


@pytest.mark.parametrize(("jitter", "share"), [(0.0, 0.75), (1.0, 1.25)])
def test_back_off_is_spread(jitter: float, share: float) -> None:
    """Keys that failed together do not come back together: a quarter earlier or later."""

    async def main() -> None:
        queue = Queue(jitter=lambda: jitter)
        queue.add_failed(A)
        assert await queue.get() == A
        assert asyncio.get_running_loop().time() == pytest.approx(FIRST_BACKOFF * share)

    virtual_time.run(main())


steps = st.lists(
    st.tuples(st.sampled_from(["add", "later", "failed", "get", "done", "wait"]), st.sampled_from("abc")), max_size=40
)


@given(steps)
def test_nothing_that_was_added_is_lost(steps: list[tuple[str, str]]) -> None:
    """Whatever happens in whatever order: what was added after its last pass began gets another pass."""

    async def main() -> None:
        queue, owed, working = Queue(), set[Key](), list[Key]()
        for step, name in steps:
            each = key(name, name)
            if step == "get" and len(queue):
                taken = await queue.get()
                assert taken not in working
                working.append(taken)
                owed.discard(taken)
            elif step == "done" and working:
                queue.done(working.pop(0))
            elif step == "wait":
                await asyncio.sleep(1)
            elif step in ("add", "later", "failed"):
                if step == "add":
                    queue.add(each)
                elif step == "later":
                    queue.add_after(each, 2)
                else:
                    queue.add_failed(each)
                owed.add(each)
        for each in working:
            queue.done(each)
        await asyncio.sleep(LONGEST_BACKOFF * 2)
        assert owed <= set(await due(queue))

    virtual_time.run(main())


def test_workers_that_wait_do_not_wake_each_other() -> None:
    """Once everything is done, many waiting workers cost nothing: the clock is not even looked at."""

    async def main() -> None:
        looks = 0

        def clock() -> float:
            nonlocal looks
            looks += 1
            return asyncio.get_running_loop().time()

        queue = Queue(clock)
        waiting = [asyncio.ensure_future(queue.get()) for _ in range(8)]
        await asyncio.sleep(0)
        queue.add(A)
        for _ in range(50):
            await asyncio.sleep(0)
        assert sum(each.done() for each in waiting) == 1
        before = looks
        for _ in range(50):
            await asyncio.sleep(0)
        assert looks == before
        for each in waiting:
            each.cancel()

    virtual_time.run(main())


def test_what_failed_is_due_once_the_reason_may_be_gone() -> None:
    """However long it still had to wait; its next failure is the first again."""

    async def main() -> None:
        queue = Queue(jitter=lambda: 0.5)
        for _ in range(20):
            queue.add_failed(A)
        queue.add_after(B, 100)
        queue.hurry()
        assert await due(queue) == [A]
        queue.add_failed(A)
        await asyncio.sleep(FIRST_BACKOFF)
        assert await due(queue) == [A]

    virtual_time.run(main())


def test_a_queue_that_is_closed_keeps_nothing() -> None:
    """A standby hears of everything for months, and works on nothing of it."""

    async def main() -> None:
        queue = Queue()
        queue.add(A)
        queue.add_after(B, 1)
        queue.add_failed(key("c"))
        queue.close()
        queue.add(B)
        queue.add_after(A, 1)
        assert (len(queue), queue.put_off) == (0, 0)
        queue.open()
        await asyncio.sleep(5)
        assert await due(queue) == []
        queue.add(A)
        assert await due(queue) == [A]

    virtual_time.run(main())


def test_a_namespace_is_opened_for_itself() -> None:
    """The keys of another one are not taken in, neither now nor later."""

    async def main() -> None:
        queue, elsewhere = Queue(), Key("kind", "elsewhere", "a")
        queue.close()
        queue.open(A.namespace)
        queue.add_after(elsewhere, 1)
        queue.add(elsewhere)
        queue.add(A)
        await asyncio.sleep(5)
        assert await due(queue) == [A]
        queue.open()
        queue.add(elsewhere)
        assert await due(queue) == [elsewhere]

    virtual_time.run(main())


def test_a_busy_server_is_given_the_time_that_it_asked_for() -> None:
    """And not all keys come back to it in the same moment."""

    async def main() -> None:
        draws = iter((0.0, 1.0))
        queue = Queue(jitter=lambda: next(draws))
        queue.add_failed(A, soonest=10)
        queue.add_failed(B, soonest=10)
        await asyncio.sleep(9.9)
        assert await due(queue) == []
        await asyncio.sleep(0.2)
        assert await due(queue) == [A]
        await asyncio.sleep(5)
        assert await due(queue) == [B]

    virtual_time.run(main())


def test_events_do_not_shorten_the_time_that_a_server_asked_for() -> None:
    """Nor does one that comes while the key is worked on; after it all is as ever."""

    async def main() -> None:
        queue = Queue(jitter=lambda: 0.0)
        queue.add(A)
        await queue.get()
        queue.add(A)
        queue.add_failed(A, soonest=10)
        queue.done(A)
        queue.add(A)
        assert await due(queue) == []
        await asyncio.sleep(10.1)
        assert await due(queue) == [A]
        queue.add(A)
        assert await due(queue) == [A]

    virtual_time.run(main())
