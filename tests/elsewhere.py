"""Clusters that are not the tests' own, as the command line asks for them."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

WITHOUT_PLUGIN = "--kind needs pytest-kind, which is not in the lock: .venv/bin/uv pip install pytest-kind"


def elsewhere(config: pytest.Config) -> str | None:
    """The option that names another cluster; None where tests have their own."""
    if context := config.getoption("--kubecontext"):
        return f"--kubecontext {context}"
    return "--kind" if config.getoption("--kind") else None


def require_plugin(config: pytest.Config) -> None:
    """Say where the plugin is to come from, once and not for each test."""
    if config.getoption("--kind") and find_spec("pytest_kind") is None:
        raise pytest.UsageError(WITHOUT_PLUGIN)
