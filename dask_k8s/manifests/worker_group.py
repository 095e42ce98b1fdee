"""A worker group of a cluster: the default one, and those that are made beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dask_k8s import metadata, names
from dask_k8s.kinds.cluster import Cluster
from dask_k8s.kinds.fields import Fields
from dask_k8s.kinds.value import Manifest


def default_group(cluster: Cluster) -> dict[str, Any]:
    """A cluster's default group, as it is POSTed.

    The annotation remembers the count that flowed from the cluster, so that a later ``kubectl scale`` of the group
    holds.
    """
    replicas = cluster.spec.worker.replicas
    worker = {**cluster.spec.worker_manifest, "replicas": replicas}
    return worker_group(cluster, names.DEFAULT_GROUP, worker, {names.REPLICAS_FROM_CLUSTER: str(replicas)})


def worker_group(
    cluster: Cluster, name: str, worker: Manifest, annotations: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """A group of a cluster, as it is POSTed; it gets the cluster's labels and annotations, and goes with it.

    Parameters
    ----------
    name
        What the cluster's user calls it.
    worker
        Its ``spec.worker``; the ``metadata`` in it becomes the group's own, which its Pods get.
    """
    ref = cluster.head.ref
    base = metadata.Metadata(labels=metadata.worker_group_labels(ref.name), annotations=annotations or {})
    own = metadata.Metadata.read(Fields(worker).inner_or_empty("metadata"))
    merged = metadata.merge(cluster.head.metadata, own, base)
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.WORKER_GROUP,
        "metadata": {
            "name": names.worker_group(ref.name, name),
            "namespace": ref.namespace,
            "labels": dict(merged.labels),
            "annotations": dict(merged.annotations),
            "ownerReferences": [cluster.head.owner()],
        },
        "spec": {"cluster": ref.name, "worker": {key: each for key, each in worker.items() if key != "metadata"}},
    }
