"""What a job makes: the Pod that runs its program, and the DaskCluster that the program works with."""

from __future__ import annotations

from typing import Any

from dask_k8s import metadata, names
from dask_k8s.kinds.job import Job
from dask_k8s.kinds.value import Manifest
from dask_k8s.manifests import container
from dask_k8s.manifests.pod import pod

CONNECT_TIMEOUT = "3600s"
"""How long a bare ``Client()`` waits for the scheduler, whose image may still be pulled.

Long, since distributed's pauses between two attempts grow as long as it has waited: with a tenth of it, a scheduler
that comes after five minutes might not be asked again in time.
"""


def runner_pod(job: Job) -> dict[str, Any]:
    """The Pod of a job's runner, as it is POSTed.

    Every container gets what a bare ``Client()`` needs to find the cluster; a user's variables of the same names win.
    """
    ref = job.head.ref
    base = metadata.Metadata(labels=metadata.job_runner_labels(ref.name), annotations={})
    environment = {
        "DASK_SCHEDULER_ADDRESS": names.scheduler_address(names.job_cluster(ref.name), ref.namespace),
        "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": CONNECT_TIMEOUT,
    }
    spec = job.runner.spec
    return pod(
        name=names.job_runner(ref.name),
        namespace=ref.namespace,
        metadata=metadata.merge(job.head.metadata, job.runner.metadata, base, defaults=metadata.MUST_STAY),
        owner=job.head.owner(),
        spec={
            "restartPolicy": "OnFailure",
            **spec,
            "containers": [container.with_environment(each, environment) for each in spec["containers"]],
        },
    )


def job_cluster(job: Job) -> dict[str, Any]:
    """A job's DaskCluster, as it is POSTed: ``spec.cluster`` as the user wrote it."""
    ref = job.head.ref
    merged = metadata.merge(job.head.metadata, job.cluster_metadata, metadata.NOTHING)
    managed: Manifest = {} if job.managed_by is None else {"managedBy": job.managed_by}
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.CLUSTER,
        "metadata": {
            "name": names.job_cluster(ref.name),
            "namespace": ref.namespace,
            "labels": dict(merged.labels),
            "annotations": dict(merged.annotations),
            "ownerReferences": [job.head.owner()],
        },
        "spec": {**job.cluster_manifest, **managed},
    }
