"""From ``KubeCluster(n_workers=2)`` to its first result, beside the same objects POSTed raw.

Every measurement is a new process. Ours and raw take turns, so that both meet the same machine; before them one of
each warms it up and is not counted. Positions: the client outside of the cluster network (port-forward) and inside;
the operator deployed and embedded.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks import report
from dask_k8s.cluster.spec import default_image
from devcluster import Cluster, up

NAMESPACE = "default"
OPERATORS = ("deployed", "embedded")
POSITIONS = ("outside", "inside")
ROUNDS = 10
TIMEOUT = 120
SETTLE = 3.0
"""Seconds between two measurements: what the one before left is gone by then."""

Sample = dict[str, float]


def main(rounds: int | None) -> None:
    """Measure and print."""
    rounds = rounds or ROUNDS
    cluster = up("node")
    rows, runs = [], dict[str, list[Sample]]()
    for operator in OPERATORS:
        with installed(cluster, serves=operator == "deployed"):
            for position in POSITIONS:
                samples = list(alternating(cluster, operator, position, rounds))
                ours, raw = [one for one, _ in samples], [two for _, two in samples]
                rows.append(row(operator, position, ours, raw))
                runs |= {f"{operator}, {position}": ours, f"raw beside {operator}, {position}": raw}
                print(f"{operator}, {position}: {rows[-1][4]} of raw", file=sys.stderr, flush=True)
    header = (
        "operator",
        "client",
        "KubeCluster, first result",
        "raw, first result",
        "ratio",
        "both workers, ratio",
        "close()",
    )
    report.publish("start", header, rows, f"{rounds} rounds each, alternating, medians (spread).", runs)


def row(operator: str, position: str, ours: list[Sample], raw: list[Sample]) -> tuple[str, ...]:
    """One line of the table."""
    return (
        operator,
        position,
        report.summary(ours, "first"),
        report.summary(raw, "first"),
        f"{report.ratio(ours, raw, 'first'):.2f}",
        f"{report.ratio(ours, raw, 'both'):.2f}",
        report.summary(ours, "close"),
    )


def alternating(cluster: Cluster, operator: str, position: str, rounds: int) -> Iterator[tuple[Sample, Sample]]:
    """Ours and raw in turns; the first pair warms up."""
    image = default_image()
    for turn in range(rounds + 1):
        ours = measured(cluster, position, "benchmarks.start_ours", operator, NAMESPACE, image)
        raw = measured(cluster, position, "benchmarks.start_raw", NAMESPACE, image)
        if turn:
            yield ours, raw


def measured(cluster: Cluster, position: str, module: str, *arguments: str) -> Sample:
    """One measurement in a new process."""
    argv = [sys.executable, "-m", module, *arguments]
    command = cluster.inside(argv) if position == "inside" else argv
    environment = {**plain_environment(), **cluster.environment()}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    if done.returncode:
        raise RuntimeError(f"{module} failed:\n{done.stderr[-3000:]}")
    time.sleep(SETTLE)
    sample: Sample = json.loads(done.stdout.splitlines()[-1])
    return sample


@contextmanager
def installed(cluster: Cluster, *, serves: bool) -> Iterator[None]:
    """The deployed operator, or none but those that are measured: it is there, and serves only where it is wanted."""
    environment = {**plain_environment(), **cluster.environment()}

    def scale(replicas: int, *, check: bool = True) -> None:
        argv = ["kubectl", "-n", "dask-operator", "scale", "deployment/dask-operator", f"--replicas={replicas}"]
        subprocess.run(argv, env=environment, check=check, stdout=sys.stderr)

    scale(1, check=False)
    subprocess.run([sys.executable, "-m", "dask", "k8s", "install"], env=environment, check=True, stdout=sys.stderr)
    scale(1 if serves else 0)
    try:
        yield
    finally:
        scale(1)


def plain_environment() -> dict[str, str]:
    """The environment without settings of Dask: what is measured has its defaults."""
    return {name: text for name, text in os.environ.items() if not name.startswith("DASK_")}
