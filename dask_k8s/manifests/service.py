"""The Service in front of a scheduler."""

from __future__ import annotations

from typing import Any

from dask_k8s import metadata, names
from dask_k8s.kinds.cluster import Cluster


def scheduler_service(cluster: Cluster) -> dict[str, Any]:
    """The Service of a cluster, as the user wrote it.

    It leads to the scheduler's Pod before that is ready, unless the user decided otherwise: workers join as soon as the
    scheduler listens, and do not wait for a readiness probe that may begin late (the seed's begins after 5 s).
    """
    merged = metadata.merge(
        cluster.head.metadata,
        cluster.spec.scheduler.template.metadata,
        metadata.Metadata(labels=metadata.scheduler_labels(cluster.head.ref.name), annotations={}),
    )
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": names.scheduler_service(cluster.head.ref.name),
            "namespace": cluster.head.ref.namespace,
            "labels": dict(merged.labels),
            "annotations": dict(merged.annotations),
            "ownerReferences": [cluster.head.owner()],
        },
        "spec": {"publishNotReadyAddresses": True, **cluster.spec.scheduler.service},
    }
