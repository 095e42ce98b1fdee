"""PURE: how long to wait after so many failures."""

from __future__ import annotations

from dask_k8s.errors import ApiError, Unavailable, Unreachable

FIRST = 0.2
LONGEST = 30.0
LONGEST_WHILE_WATCHED = 5.0
"""Seconds at most between questions for a kind that is not served, since whoever installs it watches us wait, and to a
server that is not there, or that says so through what stands before it (5xx): that costs nobody anything, and has to be
seen when it is back. One that wants to be asked later says when."""


def pause(failures: int, error: Exception, draw: float, longest: float = LONGEST) -> float:
    """Seconds to wait before asking again.

    Parameters
    ----------
    failures
        In a row, this one included.
    draw
        Between 0 and 1: spreads those that failed together, over the upper half of the time.
    longest
        The most, whatever the number of failures.
    """
    watched = _not_served(error) or _is_away(error)
    most = min(longest, LONGEST_WHILE_WATCHED) if watched else longest
    seconds = min(most, FIRST * 2.0 ** min(failures - 1, 16)) * (0.5 + draw / 2)
    asked = error.retry_after if isinstance(error, ApiError) else None
    return max(seconds, min(asked or 0.0, longest))


def _is_away(error: Exception) -> bool:
    return isinstance(error, Unreachable) or (isinstance(error, ApiError) and error.status >= 500)


def _not_served(error: Exception) -> bool:
    """A kind that is not installed (404), or was a moment ago, so that its storage is still being made (429)."""
    if not isinstance(error, ApiError):
        return False
    return error.status == 404 or (isinstance(error, Unavailable) and "initializing" in error.message)
