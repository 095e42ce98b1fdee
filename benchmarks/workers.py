"""Real workers leave and come: six become two without work, four that hold 4 GB become two, and two become six.

The clock starts when the count is written, and stops when the scheduler knows those alone that stay, and when the
Pods of the others are gone from the API; or when all have joined. Raw is one call of ``retire_workers`` and a DELETE of
each Pod, or a POST of each. All take turns, each on a cluster of its own from the same manifests; who looks on stands
in the cluster's network.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import yaml

from benchmarks import peer, report, serving, start_raw
from benchmarks.serving import Environment, kubectl
from benchmarks.start import installed, plain_environment
from benchmarks.workers_client import CLUSTER, WORKS, Work
from dask_k8s import make_cluster_spec
from dask_k8s.cluster.spec import default_image
from devcluster import Cluster, up

ROUNDS = 5
TIMEOUT = 600
FIGURES = ("scheduler", "asked", "ended", "api")
HEADER = (
    "",
    "gone from the scheduler",
    "Pods deleted",
    "containers ended",
    "gone from the API",
    "killed",
    "values lost",
)

Run = Mapping[str, float]


@dataclass(frozen=True)
class Place:
    """Where one measurement happens."""

    cluster: Cluster
    environment: Environment
    namespace: str
    work: Work


def _spec(place: Place) -> list[dict[str, Any]]:
    return [make_cluster_spec(CLUSTER, image=default_image(), n_workers=place.work.workers)]


def _objects(place: Place) -> list[dict[str, Any]]:
    return start_raw.objects(CLUSTER, place.namespace, default_image(), place.work.workers)


def _outside(place: Place) -> AbstractContextManager[object]:
    return serving.process([*serving.OURS, "--namespace", place.namespace], place.environment)


def _embedded(place: Place) -> AbstractContextManager[object]:
    words = [place.namespace, default_image(), str(place.work.workers)]
    return serving.process([sys.executable, "-m", "benchmarks.workers_embedded", *words], place.environment)


def _peer_inside(place: Place) -> AbstractContextManager[object]:
    return serving.process(place.cluster.inside(peer.operator(place.namespace)), place.environment)


def _peer_outside(place: Place) -> AbstractContextManager[object]:
    return serving.process(peer.operator(place.namespace), place.environment)


@dataclass(frozen=True)
class Subject:
    """Who makes a cluster smaller or larger, from where.

    Parameters
    ----------
    serve
        The operator.
    manifests
        What the cluster is made of, where the operator does not make it by itself.
    most
        Rounds at most: what is slow by far needs no median.
    """

    name: str
    serve: Callable[[Place], AbstractContextManager[object]]
    manifests: Callable[[Place], list[dict[str, Any]]] = _spec
    means: str = "count"
    service: str = CLUSTER
    most: int = 100


PEER = f"{CLUSTER}-scheduler"
OURS = (
    Subject("dask-k8s, in its Pod", lambda place: serving.deployed(place.environment)),
    Subject("dask-k8s, outside", _outside),
    Subject("dask-k8s, embedded, outside", _embedded, manifests=lambda _: []),
)
PEERS = (
    Subject("dask-kubernetes, inside", _peer_inside, service=PEER),
    Subject("dask-kubernetes, outside", _peer_outside, service=PEER, most=1),
)
RAW = Subject("raw", lambda _: nullcontext(), manifests=_objects, means="hand")
FEWER: Mapping[str, Sequence[Subject]] = {"idle": (*OURS, *PEERS, RAW), "data": (*OURS, RAW)}


def shrink(rounds: int | None) -> None:
    """Fewer workers."""
    rounds = rounds or ROUNDS
    cluster = up("node")
    with installed(cluster, serves=False):
        for work, subjects in FEWER.items():
            runs = alternating(cluster, work, subjects, rounds)
            header = (*HEADER, "of raw, scheduler", "of raw, API")
            rows = [row(name, runs[name], runs[RAW.name]) for name in runs]
            note = f"{rounds} rounds each, alternating, medians (spread)."
            report.publish(f"shrink-{work}", header, rows, note, runs)


def grow(rounds: int | None) -> None:
    """More workers."""
    rounds = rounds or ROUNDS
    cluster = up("node")
    with installed(cluster, serves=False):
        runs = alternating(cluster, "more", (*OURS, *PEERS, RAW), rounds)
    rows = [
        (
            name,
            *(report.summary(found, figure) for figure in ("made", "joined")),
            f"{report.ratio(found, runs[RAW.name], 'joined'):.2f}",
        )
        for name, found in runs.items()
    ]
    header = ("", "four new Pods exist", "six workers have joined", "of raw")
    report.publish("grow", header, rows, f"{rounds} rounds each, alternating, medians (spread).", runs)


def row(name: str, runs: Sequence[Run], raw: Sequence[Run]) -> tuple[str, ...]:
    """One line of the table."""
    return (
        name,
        *(report.summary(runs, figure) for figure in FIGURES),
        *(", ".join(f"{run[count]:.0f}" for run in runs) for count in ("killed", "lost")),
        *(f"{report.ratio(runs, raw, figure):.2f}" for figure in ("scheduler", "api")),
    )


def alternating(cluster: Cluster, work: str, subjects: Sequence[Subject], rounds: int) -> dict[str, list[Run]]:
    """All subjects in turns."""
    runs: dict[str, list[Run]] = {subject.name: [] for subject in subjects}
    for turn in range(rounds):
        for subject in (each for each in subjects if turn < each.most):
            runs[subject.name].append(measured(cluster, work, subject))
            told = f"{work}, {subject.name}, round {turn + 1} of {rounds}: {runs[subject.name][-1]}"
            print(told, file=sys.stderr, flush=True)
    return runs


def measured(cluster: Cluster, work: str, subject: Subject) -> Run:
    """One change, with an operator and a namespace of its own."""
    environment = {**plain_environment(), **cluster.environment()}
    with serving.namespace("workers", environment) as namespace:
        place = Place(cluster, environment, namespace, WORKS[work])
        with subject.serve(place):
            try:
                if manifests := subject.manifests(place):
                    kubectl(environment, "-n", namespace, "apply", "-f", "-", manifests=yaml.safe_dump_all(manifests))
                return looked_on(place, subject, work)
            finally:  # the peer's finalizers need its operator
                kubectl(environment, "-n", namespace, "delete", "daskclusters", "--all", "--timeout=120s")


def looked_on(place: Place, subject: Subject, work: str) -> Run:
    """What the client saw."""
    words = [place.namespace, subject.service, work, subject.means]
    argv = place.cluster.inside([sys.executable, "-m", "benchmarks.workers_client", *words])
    done = subprocess.run(argv, env=place.environment, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    if done.returncode:
        raise RuntimeError(f"{subject.name} failed:\n{done.stderr[-3000:]}")
    found: Run = json.loads(done.stdout.splitlines()[-1])
    return found
