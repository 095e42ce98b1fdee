"""From caches, expectations, refusals and what schedulers said to values.

Synchronously, so that one pass sees one world.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Protocol

from dask_k8s import diagnosis, metadata, names
from dask_k8s.kinds.cluster import Cluster
from dask_k8s.kinds.fields import moment
from dask_k8s.kinds.value import Manifest, Ref
from dask_k8s.kinds.worker_group import WorkerGroup
from dask_k8s.manifests import container
from dask_k8s.operator.caches import LABELS, OWNER, Cache, Caches
from dask_k8s.operator.engine.expectations import Expectations
from dask_k8s.operator.engine.queue import Key
from dask_k8s.operator.observed import (
    DefaultGroup,
    Drain,
    Home,
    Known,
    ObservedCluster,
    ObservedGroup,
    Phase,
    Presence,
    SchedulerPod,
    Silent,
    Unasked,
    Worker,
)
from dask_k8s.operator.refusals import Refusals


class SchedulerNews(Protocol):
    """What was heard from schedulers."""

    def order(self, cluster: Ref) -> Unasked | Silent | Known[tuple[str, ...]]:
        """A cluster's workers by IP address, those first that may leave first."""

    def drain(self, pod: Ref) -> tuple[Drain, str] | None:
        """What became of a worker's drain, and why."""


class Observer:
    """Makes the values that plans see."""

    def __init__(self, caches: Caches, expectations: Expectations, refusals: Refusals, news: SchedulerNews) -> None:
        self._caches = caches
        self._expectations = expectations
        self._refusals = refusals
        self._news = news

    def group(self, key: Key, group: WorkerGroup, now: datetime, draw: str) -> ObservedGroup:
        """What there is of a worker group."""
        home = self._home(group)
        pods = list(self._caches.pods.by(OWNER, group.head.ref.uid))
        return ObservedGroup(
            home=home,
            workers=(*(self._worker(key, pod) for pod in pods), *self._expected(key, pods, now)),
            orphans=tuple(self._orphans(group)),
            order=Unasked() if home is None else self._order(home.ref, pods),
            refusals=self._refusals.of(key),
            draw=draw,
        )

    def cluster(self, key: Key, cluster: Cluster) -> ObservedCluster:
        """What there is of a cluster."""
        ref = cluster.head.ref
        pod = self._own(self._caches.pods, ref, names.scheduler_pod(ref.name))
        service = self._own(self._caches.services, ref, names.scheduler_service(ref.name))
        group = self._own(self._caches.groups, ref, names.default_group(ref.name))
        return ObservedCluster(
            scheduler=None if pod is None else self._scheduler(key, pod, cluster),
            scheduler_presence=self._presence(key, "Pod", pod),
            service=self._presence(key, "Service", service),
            group=None if group is None else _default_group(group),
            group_presence=self._presence(key, names.WORKER_GROUP, group),
            refusals=self._refusals.of(key),
        )

    def _home(self, group: WorkerGroup) -> Home | None:
        namespace = group.head.ref.namespace
        cluster = self._caches.clusters.get(namespace, group.cluster)
        if cluster is None:
            return None
        ref = Ref.to(cluster, names.CLUSTER)
        pod = self._own(self._caches.pods, ref, names.scheduler_pod(group.cluster))
        scheduled = pod is not None and "nodeName" in pod["spec"] and "deletionTimestamp" not in pod["metadata"]
        return Home(ref=ref, deleting="deletionTimestamp" in cluster["metadata"], scheduled=scheduled)

    def _worker(self, key: Key, pod: Manifest) -> Worker:
        # Without the version: the kubelet writes a Pod's status all the time, and the uid is precondition enough.
        meta = pod["metadata"]
        ref = Ref(kind="Pod", namespace=meta["namespace"], name=meta["name"], uid=meta["uid"])
        drain, refused = self._news.drain(ref) or (None, "")
        retiring = meta["annotations"].get(names.RETIRING_SINCE) or self._expectations.mark(key, meta["uid"])
        return Worker(
            ref=ref,
            phase=Phase.LEAVING if self._expectations.leaving(key, meta["uid"]) else phase_of(pod),
            template=meta["annotations"].get(names.TEMPLATE_HASH, ""),
            created=moment(meta["creationTimestamp"]),
            ended=_ended(pod),
            retiring_since=None if retiring is None else moment(retiring),
            drain=drain,
            refused=refused,
            trouble=diagnosis.of_pod(pod),
        )

    def _expected(self, key: Key, pods: list[Manifest], now: datetime) -> Iterator[Worker]:
        """Workers that were asked for and that no cache shows."""
        shown = {pod["metadata"]["name"] for pod in pods}
        for creation in self._expectations.creations(key, "Pod"):
            if creation.name not in shown:
                in_doubt = creation.answered is None and not creation.in_flight
                yield Worker(
                    ref=Ref(kind="Pod", namespace=key.namespace, name=creation.name),
                    phase=Phase.IN_DOUBT if in_doubt else Phase.EXPECTED,
                    template="",
                    created=now,
                )

    def _orphans(self, group: WorkerGroup) -> Iterator[Ref]:
        where = (group.head.ref.namespace, group.cluster, group.head.ref.name)
        for pod in self._caches.pods.by(LABELS, where):
            if metadata.controller_uid(pod) is None and "deletionTimestamp" not in pod["metadata"]:
                yield Ref.to(pod, "Pod")

    def _order(self, cluster: Ref, pods: list[Manifest]) -> Unasked | Silent | Known[tuple[str, ...]]:
        """The scheduler's order as names of this group's Pods.

        A Pod with several workers stands where its last one does.
        """
        order = self._news.order(cluster)
        if not isinstance(order, Known):
            return order
        last = {address: position for position, address in enumerate(order.answer)}
        joined = {
            pod["metadata"]["name"]: last[pod["status"]["podIP"]] for pod in pods if pod["status"].get("podIP") in last
        }
        return Known(at=order.at, answer=tuple(sorted(joined, key=joined.__getitem__)))

    def _own(self, cache: Cache, cluster: Ref, name: str) -> Manifest | None:
        """A cluster's object; one of that name that another controls is none."""
        found = cache.get(cluster.namespace, name)
        return found if found is not None and metadata.controller_uid(found) == cluster.uid else None

    def _presence(self, key: Key, kind: str, manifest: Manifest | None) -> Presence:
        if manifest is not None:
            going = "deletionTimestamp" in manifest["metadata"]
            return Presence.LEAVING if going else Presence.THERE
        waiting = any(each.answered is not None or each.in_flight for each in self._expectations.creations(key, kind))
        return Presence.EXPECTED if waiting else Presence.ABSENT

    def _scheduler(self, key: Key, pod: Manifest, cluster: Cluster) -> SchedulerPod:
        ref = Ref.to(pod, "Pod")
        leaving = self._expectations.leaving(key, ref.uid or "")
        return SchedulerPod(
            ref=ref,
            phase=Phase.LEAVING if leaving else phase_of(pod),
            scheduled="nodeName" in pod["spec"],
            restarts=_restarts(pod, cluster),
            address=pod["status"].get("podIP"),
            trouble=diagnosis.of_pod(pod),
        )


