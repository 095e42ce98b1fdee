"""News that ask for no deed wait, so that to look at them takes a small part of the time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_k8s.operator.engine.pace import ALONE, BUSY, LONGEST, MEMORY, SHARE, SHORTEST, Pace
from dask_k8s.operator.engine.queue import Key

ONE, OTHER = Key("DaskWorkerGroup", "one", "a"), Key("DaskWorkerGroup", "two", "b")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("took", "wait"),
    [(0.0, SHORTEST), (0.0001, SHORTEST), (0.002, 0.04), (0.02, 0.4), (0.05, ALONE), (1.0, LONGEST)],
)
def test_a_key_waits_as_long_as_it_is_large(took: float, wait: float) -> None:
    """A group of two is looked at as soon as ever, and one of thousands once a second, while it takes no second."""
    pace = Pace(Clock())
    pace.took(ONE, took)
    assert pace.wait(ONE) == pytest.approx(wait)


def test_where_many_keys_are_busy_each_waits() -> None:
    """A thousand small groups that start at once are looked at every three seconds each."""
    clock = Clock()
    pace = Pace(clock)
    for number in range(1000):
        clock.now += 0.001
        pace.took(Key("DaskWorkerGroup", "many", str(number)), 0.0005)
    assert pace.wait(ONE) == LONGEST
    clock.now += 8 * MEMORY
    assert pace.wait(ONE) == pytest.approx(SHORTEST, abs=0.01)


def test_a_key_that_is_gone_is_forgotten() -> None:
    """Another one of its name begins anew."""
    clock = Clock()
    pace = Pace(clock)
    pace.took(ONE, 1.0)
    pace.forget(ONE)
    clock.now += 20 * MEMORY
    assert pace.wait(ONE) == SHORTEST


@given(st.lists(st.tuples(st.sampled_from([ONE, OTHER]), st.floats(0, 0.5), st.floats(0, 5)), max_size=20))
def test_nobody_waits_longer_than_a_status_may(story: list[tuple[Key, float, float]]) -> None:
    """Nor shorter than events take that come together."""
    clock = Clock()
    pace = Pace(clock)
    for key, seconds, pause in story:
        clock.now += pause
        pace.took(key, seconds)
        assert SHORTEST <= pace.wait(key) <= LONGEST
        assert pace.wait(key) >= min(ALONE, seconds / SHARE)


def test_a_tenth_of_the_time_is_busy() -> None:
    """What is spent counts, and not how it is shared out."""
    clock = Clock()
    pace = Pace(clock)
    for _ in range(1000):
        clock.now += 0.01
        pace.took(OTHER, 0.01 * BUSY)
    assert pace.wait(ONE) == pytest.approx(LONGEST, rel=0.02)
