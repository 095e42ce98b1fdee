"""Whose clusters are shaken: the operator of each, how it is started, killed and ended, and what a user applies."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Protocol

from benchmarks import peer
from dask_k8s import make_cluster_spec
from dask_k8s.cluster.spec import default_image
from devcluster.nodes import FIRST
from tests.node.conftest import Kubectl

CLUSTER, GROUP = "losses", "losses-default"
MEMORY = 512 * 2**20
"""What a worker takes for its own limit; the container has half as much again, for its nanny."""


STALLS = "300s"
"""How long a process may stand still before its connections are cut. Dask's 30 s are not enough on a machine where
twenty processes want two cores: a worker that is cut off is lost with all it has, and no scaling had a part in it."""


class Operator(Protocol):
    """The operator of one subject."""

    service: str

    def kill(self, chance: random.Random) -> str:
        """End it as a crash does, and say how; it comes again by itself."""

    def stop(self) -> None:
        """Leave nothing behind."""


class Ours:
    """The operator as a Pod, as ``dask k8s install`` makes it; Kubernetes starts it again."""

    service = CLUSTER

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = Kubectl(kubectl.environment, "dask-operator")

    def kill(self, chance: random.Random) -> str:
        """SIGKILL for its process, or its Pod deleted without a grace period."""
        pods = self._kubectl.pods("app.kubernetes.io/name=dask-operator")
        if not pods:
            return "none is there"
        pod = chance.choice(pods)["metadata"]
        if chance.random() < 0.5:
            self._kubectl("delete", "pod", pod["name"], "--grace-period=0", "--force", "--wait=false", check=False)
            return "deleted"
        return "SIGKILL" if _kill_processes(pod["uid"]) else "no process yet"

    def stop(self) -> None:
        """It stays where it was found."""


def _kill_processes(uid: str) -> int:
    """End what runs in a Pod's container; the processes of a node are seen from outside of it."""
    killed = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            ours = uid in (folder / "cgroup").read_text() and b"dask_k8s.operator" in (folder / "cmdline").read_bytes()
            if ours:
                os.kill(int(folder.name), signal.SIGKILL)
                killed += 1
        except (FileNotFoundError, ProcessLookupError):
            continue
    return killed


class Peers:
    """dask-kubernetes' operator as a process in the cluster's network."""

    service = f"{CLUSTER}-scheduler"

    def __init__(self, kubectl: Kubectl, folder: Path) -> None:
        self._kubectl = kubectl
        self._log = (folder / "operator-of-the-peer.log").open("w")
        self._process = self._start()
        time.sleep(8)  # it says nowhere that it serves
        if self._process.poll() is not None:
            raise RuntimeError(f"dask-kubernetes' operator has ended with {self._process.returncode}")

    def _start(self) -> subprocess.Popen[bytes]:
        argv = peer.operator(self._kubectl.namespace)
        return subprocess.Popen(argv, env=self._kubectl.environment, stdout=self._log, stderr=self._log)

    def kill(self, chance: random.Random) -> str:
        """SIGKILL, and a new one at once."""
        self._process.kill()
        self._process.wait()
        self._process = self._start()
        return "SIGKILL"

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()
        self._log.close()


def operator_of(subject: str, kubectl: Kubectl, folder: Path) -> Operator:
    """The subject's operator, serving."""
    return Ours(kubectl) if subject == "dask-k8s" else Peers(kubectl, folder)


def manifest(n_workers: int, in_memory: int, *, pinned: bool) -> dict[str, Any]:
    """A cluster whose workers keep so many bytes in memory and spill the rest.

    Parameters
    ----------
    pinned
        Keep the scheduler on the first node: with it all would be gone.
    """
    container = f"{MEMORY * 3 // 2 // 2**20}Mi"
    cluster = make_cluster_spec(
        CLUSTER,
        image=default_image(),
        n_workers=n_workers,
        resources={"requests": {"memory": "128Mi"}, "limits": {"memory": container}},
        env={
            "DASK_DISTRIBUTED__WORKER__MEMORY__TARGET": f"{in_memory / MEMORY:.4f}",
            "DASK_DISTRIBUTED__WORKER__MEMORY__TERMINATE": "False",  # a nanny that kills its worker loses what it has
            "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": STALLS,
        },
        worker_command=["dask", "worker", "--nthreads", "2", "--memory-limit", str(MEMORY)],
    )
    if pinned:
        cluster["spec"]["scheduler"]["spec"]["nodeSelector"] = {"kubernetes.io/hostname": FIRST.name}
    return cluster
