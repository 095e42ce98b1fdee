"""KubeCluster on a Kubernetes where nobody has installed Dask's resources."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from dask_k8s import KubeCluster, StartError
from devcluster import down, up

BARE = "bare"


@pytest.fixture(scope="module")
def bare() -> Iterator[str]:
    """The kubeconfig of an API server of its own, which no other test installs anything on."""
    yield str(up("api", BARE).kubeconfig)
    down("api", BARE)


def test_missing_crds_are_told_at_once(bare: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever would serve it: the error says what is missing and what installs it."""
    monkeypatch.setenv("KUBECONFIG", bare)
    for operator in ("auto", "embedded", "deployed"):
        began = time.monotonic()
        with pytest.raises(StartError, match="does not know Dask's resources") as failure:
            KubeCluster(operator=operator, namespace="default", quiet=True)
        assert "dask k8s install --crds-only" in failure.value.mend
        assert time.monotonic() - began < 10
    with pytest.raises(StartError, match="does not know Dask's resources"):
        KubeCluster.from_name("any", namespace="default", quiet=True)
