"""How long things took, counted as cheaply as can be: what a metric is made of, without any library for it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""From a pass that finds nothing to do to one that makes a thousand Pods on a slow API server."""


class Histogram:
    """Durations, counted by the bounds that they stay within.

    Parameters
    ----------
    bounds
        Seconds, ascending; each includes itself.

    Attributes
    ----------
    total
        All seconds together.
    """

    __slots__ = ("_bounds", "_counts", "total")

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Something took so long."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self.total += seconds

    def buckets(self) -> Iterator[tuple[float, int]]:
        """Each bound, infinity last, and how many took no longer than that."""
        return zip((*self._bounds, float("inf")), accumulate(self._counts), strict=True)
