"""So many at a time, in fair turns."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

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


@given(st.integers(1, 4), st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 3), st.booleans()), max_size=20))
def test_never_more_than_so_many_and_nobody_is_forgotten(count: int, story: list[tuple[str, float, bool]]) -> None:
    """Whoever is cancelled, waiting or in it; at the end all slots are free again."""
    inside, most = 0, 0

    async def main() -> None:
        nonlocal inside, most
        slots = Slots(count)

        async def one(mine: str, seconds: float) -> None:
            nonlocal inside, most
            lane.set(Lane(mine))
            async with slots:
                inside += 1
                most = max(most, inside)
                try:
                    await asyncio.sleep(seconds)
                finally:
                    inside -= 1

        tasks = []
        for mine, seconds, cancelled in story:
            tasks.append(asyncio.ensure_future(one(mine, seconds)))
            await asyncio.sleep(seconds / 4)
            if cancelled:
                tasks[len(tasks) // 2].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.timeout(1), AsyncExitStack() as stack:
            for _ in range(count):
                await stack.enter_async_context(slots)

    virtual_time.run(main())
    assert most <= count
    assert inside == 0


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
