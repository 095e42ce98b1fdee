"""Which Kubernetes the tests run against: one of their own, unless another is named; never the current context."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("dask-k8s")
    group.addoption("--kubecontext", metavar="NAME", help="run against the cluster of this context of your kubeconfig")
    group.addoption("--kind", action="store_true", help="run against a cluster that pytest-kind makes (needs Docker)")
    group.addoption("--regenerate-golden", action="store_true", help="write what the builders make now to tests/golden")
