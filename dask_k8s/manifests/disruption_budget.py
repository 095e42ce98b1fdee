"""The PodDisruptionBudget that keeps a scheduler where it is, for those who ask for it."""

from __future__ import annotations

from typing import Any

from dask_k8s import metadata, names
from dask_k8s.kinds.cluster import Cluster


def disruption_budget(cluster: Cluster) -> dict[str, Any]:
    """Nobody may evict the scheduler's Pod: with it goes what it knows of tasks and data.

    A number and not ``maxUnavailable``, which Kubernetes counts only for the controllers that it knows.
    """
    labels = metadata.scheduler_labels(cluster.head.ref.name)
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {
            "name": names.scheduler_pod(cluster.head.ref.name),
            "namespace": cluster.head.ref.namespace,
            "labels": labels,
            "ownerReferences": [cluster.head.owner()],
        },
        "spec": {"minAvailable": 1, "selector": {"matchLabels": labels}},
    }
