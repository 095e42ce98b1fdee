"""The fence: what a holder may still write, and that it ends before anybody else may begin."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_k8s.errors import LeadershipLost
from dask_k8s.operator.engine import election
from dask_k8s.operator.engine.election import WRITE_LIMIT, Fence, Terms


class Clock:
    """The machine's time, as a test sets it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(election, "boottime", clock)
    return clock


def test_without_a_lease_nothing_is_written() -> None:
    """A fence is down until it is raised."""
    with pytest.raises(LeadershipLost):
        Fence().check()


def test_a_write_has_no_more_time_than_the_lease(clock: Clock) -> None:
    """Five seconds, or what is left of the trust in it."""
    fence = Fence()
    fence.extend(clock.now + 9)
    assert fence.time_for_a_write() == WRITE_LIMIT
    clock.now += 8
    assert fence.time_for_a_write() == pytest.approx(1)
    clock.now += 1
    with pytest.raises(LeadershipLost, match="not renewed in time"):
        fence.time_for_a_write()


def test_whoever_ends_begins_no_write_and_still_holds_the_lease(clock: Clock) -> None:
    """What is on its way arrives while nobody else may write."""
    fence = Fence()
    fence.extend(clock.now + 9)
    fence.close()
    with pytest.raises(LeadershipLost, match="ends"):
        fence.check()
    fence.extend(clock.now + 9)
    with pytest.raises(LeadershipLost, match="ends"):
        fence.check()
    assert fence.holds


def test_a_lease_that_was_lost_is_not_trusted(clock: Clock) -> None:
    """At once, and not only when its time is over."""
    fence = Fence()
    fence.extend(clock.now + 9)
    fence.drop()
    with pytest.raises(LeadershipLost):
        fence.check()


@given(st.floats(1, 3600))
def test_the_last_write_ends_before_another_may_lead(duration: float) -> None:
    """Whoever renews at 0 trusts the Lease until ``trust``, and gives no write more than what is left of that.

    And two renewals may fail before the trust ends.
    """
    terms = Terms.lasting(duration)
    assert terms.trust < terms.duration
    assert terms.trust >= 3 * terms.renewal - 1e-9


def test_the_defaults_take_over_within_twenty_seconds() -> None:
    """The last renewal may be seen a look late, and its end be noticed a look later."""
    terms = Terms()
    assert terms == Terms.lasting(terms.duration)
    assert terms.duration + 2 * terms.renewal * election.SOON[1] < 20 - 2
    assert terms.trust + WRITE_LIMIT < terms.duration
