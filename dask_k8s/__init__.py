"""Dask on Kubernetes: a cluster from a notebook in seconds, and an operator that keeps it true.

Everything public is here; the rest of the package may change.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dask_k8s.cluster.kubecluster import KubeCluster
    from dask_k8s.cluster.options import CreateMode
    from dask_k8s.cluster.spec import make_cluster_spec, make_scheduler_spec, make_worker_spec
    from dask_k8s.errors import (
        ConflictingArguments,
        DaskK8sError,
        InvalidResource,
        NoCredentials,
        NotFound,
        StartError,
        StartTimeout,
        WorkersMissing,
    )

__all__ = [
    "ConflictingArguments",
    "CreateMode",
    "DaskK8sError",
    "InvalidResource",
    "KubeCluster",
    "NoCredentials",
    "NotFound",
    "StartError",
    "StartTimeout",
    "WorkersMissing",
    "make_cluster_spec",
    "make_scheduler_spec",
    "make_worker_spec",
]

# Loaded when asked for: the operator must not pay for distributed, nor a notebook for kopf.
_HOMES = {
    "KubeCluster": "dask_k8s.cluster.kubecluster",
    "CreateMode": "dask_k8s.cluster.options",
    "make_cluster_spec": "dask_k8s.cluster.spec",
    "make_scheduler_spec": "dask_k8s.cluster.spec",
    "make_worker_spec": "dask_k8s.cluster.spec",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "dask_k8s.errors")), name)


def __dir__() -> list[str]:
    return sorted(__all__)
