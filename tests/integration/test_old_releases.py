"""The hand-over under the oldest Dask that an image may have: what the builders make is run there, and not here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

OLDEST = "2023.5.0"
"""What eviction.md promises."""

BESIDE = ("pytest", "pytest-asyncio", "pyyaml")


def test_the_hand_over_works_with_the_oldest_dask(tmp_path: Path) -> None:
    """All of its tests, in an environment of their own."""
    python = tmp_path / "environment" / "bin" / "python"
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, python.parents[1]], check=True)
    releases = [f"dask=={OLDEST}", f"distributed=={OLDEST}", *BESIDE]
    subprocess.run([*uv, "pip", "install", "--quiet", "--python", python, *releases], check=True)
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-W", "ignore", "-p", "no:cacheprovider", "tests/integration/test_handover.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
