"""The worker groups of a cluster, as its user names and orders them: decided before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

from dask_k8s import names
from dask_k8s.cluster.options import checked_n_workers
from dask_k8s.cluster.spec import Environment, shared, worker_args
from dask_k8s.errors import ConflictingArguments, InvalidResource, NotFound
from dask_k8s.kinds.cluster import Cluster
from dask_k8s.kinds.fields import Fields
from dask_k8s.kinds.value import Manifest, value
from dask_k8s.kinds.worker_group import DEFAULT_REPLICAS, WorkerTemplate
from dask_k8s.manifests import container
from dask_k8s.manifests.worker_group import worker_group


@value
class Order:
    """A worker group that was asked for; None where an argument was not given."""

    name: str
    n_workers: int | None = None
    image: str | None = None
    resources: Manifest | None = None
    worker_command: str | Sequence[str] | None = None
    env: Environment | None = None
    custom_spec: Manifest | None = None


_OF_THE_ORDER = ("name", "n_workers", "custom_spec")


def checked(order: Order, cluster: str) -> Order:
    """The order, where it can be right for a cluster.

    Raises
    ------
    ConflictingArguments
        Where one argument would silently lose against another.
    InvalidResource
        Where one cannot be right.
    """
    if order.name == names.DEFAULT_GROUP:
        raise InvalidResource("name", "'default' is the group that every cluster has: scale it with cluster.scale(n)")
    if problem := names.problem_of_worker_group_name(names.worker_group(cluster, order.name)):
        raise InvalidResource(
            "name", f"{order.name!r} makes {names.worker_group(cluster, order.name)!r}, which {problem}"
        )
    if order.n_workers is not None:
        checked_n_workers(order.n_workers)
    if order.worker_command is not None:
        worker_args(order.worker_command)
    if order.custom_spec is not None:
        _check_alone(order)
        WorkerTemplate.read(Fields(order.custom_spec, "custom_spec"))
    return order


def _check_alone(order: Order) -> None:
    for argument in (each.name for each in fields(order)):
        if argument not in _OF_THE_ORDER and getattr(order, argument) is not None:
            raise ConflictingArguments(
                f"{argument}= and custom_spec= exclude each other: write it into the spec, or leave that out."
            )


def ordered(order: Order, cluster: Cluster) -> dict[str, Any]:
    """The DaskWorkerGroup, as it is POSTed; what the order does not say is as in the cluster's own workers."""
    if order.custom_spec is not None:
        worker, default = order.custom_spec, order.custom_spec.get("replicas", DEFAULT_REPLICAS)
    else:
        worker, default = _like_the_clusters(order, cluster.spec.worker_manifest), DEFAULT_REPLICAS
    replicas = default if order.n_workers is None else order.n_workers
    return worker_group(cluster, order.name, {**worker, "replicas": replicas})


def _like_the_clusters(order: Order, worker: Manifest) -> Manifest:
    """The cluster's ``spec.worker`` with another start of its Dask container; sidecars and volumes stay."""
    containers = list(worker["spec"]["containers"])
    index = container.main_container(containers, container.Program.WORKER)
    containers[index] = _started(order, containers[index])
    return {**worker, "spec": {**worker["spec"], "containers": containers}}


def _started(order: Order, theirs: Manifest) -> Manifest:
    """A given argument replaces what was there, and an empty one takes it away."""
    replaced = {
        "env": order.env is not None,
        "resources": order.resources is not None,
        "command": order.worker_command is not None,
    }
    return {
        **{key: each for key, each in theirs.items() if not replaced.get(key)},
        **({} if order.image is None else {"image": order.image}),
        **({} if order.worker_command is None else {"args": worker_args(order.worker_command)}),
        **shared(order.resources, order.env),
    }


def taken(name: str, there: Manifest, cluster: str) -> InvalidResource:
    """Why a group of this name cannot be made."""
    full = there["metadata"]["name"]
    if "deletionTimestamp" in there["metadata"]:
        return InvalidResource("name", f"the DaskWorkerGroup {full} is being deleted: try again when it is gone")
    if there["spec"]["cluster"] == cluster:
        return InvalidResource("name", f"there is a group {name!r} already: cluster.scale(n, worker_group={name!r})")
    theirs = there["spec"]["cluster"]
    return InvalidResource("name", f"the DaskWorkerGroup {full} belongs to the cluster {theirs}: choose another name")


def is_default(cluster: str, name: str) -> bool:
    """Whether the default group is meant, by its short name or its full one."""
    return name in (names.DEFAULT_GROUP, names.default_group(cluster))


def check_deletable(name: str, cluster: str) -> None:
    """Any but the default group.

    Raises
    ------
    InvalidResource
        With what to do instead.
    """
    if is_default(cluster, name):
        raise InvalidResource(
            "name", f"{name!r} is the group that every cluster has: scale it to 0 with cluster.scale(0) instead"
        )


def called(name: str, there: Iterable[Manifest], cluster: str) -> Manifest:
    """The cluster's group of a name: its user's, or the full one of a group that was made with kubectl.

    Raises
    ------
    NotFound
        With the names of those that there are.
    """
    ours = {each["metadata"]["name"]: each for each in there if belongs(each, cluster)}
    found = ours.get(names.worker_group(cluster, name)) or ours.get(name)
    if found is None:
        known = sorted({names.DEFAULT_GROUP, *(each.removeprefix(f"{cluster}-") for each in ours)})
        raise NotFound(f"The cluster {cluster} has no worker group {name!r}. It has: {', '.join(known)}.")
    return found


def belongs(resource: Manifest, cluster: str) -> bool:
    """Whether a group or an autoscaler is a cluster's, and not going."""
    return resource["spec"]["cluster"] == cluster and "deletionTimestamp" not in resource["metadata"]
