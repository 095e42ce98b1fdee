"""The default worker group that a cluster gets."""

from __future__ import annotations

from typing import Any

from dask_k8s import metadata, names
from dask_k8s.kinds.cluster import Cluster


def default_group(cluster: Cluster) -> dict[str, Any]:
    """A cluster's default group, as it is POSTed.

    The annotation remembers the count that flowed from the cluster, so that a later ``kubectl scale`` of the group
    holds.
    """
    ref = cluster.head.ref
    base = metadata.Metadata(
        labels=metadata.worker_group_labels(ref.name),
        annotations={names.REPLICAS_FROM_CLUSTER: str(cluster.spec.worker.replicas)},
    )
    merged = metadata.merge(cluster.head.metadata, cluster.spec.worker.template.metadata, base)
    worker = {key: content for key, content in cluster.spec.worker_manifest.items() if key != "metadata"}
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.WORKER_GROUP,
        "metadata": {
            "name": names.default_group(ref.name),
            "namespace": ref.namespace,
            "labels": dict(merged.labels),
            "annotations": dict(merged.annotations),
            "ownerReferences": [cluster.head.owner()],
        },
        "spec": {"cluster": ref.name, "worker": {**worker, "replicas": cluster.spec.worker.replicas}},
    }
