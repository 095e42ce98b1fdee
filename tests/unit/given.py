"""Resources and observations as tests need them: complete and good, but for what a test says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from dask_k8s.cluster.spec import make_cluster_spec, make_worker_spec
from dask_k8s.kinds.autoscaler import Autoscaler
from dask_k8s.kinds.cluster import Cluster
from dask_k8s.kinds.job import Job
from dask_k8s.kinds.value import Ref
from dask_k8s.kinds.worker_group import WorkerGroup
from dask_k8s.operator.observed import (
    Drain,
    Drained,
    Home,
    Known,
    ObservedGroup,
    Phase,
    Refusal,
    Silent,
    Unasked,
    Worker,
)

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
CREATED = "2026-01-31T11:00:00Z"

Order = Unasked | Silent | Known[tuple[str, ...]]


def later(seconds: float) -> datetime:
    """A moment so many seconds after the present of all tests."""
    return NOW + timedelta(seconds=seconds)


def example(name: str) -> dict[str, Any]:
    """One of the seed's manifests, as a user applies it."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "examples" / name).read_text())
    return content


def read_back(manifest: Mapping[str, Any], uid: str = "uid-1", generation: int = 1) -> dict[str, Any]:
    """A manifest with what the API server adds to it."""
    added = {"namespace": "default", "uid": uid, "resourceVersion": "7", "generation": generation}
    return {**manifest, "metadata": {"creationTimestamp": CREATED, **added, **manifest["metadata"]}}


def cluster_manifest(*, metadata: Mapping[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """A DaskCluster ``simple`` as it is read; keywords lie over its spec."""
    made = make_cluster_spec("simple", image="dask")
    return read_back({**made, "metadata": {"name": "simple", **(metadata or {})}, "spec": {**made["spec"], **spec}})


def cluster(*, status: Mapping[str, Any] | None = None, **spec: Any) -> Cluster:
    """The same as a value."""
    return Cluster.from_manifest({**cluster_manifest(**spec), "status": status or {}})


def group_manifest(*, metadata: Mapping[str, Any] | None = None, owned: bool = True, **worker: Any) -> dict[str, Any]:
    """A DaskWorkerGroup ``simple-default`` as it is read; keywords lie over its ``spec.worker``."""
    owner = {"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster", "name": "simple", "uid": "uid-1"}
    owners = {"ownerReferences": [{**owner, "controller": True}]} if owned else {}
    return read_back(
        {
            "apiVersion": "kubernetes.dask.org/v1",
            "kind": "DaskWorkerGroup",
            "metadata": {"name": "simple-default", **owners, **(metadata or {})},
            "spec": {"cluster": "simple", "worker": {**make_worker_spec(image="dask"), **worker}},
        },
        uid="uid-2",
    )


def group(
    *,
    metadata: Mapping[str, Any] | None = None,
    owned: bool = True,
    status: Mapping[str, Any] | None = None,
    **worker: Any,
) -> WorkerGroup:
    """The same as a value."""
    manifest = group_manifest(metadata=metadata, owned=owned, **worker)
    return WorkerGroup.from_manifest({**manifest, "status": status or {}})


def job_manifest(*, metadata: Mapping[str, Any] | None = None, **pod: Any) -> dict[str, Any]:
    """A DaskJob ``simple`` as it is read; keywords lie over its ``spec.job.spec``."""
    runner = {"containers": [{"name": "job", "image": "dask", "args": ["python", "work.py"]}], **pod}
    return read_back(
        {
            "apiVersion": "kubernetes.dask.org/v1",
            "kind": "DaskJob",
            "metadata": {"name": "simple", **(metadata or {})},
            "spec": {"job": {"spec": runner}, "cluster": {"spec": make_cluster_spec("simple", image="dask")["spec"]}},
        },
        uid="uid-3",
    )


def job(*, metadata: Mapping[str, Any] | None = None, status: Mapping[str, Any] | None = None, **pod: Any) -> Job:
    """The same as a value."""
    return Job.from_manifest({**job_manifest(metadata=metadata, **pod), "status": status or {}})


def autoscaler_manifest(
    *, metadata: Mapping[str, Any] | None = None, owned: bool = True, **spec: Any
) -> dict[str, Any]:
    """A DaskAutoscaler ``simple`` as it is read; keywords lie over its spec."""
    owner = {"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster", "name": "simple", "uid": "uid-1"}
    owners = {"ownerReferences": [{**owner, "controller": True}]} if owned else {}
    return read_back(
        {
            "apiVersion": "kubernetes.dask.org/v1",
            "kind": "DaskAutoscaler",
            "metadata": {"name": "simple", **owners, **(metadata or {})},
            "spec": {"cluster": "simple", "minimum": 1, "maximum": 10, **spec},
        },
        uid="uid-4",
    )


def autoscaler(
    *,
    metadata: Mapping[str, Any] | None = None,
    owned: bool = True,
    status: Mapping[str, Any] | None = None,
    **spec: Any,
) -> Autoscaler:
    """The same as a value."""
    manifest = autoscaler_manifest(metadata=metadata, owned=owned, **spec)
    return Autoscaler.from_manifest({**manifest, "status": status or {}})


CLUSTER = Ref(kind="DaskCluster", namespace="default", name="simple", uid="uid-1")
HOME = Home(ref=CLUSTER, deleting=False, scheduled=True, ready=True)


def pod(name: str) -> Ref:
    """A reference to a Pod that is there."""
    return Ref(kind="Pod", namespace="default", name=name, uid=f"uid-of-{name}")


LONG_AGO = later(-600)


def worker(
    name: str, phase: Phase = Phase.READY, *, created: datetime = LONG_AGO, drain: Drain | None = None, **fields: Any
) -> Worker:
    """A worker that was made ten minutes ago."""
    ended = None if drain is Drain.UNDER_WAY else NOW
    drained = fields.pop("drained", None) or (
        None if drain is None else Drained(state=drain, why="It has no room.", ended=ended)
    )
    return Worker(ref=pod(name), phase=phase, template="v1", created=created, drained=drained, **fields)


def observed(
    *workers: Worker,
    home: Home | None = HOME,
    order: Order | None = None,
    orphans: Sequence[Ref] = (),
    refusals: Sequence[Refusal] = (),
    stranded: Sequence[str] = (),
) -> ObservedGroup:
    """What there is of a group."""
    return ObservedGroup(
        home=home,
        workers=workers,
        orphans=tuple(orphans),
        order=order or Unasked(),
        stranded=tuple(stranded),
        refusals=tuple(refusals),
        draw="a draw",
    )
