"""A minute of the soak: people, nodes, kills and a failing API server. ``python -m tests.faults soak`` goes on."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.faults import place
from tests.faults.soak import Options


@pytest.mark.timeout(600)
def test_a_minute_of_everything_ends_in_the_true_state(tmp_path: Path) -> None:
    """Never more workers than were asked for, in the end exactly so many, true statuses, no rest, and then quiet."""
    seed = time.time_ns() % 1_000_000
    figures = place.soak(Options(seconds=60, seed=seed, folder=str(tmp_path), quiet=15, kills=2))
    assert figures["complaints"] == [], figures
    assert figures["processes"] == 3
    assert figures["worker Pods"]["created"] > 50, "nothing was shaken"
    assert sum(figures["faults"].values()) > 30, "nothing went wrong"
