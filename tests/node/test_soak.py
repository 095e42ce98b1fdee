"""A minute of the soak, and a third of one without an API server. ``python -m tests.faults`` goes on."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.faults import place
from tests.faults.away import Options as Away
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
    assert figures["pages"] > 5, "no list came in pieces"


@pytest.mark.timeout(600)
def test_an_api_server_that_was_away_is_caught_up_with(tmp_path: Path) -> None:
    """The process lives, the log is calm, the probes say what is so, and all is true soon after."""
    figures = place.away(Away(seconds=20, folder=str(tmp_path)))
    assert figures["complaints"] == [], figures
    assert figures["requests while it was away"] > 5, "it was not away"
