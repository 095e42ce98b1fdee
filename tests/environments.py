"""Environments beside the gate's own: other releases are put into them, and tests are run there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

OLDEST = "2023.5.0"
"""The oldest release of Dask in a user's image: what eviction.md promises."""


def uv(*arguments: str | Path, environment: Path) -> None:
    """Put something into an environment; uv's own words where it cannot."""
    told = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(environment), "VIRTUAL_ENV": str(environment)}
    argv = [sys.executable, "-m", "uv", *map(str, arguments), "--quiet", "--no-python-downloads"]
    done = subprocess.run(argv, cwd=ROOT, env=told, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def passes(environment: Path, *arguments: str) -> str:
    """Run pytest in an environment and return its report, which is also the failure's text."""
    done = subprocess.run(
        [environment / "bin" / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "SUDO_"))},
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    return done.stdout
