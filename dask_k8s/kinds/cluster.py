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
    """``spec.scheduler``: the Pod, and the Service in front of it as users wrote them."""

    template: PodTemplate
    service: Manifest

    @classmethod
    def read(cls, fields: Fields) -> SchedulerTemplate:
        """From a ``scheduler`` object."""
        return cls(template=PodTemplate.read(fields), service=fields.mapping("service"))


@value
class Cluster:
    """A DaskCluster.

    Parameters
    ----------
    worker_manifest
        ``spec.worker`` as it was written: the default group gets it.
    idle_timeout
        Seconds without work after which the cluster should go; 0 for never.
    managed_by
        Who serves it: None for the deployed operator, else ``dask.org/embedded-<id>``.
    """

    head: Head
    worker: WorkerTemplate
    worker_manifest: Manifest
    scheduler: SchedulerTemplate
    idle_timeout: int
    managed_by: str | None
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
        spec = fields.inner("spec")
        return cls(
            head=head,
            worker=WorkerTemplate.read(spec.inner("worker")),
            worker_manifest=spec.mapping("worker"),
            scheduler=SchedulerTemplate.read(spec.inner("scheduler")),
            idle_timeout=spec.count("idleTimeout", 0),
            managed_by=spec.text_or_none("managedBy"),
            status=fields.mapping_or_empty("status"),
        )
