"""Durations and their bounds."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from dask_k8s.operator.engine.histogram import SECONDS, Histogram


@given(st.lists(st.floats(min_value=0, max_value=1000)))
def test_each_bound_counts_what_took_no_longer(durations: list[float]) -> None:
    """As Prometheus wants it: cumulative, each bound included, infinity holds all."""
    histogram = Histogram()
    for seconds in durations:
        histogram.observe(seconds)
    assert dict(histogram.buckets()) == {
        bound: sum(seconds <= bound for seconds in durations) for bound in (*SECONDS, math.inf)
    }
    assert math.isclose(histogram.total, sum(durations))
