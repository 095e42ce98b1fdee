"""The programs under ``examples/`` that a person runs: to their end, on real Pods."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.node.conftest import ROOT, Kubectl


def test_the_first_cluster_comes_works_and_goes(kubectl: Kubectl) -> None:
    """Every step is told with what it took, and nothing is left."""
    environment = {**os.environ, **kubectl.environment, "DASK_KUBERNETES__NAMESPACE": kubectl.namespace}
    argv = [sys.executable, "examples/first_cluster.py"]
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("✓") == done.stdout.count("▸") == 6
    assert not kubectl("get", "daskclusters,pods", "-o", "name").strip()
