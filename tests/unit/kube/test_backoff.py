"""Pauses grow, are spread, and are no longer than they need be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_k8s.errors import ApiError, Forbidden, Gone, Missing, Unavailable, Unreachable
from dask_k8s.kube import backoff

BROKEN = Gone(410, "Expired", "too old")


@pytest.mark.parametrize(("failures", "seconds"), [(1, 0.2), (2, 0.4), (3, 0.8), (8, 25.6), (9, 30), (10_000, 30)])
def test_each_failure_doubles_the_pause(failures: int, seconds: float) -> None:
    """From 0.2 to 30 seconds, however long it goes on."""
    assert backoff.pause(failures, BROKEN, 1.0) == pytest.approx(seconds)
    assert backoff.pause(failures, BROKEN, 0.0) == pytest.approx(seconds / 2)


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (Unreachable("no route"), 5.0),
        (Missing(404, "", "404 page not found"), 5.0),
        (Unavailable(429, "TooManyRequests", "storage is (re)initializing"), 5.0),
        (Forbidden(403, "Forbidden", "no"), 30.0),
        (Unavailable(503, "", "no healthy upstream"), 5.0),
        (Unavailable(429, "TooManyRequests", "no"), 30.0),
        (Gone(410, "Expired", "too old"), 30.0),
    ],
)
def test_whoever_installs_a_kind_watches_us_wait(error: ApiError | Unreachable, seconds: float) -> None:
    """A kind or a server that is not there yet is asked for every few seconds; all else more rarely in the end."""
    assert backoff.pause(100, error, 1.0) == seconds


def test_the_server_may_ask_for_more_but_not_for_an_hour() -> None:
    """``Retry-After`` is honoured within our own bound."""
    assert backoff.pause(1, Unavailable(429, "", "", retry_after=7), 0.5) == 7
    assert backoff.pause(1, Unavailable(429, "", "", retry_after=3600), 0.5) == 30


@given(st.integers(1, 10**6), st.floats(0, 1), st.floats(0.1, 100))
def test_a_pause_is_never_nothing_and_never_more_than_the_most(failures: int, draw: float, longest: float) -> None:
    """Neither a hot loop nor a lost informer."""
    assert 0 < backoff.pause(failures, BROKEN, draw, longest) <= longest
