"""DaskWorkerGroup: workers of one kind that belong to one cluster."""

from __future__ import annotations

from dask_k8s import names
from dask_k8s.errors import InvalidResource
from dask_k8s.kinds.fields import Fields
from dask_k8s.kinds.pod_template import PodTemplate
from dask_k8s.kinds.resource import Head
from dask_k8s.kinds.value import Manifest, value

DEFAULT_REPLICAS = 3
DEFAULT_DRAIN_TIMEOUT = 60


@value
class WorkerTemplate:
    """``spec.worker`` of a cluster and of a group.

    Parameters
    ----------
    replicas
        How many worker Pods there should be.
    drain_timeout
        Seconds that a leaving worker has to hand over its data and end what it computes.
    """

    replicas: int
    drain_timeout: int
    template: PodTemplate

    @classmethod
    def read(cls, fields: Fields) -> WorkerTemplate:
        """From a ``worker`` object."""
        return cls(
            replicas=fields.count("replicas", DEFAULT_REPLICAS),
            drain_timeout=fields.count("drainTimeout", DEFAULT_DRAIN_TIMEOUT),
            template=PodTemplate.read(fields),
        )


@value
class WorkerGroup:
    """A DaskWorkerGroup.

    Parameters
    ----------
    cluster
        The name of the cluster in the same namespace that its workers join.
    status
        What was written last, as it came.
    """

    head: Head
    cluster: str
    worker: WorkerTemplate
    status: Manifest

    @classmethod
    def from_manifest(cls, manifest: Manifest) -> WorkerGroup:
        """Read from the API server's JSON.

        Raises
        ------
        InvalidResource
            Naming the field that is wrong.
        """
        head = Head.read(manifest, names.WORKER_GROUP)
        if problem := names.problem_of_worker_group_name(head.ref.name):
            raise InvalidResource("metadata.name", problem)
        fields = Fields(manifest)
        spec = fields.inner("spec")
        return cls(
            head=head,
            cluster=spec.text("cluster"),
            worker=WorkerTemplate.read(spec.inner("worker")),
            status=fields.mapping_or_empty("status"),
        )
