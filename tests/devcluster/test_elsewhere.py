"""Tests on a cluster that somebody has already: what needs a node of one's own says so, and the rest runs."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from devcluster import versions
from tests.elsewhere import WITHOUT_PLUGIN

ON_A_NODE = "tests/node/test_soak.py::test_a_minute_of_everything_ends_in_the_true_state"
ANYWHERE = "tests/unit/test_settings.py"


def pytest_run(*arguments: str, path: Path | None = None) -> tuple[int, str]:
    """Its exit code, and all that it prints."""
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", ON_A_NODE, ANYWHERE, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(path or "")}
    done = subprocess.run(
        argv, cwd=versions.CHECKOUT, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("option", ["--kubecontext=theirs", "--kind"])
def test_only_what_needs_a_node_is_skipped(option: str, tmp_path: Path) -> None:
    """A run is not ended by the first of them."""
    (tmp_path / "pytest_kind.py").touch()
    code, printed = pytest_run(option, path=tmp_path)
    assert code == 0, printed
    assert "Needs a node of one's own, and --k" in printed
    assert "passed" in printed.splitlines()[-1]
    assert "1 skipped" in printed.splitlines()[-1]


@pytest.mark.skipif(find_spec("pytest_kind") is not None, reason="pytest-kind is here")
def test_without_its_plugin_kind_says_where_that_is_from() -> None:
    """Once, before any test."""
    code, printed = pytest_run("--kind")
    assert code == pytest.ExitCode.USAGE_ERROR
    assert WITHOUT_PLUGIN in printed
