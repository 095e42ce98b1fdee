"""The one deadline of a start-up."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml

from dask_k8s import KubeCluster, StartTimeout

SLOW = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "sleep", "args": ["20"]}}


def test_a_log_in_that_does_not_end_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kubeconfig's plug-in may wait for a browser that nobody sees."""
    kubeconfig = tmp_path / "config"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "one", "cluster": {"server": "http://127.0.0.1:9"}}],
        "users": [{"name": "one", "user": SLOW}],
        "contexts": [{"name": "one", "context": {"cluster": "one", "user": "one"}}],
        "current-context": "one",
    }
    kubeconfig.write_text(yaml.safe_dump(content))
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    began = time.monotonic()
    with pytest.raises(StartTimeout, match=r"Logging in, after 1 s \(resource_timeout=\)"):
        KubeCluster(resource_timeout=1, quiet=True)
    assert time.monotonic() - began < 15
