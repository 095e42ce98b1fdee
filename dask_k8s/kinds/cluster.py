"""DaskCluster: a scheduler, the Service in front of it and a default group of workers."""

from __future__ import annotations

from dask_k8s import names
from dask_k8s.errors import InvalidResource
from dask_k8s.kinds.fields import Fields
from dask_k8s.kinds.pod_template import PodTemplate
from dask_k8s.kinds.resource import Head
from dask_k8s.kinds.value import Manifest, value
from dask_k8s.kinds.worker_group import WorkerTemplate


@value
class SchedulerTemplate:
    """``spec.scheduler``: the Pod, and the Service in front of it as users wrote them.

    Parameters
    ----------
    disruption_budget
        Whether a PodDisruptionBudget keeps it from being evicted.
    """

    template: PodTemplate
    service: Manifest
    disruption_budget: bool

    @classmethod
    def read(cls, fields: Fields) -> SchedulerTemplate:
        """From a ``scheduler`` object."""
        return cls(
            template=PodTemplate.read(fields),
            service=fields.mapping("service"),
            disruption_budget=fields.flag("podDisruptionBudget"),
        )


@value
class ClusterSpec:
    """``spec`` of a DaskCluster, and ``spec.cluster.spec`` of a DaskJob.

    Parameters
    ----------
    worker_manifest
        ``worker`` as it was written: the default group gets it.
    idle_timeout
        Seconds without work after which the cluster goes; 0 for never.
    managed_by
        Who serves it: None for the deployed operator, else ``dask.org/embedded-<id>``.
    """

    worker: WorkerTemplate
    worker_manifest: Manifest
    scheduler: SchedulerTemplate
    idle_timeout: int
    managed_by: str | None

    @classmethod
    def read(cls, fields: Fields) -> ClusterSpec:
        """From a ``spec`` object.

        Raises
        ------
        InvalidResource
            Naming the field that is wrong.
        """
        return cls(
            worker=WorkerTemplate.read(fields.inner("worker")),
            worker_manifest=fields.mapping("worker"),
            scheduler=SchedulerTemplate.read(fields.inner("scheduler")),
            idle_timeout=fields.count("idleTimeout", 0),
            managed_by=fields.text_or_none("managedBy"),
        )


@value
class Cluster:
    """A DaskCluster."""

    head: Head
    spec: ClusterSpec
    status: Manifest

    @classmethod
    def from_manifest(cls, manifest: Manifest) -> Cluster:
        """Read from the API server's JSON.

        Raises
        ------
        InvalidResource
            Naming the field that is wrong.
        """
        head = Head.read(manifest, names.CLUSTER)
        if problem := names.problem_of_cluster_name(head.ref.name):
            raise InvalidResource("metadata.name", problem)
        fields = Fields(manifest)
        return cls(
            head=head,
            spec=ClusterSpec.read(fields.inner("spec")),
            status=fields.mapping_or_empty("status"),
        )
