"""A notebook's process, outside, whose KubeCluster has its operator in itself; it lives until it is ended.

Run as ``python -m benchmarks.workers_embedded NAMESPACE IMAGE WORKERS``.
"""

from __future__ import annotations

import signal
import sys

from benchmarks.workers_client import CLUSTER
from dask_k8s import KubeCluster


def main(namespace: str, image: str, workers: str) -> None:
    """Make the cluster and serve it."""
    with KubeCluster(
        name=CLUSTER, namespace=namespace, image=image, n_workers=int(workers), operator="embedded", quiet=True
    ):
        signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    main(*sys.argv[1:])
