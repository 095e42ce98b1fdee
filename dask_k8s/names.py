"""Every string that more than one place must spell alike: groups, kinds, labels, ports, the names of objects.

Requirements on names come from Kubernetes: a Service's name is a DNS label (63 characters, begins with a letter), a
label's value has at most 63 characters, a Pod's name at most 253. What is derived from a cluster's name has to fit as
well, which leaves 53 characters for the cluster itself.
"""

from __future__ import annotations

import hashlib
import re
from enum import StrEnum

GROUP = "kubernetes.dask.org"
VERSION = "v1"
API_VERSION = f"{GROUP}/{VERSION}"

CLUSTER = "DaskCluster"
WORKER_GROUP = "DaskWorkerGroup"
JOB = "DaskJob"
AUTOSCALER = "DaskAutoscaler"

DOMAIN = "dask.org"
CLUSTER_NAME = f"{DOMAIN}/cluster-name"
WORKER_GROUP_NAME = f"{DOMAIN}/workergroup-name"
COMPONENT = f"{DOMAIN}/component"

TEMPLATE_HASH = f"{DOMAIN}/template-hash"
RETIRING_SINCE = f"{DOMAIN}/retiring-since"
REPLICAS_FROM_CLUSTER = f"{DOMAIN}/replicas-from-cluster"
LEASE_FOR = f"{DOMAIN}/lease-for"
SERVED_NAMESPACES = f"{DOMAIN}/served-namespaces"

DEPLOYED = "deployed"
"""The deployed operator, as the holder of an embedded one's Lease that it has taken over for good."""

DEFAULT_GROUP = "default"
"""What a cluster's user calls the worker group that every cluster has."""

OPERATOR = "dask-operator"
REPORTING_CONTROLLER = f"{GROUP}/operator"
"""Who speaks in the Events of an operator, wherever it runs."""

OPERATOR_NAMESPACE = "dask-operator"
FIELD_MANAGER = "dask-k8s"

SCHEDULER_PORT = 8786
DASHBOARD_PORT = 8787
WORKER_DASHBOARD_PORT = 8788
COMM_PORT_NAME = "tcp-comm"
DASHBOARD_PORT_NAME = "http-dashboard"
DASHBOARD_PORT_NAMES = (DASHBOARD_PORT_NAME, "dashboard")

CLUSTER_NAME_LIMIT = 53
WORKER_GROUP_NAME_LIMIT = 63
_CLUSTER_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_OBJECT_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


class Component(StrEnum):
    """The values of the label ``dask.org/component``."""

    SCHEDULER = "scheduler"
    WORKER = "worker"
    WORKER_GROUP = "workergroup"
    JOB_RUNNER = "job-runner"
    AUTOSCALER = "autoscaler"


def scheduler_pod(cluster: str) -> str:
    """The scheduler's Pod of a cluster."""
    return f"{cluster}-scheduler"


def scheduler_service(cluster: str) -> str:
    """The Service in front of a cluster's scheduler; it bears the cluster's own name."""
    return cluster


def scheduler_address(cluster: str, namespace: str) -> str:
    """Where Pods of the cluster network reach the scheduler.

    Without a cluster domain, which differs between installations: each Pod's resolver adds its own.
    """
    return f"tcp://{scheduler_service(cluster)}.{namespace}.svc:{SCHEDULER_PORT}"


def job_cluster(job: str) -> str:
    """The DaskCluster of a job; it bears the job's own name, which therefore has to be a cluster's."""
    return job


def job_runner(job: str) -> str:
    """The Pod that runs a job's program."""
    return f"{job}-runner"


def may_be_of(name: str) -> frozenset[str]:
    """Clusters and jobs that an object of this name may belong to, whatever its labels say."""
    ends = (scheduler_pod(""), job_runner(""), worker_group("", DEFAULT_GROUP))
    return frozenset({name, *(name.removesuffix(end) for end in ends)})


def worker_group(cluster: str, name: str) -> str:
    """The DaskWorkerGroup that a cluster's user calls by this name."""
    return f"{cluster}-{name}"


def default_group(cluster: str) -> str:
    """The worker group that every cluster has."""
    return worker_group(cluster, DEFAULT_GROUP)


def worker(group: str, draw: str, index: int) -> str:
    """The name of a new worker Pod: ``<group>-worker-<10 hex>``.

    Parameters
    ----------
    draw
        The pass's randomness, so that a plan stays a pure function.
    index
        Which of the workers that this pass makes.
    """
    return f"{group}-worker-{hashlib.sha256(f'{draw}/{index}'.encode()).hexdigest()[:10]}"


def managed_by(identity: str) -> str:
    """``spec.managedBy`` of a cluster that the embedded operator of this identity serves."""
    return f"{DOMAIN}/{identity}"


def embedded_identity(managed_by: str | None) -> str | None:
    """The id of the embedded operator that ``spec.managedBy`` names: ``embedded-<id>``; None where it names none."""
    if managed_by is None or not managed_by.startswith(f"{DOMAIN}/embedded-"):
        return None
    return managed_by.removeprefix(f"{DOMAIN}/")


def embedded_lease(identity: str) -> str:
    """The Lease that the embedded operator of this identity holds."""
    return f"dask-{identity}"


def problem_of_cluster_name(name: str) -> str | None:
    """What is wrong with a cluster's name, as a sentence; None for a good one."""
    if len(name) > CLUSTER_NAME_LIMIT:
        return (
            f"has {len(name)} characters; at most {CLUSTER_NAME_LIMIT} fit, since the names of its Pods follow from it"
        )
    if not _CLUSTER_NAME.fullmatch(name):
        return "must begin with a letter and hold only lower-case letters, digits and '-': it names a Service"
    return None


def problem_of_worker_group_name(name: str) -> str | None:
    """What is wrong with a worker group's name, as a sentence; None for a good one."""
    if len(name) > WORKER_GROUP_NAME_LIMIT:
        return f"has {len(name)} characters; at most {WORKER_GROUP_NAME_LIMIT} fit, since it is the value of a label"
    if not _OBJECT_NAME.fullmatch(name):
        return "must hold only lower-case letters, digits, '-' and '.', and begin and end with a letter or digit"
    return None


def valid_cluster_name(wish: str) -> str:
    """A valid cluster name as near to the wish as possible; total, and stable for the same wish.

    Characters that a DNS label cannot hold become ``-``; what had to be cut or changed is told apart by a hash at the
    end.
    """
    if problem_of_cluster_name(wish) is None:
        return wish
    slug = re.sub(r"[^a-z0-9]+", "-", wish.lower()).strip("-")
    slug = slug if slug[:1].isalpha() else f"dask-{slug}".rstrip("-")
    digest = hashlib.sha256(wish.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{slug[: CLUSTER_NAME_LIMIT - 9].rstrip('-')}-{digest}"
