"""DaskJob: a Pod that runs a program to its end, and the cluster that it works with."""

from __future__ import annotations

from dask_k8s import names
from dask_k8s.errors import InvalidResource
from dask_k8s.kinds.cluster import ClusterSpec
from dask_k8s.kinds.fields import Fields
from dask_k8s.kinds.pod_template import PodTemplate
from dask_k8s.kinds.resource import Head
from dask_k8s.kinds.value import Manifest, value
from dask_k8s.metadata import Metadata

RESTART_POLICIES = ("OnFailure", "Never")
"""A job has an end: a runner that is always started again would have none."""


@value
class Job:
    """A DaskJob.

    Parameters
    ----------
    runner
        ``spec.job``.
    cluster_metadata
        Labels and annotations for the DaskCluster alone.
    cluster
        ``spec.cluster.spec``, read.
    cluster_manifest
        The same as it was written: the DaskCluster gets it.
    managed_by
        Who serves the job: None for the deployed operator.
    """

    head: Head
    runner: PodTemplate
    cluster_metadata: Metadata
    cluster: ClusterSpec
    cluster_manifest: Manifest
    managed_by: str | None
    status: Manifest

    @classmethod
    def from_manifest(cls, manifest: Manifest) -> Job:
        """Read from the API server's JSON.

        Raises
        ------
        InvalidResource
            Naming the field that is wrong.
        """
        head = Head.read(manifest, names.JOB)
        if problem := names.problem_of_cluster_name(head.ref.name):
            raise InvalidResource("metadata.name", problem)
        fields = Fields(manifest)
        spec = fields.inner("spec")
        cluster = spec.inner("cluster")
        return cls(
            head=head,
            runner=_runner(spec.inner("job")),
            cluster_metadata=Metadata.read(cluster.inner_or_empty("metadata")),
            cluster=ClusterSpec.read(cluster.inner("spec")),
            cluster_manifest=cluster.mapping("spec"),
            managed_by=spec.text_or_none("managedBy"),
            status=fields.mapping_or_empty("status"),
        )


def _runner(fields: Fields) -> PodTemplate:
    pod = fields.inner("spec")
    policy = pod.text_or_none("restartPolicy")
    if policy not in (None, *RESTART_POLICIES):
        allowed = " or ".join(RESTART_POLICIES)
        raise InvalidResource(
            pod.path("restartPolicy"),
            f"must be {allowed}, not {policy!r}: a program that is always started again has no end",
        )
    return PodTemplate.read(fields)
