"""Five ways in which a cluster does not start, made to happen for real, with what a person is told."""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dask_k8s import KubeCluster, StartError, StartTimeout
from dask_k8s.cluster import failures
from devcluster import Cluster
from tests.node.conftest import Kubectl


def fails(kubectl: Kubectl, **arguments: Any) -> tuple[StartError, float]:
    """The error of a start, and how many seconds it took; nothing is left of the cluster."""
    began = time.monotonic()
    options = {
        "operator": "deployed",
        "namespace": kubectl.namespace,
        "n_workers": 1,
        "resource_timeout": 60,
        "quiet": True,
    }
    with pytest.raises(StartError) as failure:
        KubeCluster(**{**options, **arguments})
    took = time.monotonic() - began
    kubectl.until(lambda: not kubectl("get", "daskclusters", "-o", "name").strip(), "nothing left")
    return failure.value, took


def test_an_image_that_does_not_exist(kubectl: Kubectl, deployed: None) -> None:
    """The registry says that there is none: at once, and ``image=`` is named."""
    error, took = fails(kubectl, image="ghcr.io/dask/dask:no-such-tag")
    assert "ghcr.io/dask/dask:no-such-tag" in error.cause
    assert "image=" in error.mend
    assert took < 20


def test_a_registry_that_cannot_be_reached(kubectl: Kubectl, deployed: None, caplog: pytest.LogCaptureFixture) -> None:
    """It may come back, so it is waited for; what Kubernetes says is told within 10 s, and again at the end."""
    caplog.set_level(logging.INFO, "dask_k8s.cluster.progress")
    began = time.time()
    error, took = fails(kubectl, image="registry.invalid/dask:1", resource_timeout=12)
    assert isinstance(error, StartTimeout)
    assert "registry.invalid" in error.cause
    assert "registry" in error.mend
    assert 12 <= took < 25
    told = next(record for record in caplog.records if "registry.invalid" in record.getMessage())
    assert told.created - began < 10


def test_resources_that_no_node_has(kubectl: Kubectl, deployed: None) -> None:
    """The scheduler's own sentence, and ``resources=``."""
    error, _ = fails(kubectl, resources={"requests": {"memory": "900Gi"}}, resource_timeout=5)
    assert "Insufficient memory" in error.cause
    assert "resources=" in error.mend


def test_a_scheduler_that_answers_once(kubectl: Kubectl, deployed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was made, it answered, and is gone when Dask connects: that is a start that failed, too."""

    async def gone(cluster: KubeCluster, address: str, deadline: float) -> None:
        raise failures.of_scheduler(ConnectionRefusedError("refused"))

    monkeypatch.setattr(KubeCluster, "_connect", gone)
    error, _ = fails(kubectl, n_workers=0)
    assert error.step == "Connecting to the scheduler"
    assert "refused" in error.cause


def test_a_container_that_crashes(kubectl: Kubectl, deployed: None, image: str) -> None:
    """Its last log lines, once Kubernetes has started it again in vain."""
    from dask_k8s import make_cluster_spec

    spec = make_cluster_spec("crashes", image=image, n_workers=0)
    spec["spec"]["scheduler"]["spec"]["containers"][0]["args"] = ["python", "-c", "raise SystemExit('no such plug-in')"]
    error, took = fails(kubectl, custom_cluster_spec=spec, n_workers=None)
    assert "exit code 1" in error.cause
    assert "no such plug-in" in error.cause
    assert took < 40


@pytest.fixture
def nobody(kubectl: Kubectl, node: Cluster, tmp_path: Path) -> Iterator[None]:
    """Somebody who may do nothing at all."""
    token = kubectl("create", "token", "default").strip()
    config = yaml.safe_load(node.kubeconfig.read_text())
    config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    before = os.environ["KUBECONFIG"]
    os.environ["KUBECONFIG"] = str(path)
    yield
    os.environ["KUBECONFIG"] = before


@pytest.mark.usefixtures("nobody")
def test_a_right_that_is_missing(kubectl: Kubectl, deployed: None) -> None:
    """Which verb, on what, for whom: the API server's sentence."""
    error, took = fails(kubectl)
    assert "cannot create resource" in error.cause
    assert "daskclusters" in error.cause
    assert "administrator" in error.mend
    assert took < 10


@pytest.mark.usefixtures("nobody")
def test_rights_that_an_embedded_operator_lacks(kubectl: Kubectl, deployed: None) -> None:
    """All of them at once, before anything is made."""
    error, _ = fails(kubectl, operator="embedded")
    assert "create pods" in error.cause
    assert "dask k8s install" in error.mend


def test_names_of_namespaces_that_are_not_there(kubectl: Kubectl, deployed: None) -> None:
    """The namespace is named."""
    missing = f"missing-{secrets.token_hex(3)}"
    error, _ = fails(kubectl, namespace=missing)
    assert missing in error.cause
    assert "namespace=" in error.mend
