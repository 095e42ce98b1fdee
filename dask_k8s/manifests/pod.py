"""A Pod around a spec: what the Pods of all components have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dask_k8s.kinds.value import Manifest
from dask_k8s.metadata import Metadata


def pod(
    *, name: str, namespace: str, metadata: Metadata, owner: Mapping[str, object], spec: Manifest
) -> dict[str, Any]:
    """The manifest of a Pod that belongs to its owner."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": dict(metadata.labels),
            "annotations": dict(metadata.annotations),
            "ownerReferences": [dict(owner)],
        },
        "spec": dict(spec),
    }
