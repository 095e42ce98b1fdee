"""So many at a time, in fair turns."""

from __future__ import annotations

import asyncio
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from dask_k8s.kube.slots import Lane, Slots, lane
from tests.unit import virtual_time


async def _takes(slots: Slots, mine: str, seconds: float, log: list[str]) -> None:
    lane.set(Lane(mine))
    async with slots:
        log.append(mine)
        await asyncio.sleep(seconds)


def test_lanes_take_turns() -> None:
    """Two of the small one come after two of the large one, and not after all hundred."""
    log: list[str] = []

    async def main() -> None:
        slots = Slots(1)
        async with asyncio.TaskGroup() as group:
            for _ in range(100):
                group.create_task(_takes(slots, "large", 1, log))
            await asyncio.sleep(0.5)
            for _ in range(2):
                group.create_task(_takes(slots, "small", 1, log))

    virtual_time.run(main())
    assert log[:5] == ["large", "large", "small", "large", "small"]
    assert len(log) == 102


def test_those_of_a_group_have_one_turn_together() -> None:
    """A hundred groups of workers of one namespace, and one of another: that has every second turn."""
    log: list[str] = []

    async def takes(slots: Slots, namespace: str, who: str) -> None:
        lane.set(Lane(namespace, who))
        async with slots:
            log.append(namespace)
            await asyncio.sleep(1)

    async def main() -> None:
        slots = Slots(1)
        async with asyncio.TaskGroup() as group:
            for number in range(100):
                group.create_task(takes(slots, "large", str(number)))
            await asyncio.sleep(0.5)
            for _ in range(2):
                group.create_task(takes(slots, "small", "one"))

    virtual_time.run(main())
    assert log[:5] == ["large", "large", "small", "large", "small"]
    assert len(log) == 102


def test_a_group_that_has_its_share_leaves_the_others_theirs() -> None:
    """However long it stays, and however many of it wait."""
    log: list[str] = []

    async def main() -> None:
        slots = Slots(3, share=2)
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(_takes(slots, "large", 100, log))
            await asyncio.sleep(1)
            lane.set(Lane("large"))
            assert slots.is_full()
            lane.set(Lane("small"))
            assert not slots.is_full()
            for _ in range(3):
                group.create_task(_takes(slots, "small", 10, log))
            await asyncio.sleep(50)
            assert log == ["large"] * 2 + ["small"] * 3

    virtual_time.run(main())
    assert len(log) == 7


@given(
    st.integers(1, 4),
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 3), st.booleans()), max_size=20),
)
def test_never_more_than_so_many_and_nobody_is_forgotten(
    count: int, share: int, story: list[tuple[str, float, bool]]
) -> None:
    """Neither in all nor of a group, whoever is cancelled, waiting or in it; at the end all slots are free again."""
    inside, most, most_of_one = Counter[str](), 0, 0

    async def main() -> None:
        slots = Slots(count, share)

        async def one(mine: str, seconds: float) -> None:
            nonlocal most, most_of_one
            lane.set(Lane(mine))
            async with slots:
                inside[mine] += 1
                most, most_of_one = max(most, inside.total()), max(most_of_one, inside[mine])
                try:
                    await asyncio.sleep(seconds)
                finally:
                    inside[mine] -= 1

        tasks = []
        for mine, seconds, cancelled in story:
            tasks.append(asyncio.ensure_future(one(mine, seconds)))
            await asyncio.sleep(seconds / 4)
            if cancelled:
                tasks[len(tasks) // 2].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.timeout(1):
            for number in range(count):
                lane.set(Lane(number // share))
                await slots.take()

    virtual_time.run(main())
    assert most <= count
    assert most_of_one <= share
    assert not inside.total()


def test_one_that_is_cancelled_as_it_gets_its_turn_passes_it_on() -> None:
    """Else a slot would be lost with each."""

    async def main() -> None:
        slots = Slots(1)
        await slots.__aenter__()
        second = asyncio.ensure_future(_takes(slots, "a", 1, []))
        log: list[str] = []
        third = asyncio.ensure_future(_takes(slots, "b", 1, log))
        await asyncio.sleep(0)
        await slots.__aexit__(None, None, None)
        second.cancel()
        await third
        assert log == ["b"]

    virtual_time.run(main())
