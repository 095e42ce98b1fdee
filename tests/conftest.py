"""Which Kubernetes the tests run against: one of their own, unless another is named; never the current context."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.caches import give_back
from tests.elsewhere import require_plugin
from tests.state import WHERE, state


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("dask-k8s")
    group.addoption("--kubecontext", metavar="NAME", help="run against the cluster of this context of your kubeconfig")
    group.addoption("--kind", action="store_true", help="run against a cluster that pytest-kind makes (needs Docker)")
    group.addoption("--regenerate-golden", action="store_true", help="write what the builders make now to tests/golden")


def pytest_configure(config: pytest.Config) -> None:
    require_plugin(config)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A failure shows what the cluster's parts were doing, also one of the preparations."""
    report = yield
    where = item.config.stash.get(WHERE, None)
    if where is not None and report.failed:  # type: ignore[attr-defined]
        report.sections += state(where)  # type: ignore[attr-defined]
    return report


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """After everything that writes; a worker of pytest-xdist would do it while others still write."""
    if "SUDO_UID" in os.environ and not hasattr(config, "workerinput"):
        give_back(config.rootpath)
