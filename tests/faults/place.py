"""The clusters that are shaken: nobody else uses them, and they go afterwards."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dask_k8s.kube import credentials
from devcluster import Cluster, down, up
from tests.faults.away import Options as Away
from tests.faults.soak import Options
from tests.faults.takeovers import takeovers as takeovers_at
from tests.played.playing import Play, playing

Json = dict[str, Any]

INSTANCE = "faults"


def soak(options: Options) -> Json:
    """A soak there, from without: its figures."""
    with shaken() as cluster, playing(cluster) as play:
        figures = _inside(cluster, "tests.faults.soak", options)
        deleted = set(figures.pop("deleted by the operator"))
        cut_off = deleted.intersection(_undrained(play))
        complaints = [f"{pod} was deleted before its worker was drained" for pod in sorted(cut_off)]
        return {**figures, "complaints": [*figures["complaints"], *complaints], "Pods deleted": len(deleted)}


def away(options: Away) -> Json:
    """An API server that is away, there: its figures."""
    with shaken() as cluster, playing(cluster):
        return _inside(cluster, "tests.faults.away", options)


def _inside(cluster: Cluster, module: str, options: Options | Away) -> Json:
    """What a module prints that stands in the cluster's network."""
    argv = [sys.executable, "-m", module, json.dumps(dataclasses.asdict(options))]
    environment = {**os.environ, **cluster.environment()}
    done = subprocess.run(cluster.inside(argv), env=environment, check=True, stdout=subprocess.PIPE)
    figures: Json = json.loads(done.stdout)
    return figures


def _undrained(play: Play) -> Iterator[str]:
    """The Pods that went while their worker was in service, whoever deleted them, and had not been drained before.

    A played worker that was drained joins again, empty, when its Pod is not deleted at once; its Pod counts no restart.
    """
    drained = set[str]()
    for line in play.lines():
        if line["what"] == "retired":
            drained.add(line["worker"])
        elif line["what"] == "undrained" and line["worker"] not in drained:
            namespace, _, _ = line["cluster"].partition("/")
            yield f"{namespace}/{line['worker']}"


def takeovers(folder: Path, count: int, seed: int) -> Json:
    """Take-overs at an API server alone: their figures."""
    cluster = up("api", INSTANCE)
    try:
        _install(cluster)

        async def play() -> Json:
            own = await credentials.from_kubeconfig(str(cluster.kubeconfig))
            return await takeovers_at(own, folder, count, seed)

        return asyncio.run(play())
    finally:
        down("api", INSTANCE)


@contextmanager
def shaken() -> Iterator[Cluster]:
    """It has Dask's kinds, and no operator yet."""
    cluster = up("scale", INSTANCE)
    try:
        _install(cluster)
        yield cluster
    finally:
        down("scale", INSTANCE)


def _install(cluster: Cluster) -> None:
    argv = [sys.executable, "-m", "dask", "k8s", "install", "--crds-only"]
    subprocess.run(argv, env={**os.environ, **cluster.environment()}, check=True, stdout=sys.stderr)
