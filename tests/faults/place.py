"""The cluster that is shaken: one of its own, with played nodes, which nobody else uses and which goes afterwards."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from devcluster import Cluster, down, up
from tests.faults.soak import Options
from tests.played.playing import playing

INSTANCE = "faults"


def run(options: Options) -> dict[str, Any]:
    """A soak there, from without: its figures."""
    with shaken() as cluster, playing(cluster) as play:
        argv = [sys.executable, "-m", "tests.faults.soak", json.dumps(dataclasses.asdict(options))]
        environment = {**os.environ, **cluster.environment()}
        done = subprocess.run(cluster.inside(argv), env=environment, check=True, stdout=subprocess.PIPE)
        undrained = [line for line in play.lines() if line["what"] == "undrained"]
        return {**json.loads(done.stdout), "workers that went undrained": len(undrained)}


@contextmanager
def shaken() -> Iterator[Cluster]:
    """It has Dask's kinds, and no operator yet."""
    cluster = up("scale", INSTANCE)
    try:
        argv = [sys.executable, "-m", "dask", "k8s", "install", "--crds-only"]
        subprocess.run(argv, env={**os.environ, **cluster.environment()}, check=True, stdout=sys.stderr)
        yield cluster
    finally:
        down("scale", INSTANCE)
