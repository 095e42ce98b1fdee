"""A burst of work on a cluster at its minimum of workers: how soon others come, and go again, beside the peer.

200 tasks of half a second come to one worker; an autoscaler may make six. Ours and dask-kubernetes take turns, each
with its own defaults, on manifests that say the same. The client and both operators stand in the cluster's network.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks import peer, plot, report, serving
from benchmarks.start import installed, plain_environment
from dask_k8s import make_cluster_spec
from dask_k8s.cluster.spec import default_image
from devcluster import Cluster, up

ROUNDS = 3
TIMEOUT = 420
PLOT = Path(__file__).parents[1] / "docs" / "reference" / "burst.svg"
SERVICES = {"dask-k8s": "burst", "dask-kubernetes": "burst-scheduler"}
SUBJECTS = tuple(SERVICES)

Run = Mapping[str, Any]


def main(rounds: int | None) -> None:
    """Measure, print, draw."""
    rounds = rounds or ROUNDS
    cluster = up("node")
    runs: dict[str, list[Run]] = {subject: [] for subject in SUBJECTS}
    with installed(cluster, serves=False):
        for turn in range(rounds):
            for subject in SUBJECTS:
                runs[subject].append(measured(cluster, subject))
                print(
                    f"{subject}, round {turn + 1} of {rounds}: {brief(runs[subject][-1])}", file=sys.stderr, flush=True
                )
    header = ("", "first new Pod", "six joined", "all done", "back at one", "tasks run twice")
    rows = [(subject, *columns(runs[subject])) for subject in SUBJECTS]
    every = {subject: [{key: run[key] for key in run if key != "series"} for run in runs[subject]] for subject in runs}
    note = f"{rounds} rounds each, alternating, medians (spread), from the burst on."
    report.publish("burst", header, rows, note, every)
    plot.steps(PLOT, {subject: runs[subject][0]["series"] for subject in SUBJECTS})


def columns(runs: Sequence[Run]) -> Iterator[str]:
    """One line of the table; what did not happen in time says so."""
    for figure in ("first_pod", "six_joined", "all_done", "back_at_one"):
        missing = sum(run[figure] is None for run in runs)
        yield f"not in {missing} of {len(runs)}" if missing else report.summary(runs, figure)
    yield ", ".join(str(run["twice"]) for run in runs)


def brief(run: Run) -> str:
    """Its figures without its series."""
    return ", ".join(f"{name} {figure}" for name, figure in run.items() if name != "series")


def measured(cluster: Cluster, subject: str) -> Run:
    """One burst, with an operator and a namespace of its own."""
    namespace = f"burst-{secrets.token_hex(3)}"
    environment = {**plain_environment(), **cluster.environment()}
    kubectl = ["kubectl", "--namespace", namespace]
    subprocess.run(["kubectl", "create", "namespace", namespace], env=environment, check=True, stdout=sys.stderr)
    try:
        with serving.process(operator(cluster, subject, namespace), environment):
            manifests = yaml.safe_dump_all(resources(default_image()))
            subprocess.run(
                [*kubectl, "apply", "-f", "-"],
                env=environment,
                input=manifests,
                text=True,
                check=True,
                stdout=sys.stderr,
            )
            argv = cluster.inside([sys.executable, "-m", "benchmarks.burst_client", namespace, SERVICES[subject]])
            done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False)
            if done.returncode:
                raise RuntimeError(f"{subject} failed:\n{done.stderr[-3000:]}")
            found: Run = json.loads(done.stdout.splitlines()[-1])
            subprocess.run([*kubectl, "delete", "daskcluster", "burst"], env=environment, check=True, stdout=sys.stderr)
            time.sleep(10)
            return found
    finally:
        subprocess.run(["kubectl", "delete", "namespace", namespace, "--wait=false"], env=environment, check=False)


def operator(cluster: Cluster, subject: str, namespace: str) -> list[str]:
    """How the operator under measurement is started, in the cluster's network."""
    ours = [*serving.OURS, "--namespace", namespace]
    return cluster.inside(ours if subject == "dask-k8s" else peer.operator(namespace))


def resources(image: str) -> list[dict[str, Any]]:
    """What a user of either applies."""
    cluster = make_cluster_spec("burst", image=image, n_workers=1)
    api = {"apiVersion": "kubernetes.dask.org/v1"}
    spec = {"cluster": "burst", "minimum": 1, "maximum": 6}
    return [cluster, {**api, "kind": "DaskAutoscaler", "metadata": {"name": "burst"}, "spec": spec}]
