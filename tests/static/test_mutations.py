"""Faults that somebody might put into the code by a slip: each is a patch, and the test that it names catches it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATCHES = sorted((ROOT / "tests" / "mutations").glob("*.patch"))
COPIED = ("dask_k8s", "tests", "crds", "examples", "pyproject.toml")
CAUGHT_BY = "Caught-by: "


def caught_by(patch: Path) -> str:
    """The test that has to fail."""
    (line,) = (line for line in patch.read_text().splitlines() if line.startswith(CAUGHT_BY))
    return line.removeprefix(CAUGHT_BY)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The code and its tests, to be spoiled."""
    for name in COPIED:
        source, target = ROOT / name, tmp_path / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    return tmp_path


def run(folder: Path, test: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", test]
    # What starts an API server is this clone's own: it finds the one that the other tests use.
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    return subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("patch", PATCHES, ids=[patch.stem for patch in PATCHES])
def test_the_named_test_catches_it(patch: Path, copy: Path) -> None:
    """It fails with the patch, by an assertion of its own and not by an error of the spoiled code."""
    applied = ["git", "apply", "--unsafe-paths", f"--directory={copy}", str(patch)]
    subprocess.run(applied, cwd=copy, check=True, capture_output=True)
    test = caught_by(patch)
    assert (ROOT / test.partition("::")[0]).exists(), f"{test} is gone"
    report = run(copy, test)
    assert report.returncode == 1, report.stdout + report.stderr
    assert "AssertionError" in report.stdout, report.stdout
    assert " failed" in report.stdout.splitlines()[-1], report.stdout


def test_there_is_something_to_catch() -> None:
    """An empty folder would pass unseen."""
    assert len(PATCHES) >= 5