def phase_of(pod: Manifest) -> Phase:
    """Where a Pod stands, from its slimmed JSON."""
    status = pod["status"]
    if "deletionTimestamp" in pod["metadata"]:
        return Phase.LEAVING
    if status.get("phase") in ("Succeeded", "Failed"):
        return Phase.ENDED
    if any(each["type"] == "Ready" and each["status"] == "True" for each in status["conditions"]):
        return Phase.READY
    return Phase.RUNNING if any(map(_has_run, status["containerStatuses"])) else Phase.PENDING


def _has_run(status: Manifest) -> bool:
    states = {**(status.get("state") or {}), **(status.get("lastState") or {})}
    return "running" in states or "terminated" in states or status.get("restartCount", 0) > 0


def _ended(pod: Manifest) -> datetime | None:
    """When the last of its containers ended."""
    if pod["status"].get("phase") not in ("Succeeded", "Failed"):
        return None
    states = ((each.get("state") or {}).get("terminated") or {} for each in pod["status"]["containerStatuses"])
    return max((moment(state["finishedAt"]) for state in states if state.get("finishedAt")), default=None)


def _restarts(pod: Manifest, cluster: Cluster) -> int:
    """Of the Dask container alone: a sidecar that is started again loses no state."""
    containers = cluster.spec.scheduler.template.spec["containers"]
    name = containers[container.main_container(containers, container.Program.SCHEDULER)]["name"]
    statuses: list[dict[str, Any]] = pod["status"]["containerStatuses"]
    return next((each.get("restartCount", 0) for each in statuses if each.get("name") == name), 0)


def _default_group(group: Manifest) -> DefaultGroup:
    flowed = (group["metadata"].get("annotations") or {}).get(names.REPLICAS_FROM_CLUSTER)
    worker = (group.get("spec") or {}).get("worker") or {}
    return DefaultGroup(
        ref=Ref.to(group, names.WORKER_GROUP),
        replicas=worker.get("replicas", 0),
        flowed=int(flowed) if flowed is not None and flowed.isdecimal() else None,
        status=group.get("status") or {},
    )
