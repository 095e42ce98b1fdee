"""The process that plays, as a test or a benchmark starts it, and clusters whose Pods it speaks for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dask_k8s import make_cluster_spec
from devcluster import Cluster

Json = dict[str, Any]
Line = Mapping[str, Any]


class Play:
    """What the process has told so far."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self._process = process
        self._output = output

    def lines(self, cluster: str | None = None) -> list[Line]:
        """Everything, or of one cluster, ``namespace/name``."""
        assert self._process.poll() is None, f"the play has ended: {self.log()}"
        whole = self._output.read_text().rpartition("\n")[0]
        told = map(json.loads, whole.splitlines())
        return [line for line in told if cluster is None or line["cluster"] == cluster]

    def log(self) -> str:
        """The last lines of its log."""
        return self._output.with_suffix(".log").read_text()[-3000:]

    def workers(self, what: str, cluster: str) -> list[str]:
        """The workers of a cluster of which something was told, in its order."""
        return [line["worker"] for line in self.lines(cluster) if line["what"] == what]


@contextmanager
def playing(cluster: Cluster) -> Iterator[Play]:
    """The process, in the network of a cluster at scale, until the block ends."""
    argv = cluster.inside([sys.executable, "-m", "tests.played"])
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "told")
        with output.open("wb") as told, output.with_suffix(".log").open("wb") as log:
            process = subprocess.Popen(argv, env={**os.environ, **cluster.environment()}, stdout=told, stderr=log)
        try:
            yield Play(process, output)
        finally:
            process.kill()
            process.wait()


def manifest(name: str, workers: int, **spec: Any) -> Json:
    """A DaskCluster on nodes that KWOK plays; keywords lie over its spec."""
    cluster = make_cluster_spec(name, image="played", n_workers=workers)
    for part in ("worker", "scheduler"):
        cluster["spec"][part]["spec"] |= {"nodeSelector": {"type": "kwok"}, "tolerations": [{"operator": "Exists"}]}
    return {**cluster, "spec": {**cluster["spec"], **spec}}
