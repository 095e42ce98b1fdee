"""One measurement, in a process of its own: ``KubeCluster(n_workers=2)`` to its first result.

Prints one line of JSON: seconds until the cluster was there, the first result, and both workers.
"""

from __future__ import annotations

import json
import sys
import time

from dask_k8s import KubeCluster


def main(operator: str, namespace: str, image: str) -> None:
    """Measure once."""
    import distributed  # noqa: F401  # what every user of Dask has imported already is not part of the measurement

    began = time.perf_counter()
    with KubeCluster(n_workers=2, operator=operator, namespace=namespace, image=image, quiet=True) as cluster:
        there = time.perf_counter() - began
        with cluster.get_client() as client:
            assert client.submit(sum, [1, 2]).result() == 3
            first = time.perf_counter() - began
            client.wait_for_workers(2)
            both = time.perf_counter() - began
        closing = time.perf_counter()
        cluster.close()
        closed = time.perf_counter() - closing
    print(json.dumps({"cluster": there, "first": first, "both": both, "close": closed}))


if __name__ == "__main__":
    main(*sys.argv[1:])
