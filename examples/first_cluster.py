"""A Dask cluster on Kubernetes from Python: made, used, scaled and taken away.

    python examples/first_cluster.py

It needs a kubeconfig and Dask's resources in the cluster (``dask k8s install --crds-only``). No operator has to be
there: one runs in this process as long as the cluster does.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import dask.array as da
import numpy as np

from dask_k8s import KubeCluster


@contextmanager
def step(title: str, why: str) -> Iterator[None]:
    """Say what happens and why it takes its time, and afterwards how long it took."""
    print(f"\n▸ {title}\n  {why}", flush=True)
    began = time.perf_counter()
    yield
    print(f"  ✓ {time.perf_counter() - began:.1f} s", flush=True)


def picture(field: list[list[float]]) -> str:
    """A field of numbers as shades."""
    shades = " ·:-=+*#%@"
    low, high = min(map(min, field)), max(map(max, field))
    scale = 9.99 / (high - low or 1)
    lines = ("".join(shades[int((number - low) * scale)] * 2 for number in row) for row in field)
    return indented("\n".join(lines))


def waves(size: int = 6000, chunk: int = 1200) -> da.Array:
    """Circular waves from two stones in water, made where they are computed: 36 million points in 25 pieces."""
    axis = da.linspace(0, 12, size, chunks=chunk)
    x, y = axis[None, :], axis[:, None]
    first = da.sin(4 * da.sqrt((x - 3) ** 2 + (y - 5) ** 2))
    second = da.sin(4 * da.sqrt((x - 9) ** 2 + (y - 7) ** 2))
    return first + second


def main(operator: str = "embedded") -> None:
    """Every step of a cluster's life."""
    with step("KubeCluster()", "A scheduler and workers start as Pods: most of it is Python starting in containers."):
        cluster = KubeCluster(n_workers=2, operator=operator)
    print(f"  {cluster}\n  dashboard: {cluster.dashboard_link}")
    client = cluster.get_client()
    with step("A computation", "The first one also waits for the first worker to join."):
        coarse = da.coarsen(np.mean, waves(), {0: 300, 1: 150})
        print(picture(coarse.compute().tolist()))
    with step("cluster.scale(4)", "Two more workers; those that are there keep what they have."):
        cluster.scale(4)
        cluster.wait_for_workers(4, timeout="2 minutes")
    print(indented(pods(cluster.name, cluster.namespace)))
    with step("The same on four workers", "Data stays on the workers; only the picture comes back."):
        field = waves().persist()
        mean = float(field.mean().compute())
        print(f"  {field.nbytes / 1e6:.0f} MB over {len(client.ncores())} workers, mean {mean:+.6f}")
    with step("cluster.close()", "The Pods end by themselves; nobody has to wait for it."):
        client.close()
        cluster.close()
    with step("Nothing is left", "Kubernetes follows the owner references, and waits until every Pod has ended."):
        deadline = time.monotonic() + 120
        while "No resources" not in (left := pods(cluster.name, cluster.namespace)):
            if time.monotonic() > deadline:
                sys.exit(f"  ✗ After two minutes there are still:\n{indented(left)}")
            time.sleep(0.5)


def pods(cluster: str, namespace: str) -> str:
    """The cluster's Pods, as kubectl shows them."""
    argv = ["kubectl", "-n", namespace, "get", "pods", "-l", f"dask.org/cluster-name={cluster}"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip()


def indented(text: str) -> str:
    """Set off from what we say ourselves."""
    return "\n".join(f"    {line}" for line in text.splitlines())


if __name__ == "__main__":
    main(*sys.argv[1:])
