"""Starts a run: brings the node up, sees to it that only the subject's operator serves, and goes inside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from benchmarks.start import installed, plain_environment
from devcluster import Cluster, up
from tests.losses.options import Options
from tests.node.conftest import ROOT, Kubectl, own_namespace

FAULTS = (
    "scattered lost",
    "computed lost",
    "missing at the end",
    "wrong values",
    "tasks failed",
    "not settled",
    "Pods left",
    "computed executed again",
    "suspicious",
    "in the scheduler's log",
    "not in the scheduler's log",
)
"""Figures that nothing excuses."""


def run(options: Options) -> dict[str, Any]:
    """One run on this clone's node or nodes, its progress on stderr."""
    node = up("nodes" if options.second_node else "node")
    os.environ.update(node.environment())
    with installed(node, serves=options.subject == "dask-k8s"), own_namespace(node) as kubectl:
        return run_inside(node, kubectl, options)


def run_inside(node: Cluster, kubectl: Kubectl, options: Options) -> dict[str, Any]:
    """One run in a namespace, whose operator serves."""
    argv = [sys.executable, "-m", "tests.losses.scenario", options.to_json(), kubectl.namespace]
    environment = {**plain_environment(), **node.environment()}
    done = subprocess.run(node.inside(argv), env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the run ended with {done.returncode}: see {options.folder}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
