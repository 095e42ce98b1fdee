"""What the operator keeps of the API server's objects.

A cache for each kind and namespace, cut down to what plans need.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterator, Mapping
from functools import partial
from sys import intern
from typing import Any

from dask_k8s import metadata, names
from dask_k8s.kinds.value import Manifest, Ref, value
from dask_k8s.kube.client import Client
from dask_k8s.kube.informer import Informer
from dask_k8s.kube.resources import (
    DASK_AUTOSCALER,
    DASK_CLUSTER,
    DASK_JOB,
    DASK_WORKER_GROUP,
    DISRUPTION_BUDGET,
    LEASE,
    NODE,
    POD,
    SERVICE,
    Resource,
)
from dask_k8s.manifests import worker
from dask_k8s.manifests.scheduler import comm_port

Handler = Callable[[Manifest | None, Manifest | None], None]

OWNER = "owner"
LABELS = "labels"
CLUSTER = "cluster"
NODE_NAME = "node"

_POD_METADATA = (
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "labels",
    "ownerReferences",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "finalizers",
)
_OWN = frozenset(
    {
        "name",
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "deletionTimestamp",
        "podIP",
        "message",
        "containerID",
        "lastTransitionTime",
        "startedAt",
        "finishedAt",
        names.RETIRING_SINCE,
    }
)
"""Of such texts each Pod has its own. Python 3.12 keeps for ever what is shared."""
_OUR_ANNOTATIONS = (names.TEMPLATE_HASH, names.RETIRING_SINCE)
_POD_STATUS = ("phase", "podIP", "reason", "message")
_CONTAINER = ("name", "image", "restartCount", "state", "lastState")
_CONDITIONS = ("PodScheduled", "Ready", "DisruptionTarget")


@value
class Scope:
    """What an operator serves.

    Parameters
    ----------
    namespaces
        Their names; None for all.
    cluster
        The one cluster that an embedded operator serves; None for all.
    """

    namespaces: tuple[str, ...] | None
    cluster: str | None = None


class Cache:
    """The objects of one kind, from one informer for each namespace that is served; without a scope it stays empty.

    Attributes
    ----------
    kind, resource
        What it holds.
    """

    def __init__(self, client: Client, resource: Resource, scope: Scope | None, **options: Any) -> None:
        namespaces: tuple[str | None, ...] = () if scope is None else scope.namespaces or (None,)
        self._informers = {namespace: Informer(client, resource, namespace, **options) for namespace in namespaces}
        self.kind = resource.kind
        self.resource = resource
        self._denied: set[str | None] = set()
        self._client = client

    def get(self, namespace: str, name: str) -> Manifest | None:
        """One object, or None."""
        informer = self.of(namespace)
        return None if informer is None else informer.get(namespace, name)

    def by(self, index: str, key: Hashable) -> Iterator[Manifest]:
        """The objects that an index has under a key."""
        for informer in self._informers.values():
            yield from informer.by(index, key)

    def values(self) -> Iterator[Manifest]:
        """All objects."""
        for informer in self._informers.values():
            yield from informer.values()

    def on(self, handler: Handler) -> None:
        """Call this for each change, with what was and what is."""
        for informer in self.informers():
            informer.on(handler)

    def on_recovery(self, handler: Callable[[], None]) -> None:
        """Call this whenever it is in step again after it was not."""
        for informer in self.informers():
            informer.on_recovery(handler)

    def informers(self) -> Iterator[Informer]:
        """One for each namespace."""
        return iter(self._informers.values())

    def known(self, namespace: str) -> bool:
        """Whether it has been listed there: before that it looks empty."""
        informer = self.of(namespace)
        return informer is not None and informer.synced.is_set()

    def denied(self, namespace: str) -> bool:
        """Whether these credentials were found not to be allowed to list and watch there what it holds."""
        informer = self.of(namespace)
        return informer is not None and informer.namespace in self._denied

    async def allowed(self, namespace: str | None) -> bool:
        """Whether these credentials may list and watch what it holds in a namespace that is served."""
        questions = (self._client.allowed(verb, self.resource, namespace) for verb in ("list", "watch"))
        may = all(await asyncio.gather(*questions))
        (self._denied.discard if may else self._denied.add)(namespace)
        return may

    def of(self, namespace: str | None) -> Informer | None:
        """The informer that follows a namespace, None standing for all; there is none without a scope."""
        return self._informers.get(None) or self._informers.get(namespace)


class Caches:
    """All that a pass looks at.

    Attributes
    ----------
    namespaces
        Those that are served, each with its own informers; None stands for all.

    Parameters
    ----------
    relist
        Seconds after which each of them is listed again, though nothing broke.
    """

    def __init__(self, client: Client, scope: Scope, *, relist: float) -> None:
        self.namespaces: tuple[str | None, ...] = scope.namespaces or (None,)
        make = partial(Cache, client, relist=relist)
        one = f"metadata.name={scope.cluster}" if scope.cluster else None
        of_cluster = f",{names.CLUSTER_NAME}={scope.cluster}" if scope.cluster else ""
        by_cluster = {CLUSTER: lambda each: [(each["metadata"]["namespace"], spec_cluster(each))]}
        self.clusters = make(DASK_CLUSTER, scope, fields=one, slim=without_managed_fields)
        self.groups = make(DASK_WORKER_GROUP, scope, slim=without_managed_fields, indexes=by_cluster)
        self.autoscalers = make(DASK_AUTOSCALER, scope, slim=without_managed_fields, indexes=by_cluster)
        # An operator of one cluster serves no jobs: it was made for a cluster that is there already.
        self.jobs = make(DASK_JOB, None if scope.cluster else scope, slim=without_managed_fields)
        self.pods = make(
            POD,
            scope,
            labels=f"{names.COMPONENT}{of_cluster}",
            slim=slim_pod,
            indexes={OWNER: _owner, LABELS: _group_labels, CLUSTER: _cluster_label, NODE_NAME: _node_name},
        )
        self.services = make(
            SERVICE,
            scope,
            labels=f"{names.COMPONENT}={names.Component.SCHEDULER}{of_cluster}",
            slim=slim_service,
        )
        self.leases = make(LEASE, scope, labels=names.LEASE_FOR, slim=without_managed_fields)
        self.nodes = make(NODE, Scope(namespaces=None), slim=slim_node)
        self.budgets = make(
            DISRUPTION_BUDGET,
            scope,
            labels=f"{names.COMPONENT}={names.Component.SCHEDULER}{of_cluster}",
            slim=slim_service,
        )

    def pods_of(self, cluster: Ref) -> list[Manifest]:
        """The Pods of a cluster, by its label."""
        return list(self.pods.by(CLUSTER, (cluster.namespace, cluster.name)))

    def optional(self) -> tuple[Cache, ...]:
        """What an operator looks at where it may, and does without else."""
        return (self.nodes, self.budgets)

    def all(self) -> tuple[Cache, ...]:
        """Every cache that it needs."""
        return (
            self.clusters,
            self.groups,
            self.jobs,
            self.autoscalers,
            self.pods,
            self.services,
            self.leases,
        )

    async def synced(self) -> None:
        """Until each has its first list."""
        for cache in self.all():
            for informer in cache.informers():
                await informer.synced.wait()

    async def listed_since(self, moment: float, namespace: str | None) -> None:
        """Until each has taken in a list of a namespace that began after that moment of the monotonic clock."""
        async with asyncio.TaskGroup() as group:
            for cache in self.all():
                if (informer := cache.of(namespace)) is not None:
                    group.create_task(informer.listed_since(moment))

    def troubles(self) -> Iterator[str]:
        """Why caches are not in step, as sentences."""
        for cache in self.all():
            yield from (informer.trouble for informer in cache.informers() if informer.trouble)


def slim_pod(pod: Manifest) -> Manifest:
    """What plans and the diagnosis read of a Pod: a tenth of it. What thousands of them have alike is there once."""
    slim: Manifest = _shared(_slimmed(pod))
    return slim


def _shared(content: Any) -> Any:
    """The same, of texts that all such contents share: 2 kB less for a Pod, a third of it."""
    kind = type(content)  # of JSON, for each event of each Pod: this is faster than a match
    if kind is str:
        return intern(content)
    if kind is dict:
        return {intern(key): each if key in _OWN else _shared(each) for key, each in content.items()}
    return [_shared(each) for each in content] if kind is list else content


def _slimmed(pod: Manifest) -> Manifest:
    meta, status = pod["metadata"], pod.get("status") or {}
    annotations = meta.get("annotations") or {}
    return {
        "metadata": {
            **_picked(meta, _POD_METADATA),
            "annotations": _picked(annotations, _OUR_ANNOTATIONS),
        },
        "spec": {
            **_picked(pod.get("spec") or {}, ("hostNetwork", "nodeName", "restartPolicy", "tolerations")),
            **_by_component(pod),
            "containers": [each["name"] for each in (pod.get("spec") or {}).get("containers") or ()],
        },
        "status": {
            **_picked(status, _POD_STATUS),
            "conditions": [each for each in status.get("conditions") or () if each.get("type") in _CONDITIONS],
            "initContainerStatuses": [_picked(each, _CONTAINER) for each in status.get("initContainerStatuses") or ()],
            "containerStatuses": [_picked(each, _CONTAINER) for each in status.get("containerStatuses") or ()],
        },
    }


def _by_component(pod: Manifest) -> dict[str, Any]:
    """Where a scheduler listens, whatever its cluster's spec says by now; whether a worker bears its Pod's name."""
    if (pod["metadata"].get("labels") or {}).get(names.COMPONENT) == names.Component.SCHEDULER:
        return {"commPort": comm_port(pod["spec"])}
    return {"namesWorkers": worker.bears_its_name(pod)}


def slim_service(service: Manifest) -> Manifest:
    """What plans read of a Service: who it is and whose."""
    return {"metadata": _picked(service["metadata"], _POD_METADATA)}


def slim_node(node: Manifest) -> Manifest:
    """What plans read of a node: its taints."""
    taints = (node.get("spec") or {}).get("taints") or ()
    return {"metadata": _picked(node["metadata"], _POD_METADATA[:4]), "spec": {"taints": list(taints)}}


def without_managed_fields(manifest: Manifest) -> Manifest:
    """All but the record of who wrote which field, which is often the largest part."""
    meta = {key: content for key, content in manifest["metadata"].items() if key != "managedFields"}
    return {**manifest, "metadata": meta}


def _picked(content: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: content[key] for key in keys if key in content}


def spec_cluster(resource: Manifest) -> str | None:
    """The cluster that a group or an autoscaler names; whatever stands there, since it is not parsed yet."""
    spec = resource.get("spec")
    return str(spec.get("cluster")) if isinstance(spec, Mapping) else None


def _owner(pod: Manifest) -> list[str]:
    uid = metadata.controller_uid(pod)
    return [uid] if uid else []


def _node_name(pod: Manifest) -> list[str]:
    return [pod["spec"]["nodeName"]] if "nodeName" in pod["spec"] else []


def _cluster_label(pod: Manifest) -> list[tuple[str, str]]:
    cluster = (pod["metadata"].get("labels") or {}).get(names.CLUSTER_NAME)
    return [(pod["metadata"]["namespace"], cluster)] if cluster else []


def _group_labels(pod: Manifest) -> list[tuple[str, str | None, str | None]]:
    labels = pod["metadata"].get("labels") or {}
    group = labels.get(names.WORKER_GROUP_NAME)
    return [(pod["metadata"]["namespace"], labels.get(names.CLUSTER_NAME), group)] if group else []
