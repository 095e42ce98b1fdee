"""Two operators: whatever becomes of the one that leads, the other one takes over, and only one of them ever writes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.api.conftest import ApiServer
from tests.faults.takeovers import MANNERS, takeovers


@pytest.mark.timeout(400)
@pytest.mark.usefixtures("crds")
async def test_the_other_takes_over_and_only_one_writes(apiserver: ApiServer, tmp_path: Path) -> None:
    """Killed, frozen and woken up again, cut off, asked to end; ``python -m tests.faults takeovers`` does thirty."""
    figures = await takeovers(await apiserver.log_in(), tmp_path, len(MANNERS), time.time_ns() % 1_000_000)
    assert figures["complaints"] == [], figures
    assert {manner: len(took) for manner, took in figures["seconds until the other wrote"].items()} == dict.fromkeys(
        MANNERS, 1
    )
