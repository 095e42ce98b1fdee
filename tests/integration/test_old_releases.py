"""The hand-over under the oldest Dask that an image may have: what the builders make is run there, and not here."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.environments import passes, uv

OLDEST = "2023.5.0"
"""What eviction.md promises."""

BESIDE = ("pytest", "pytest-asyncio", "pyyaml")


def test_the_hand_over_works_with_the_oldest_dask(tmp_path: Path) -> None:
    """All of its tests, in an environment of their own."""
    environment = tmp_path / "environment"
    uv("venv", "--python", sys.executable, environment, environment=environment)
    releases = [f"dask=={OLDEST}", f"distributed=={OLDEST}", *BESIDE]
    uv("pip", "install", "--python", environment, *releases, environment=environment)
    report = passes(environment, "-W", "ignore", "tests/integration/test_handover.py")
    assert " passed" in report
    assert "skipped" not in report
