"""From caches, expectations, refusals and what schedulers said to values.

Synchronously, so that one pass sees one world.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from dask_k8s import diagnosis, metadata, names
from dask_k8s.kinds.autoscaler import Autoscaler, seniority
from dask_k8s.kinds.cluster import Cluster
from dask_k8s.kinds.job import Job
from dask_k8s.kinds.value import Manifest, Ref
from dask_k8s.kinds.worker_group import WorkerGroup
from dask_k8s.operator import nodes
from dask_k8s.operator.answers import Answers
from dask_k8s.operator.caches import CLUSTER, LABELS, OWNER, Cache, Caches
from dask_k8s.operator.engine.expectations import Expectations
from dask_k8s.operator.engine.queue import Key
from dask_k8s.operator.leftovers import Leftover, left_over
from dask_k8s.operator.members import housed
from dask_k8s.operator.observed import (
    DefaultGroup,
    Drain,
    Drained,
    Home,
    Known,
    ObservedAutoscaler,
    ObservedCluster,
    ObservedGroup,
    Phase,
    Presence,
    SchedulerPod,
    Silent,
    Unasked,
    Worker,
)
from dask_k8s.operator.observed_job import JobCluster, ObservedJob
from dask_k8s.operator.pods import marked_at, phase_of, read_worker, restarts_of, runner_of
from dask_k8s.operator.refusals import Refusals


class SchedulerNews(Protocol):
    """What was heard from schedulers."""

    def answers(self, cluster: Ref) -> Answers:
        """What a cluster's scheduler said; its order has all of its workers."""


class DrainNews(Protocol):
    """What is known of drains."""

    def of(self, pod: Ref) -> Drained | None:
        """What became of a worker's drain."""

    def refused(self, pod: Ref) -> Drained | None:
        """What a worker's drain was refused for that is tried again."""

    def stranded(self, key: Key) -> tuple[str, ...]:
        """Tasks that may run on workers alone that have left a group."""


class Observer:
    """Makes the values that plans see."""

    def __init__(
        self,
        caches: Caches,
        expectations: Expectations,
        refusals: Refusals,
        news: SchedulerNews,
        drains: DrainNews,
    ) -> None:
        self._caches = caches
        self._expectations = expectations
        self._refusals = refusals
        self._news = news
        self._drains = drains
        self._read: dict[str, tuple[Manifest, Worker]] = {}
        self._misread: dict[str, datetime] = {}
        caches.pods.on(self._on_pod)
        self._nodes_that_go: set[str] = set()
        caches.nodes.on(self._on_node)

    def group(self, key: Key, group: WorkerGroup, now: datetime, draw: str) -> ObservedGroup:
        """What there is of a worker group."""
        home = self._home(key.namespace, group.cluster)
        pods = list(self._caches.pods.by(OWNER, group.head.ref.uid))
        pinned = "nodeName" in group.worker.template.spec  # others in their place would come to the same node
        return ObservedGroup(
            home=home,
            workers=(*(self._worker(key, pod, now, pinned=pinned) for pod in pods), *self._expected(key, pods, now)),
            orphans=tuple(self._orphans(group)),
            order=Unasked() if home is None else self._order(home.ref, pods),
            stranded=self._drains.stranded(key),
            refusals=self._refusals.of(key),
            draw=draw,
        )

    def left(self, key: Key, pods: Iterable[Manifest]) -> Iterator[Ref]:
        """Those of a group that is gone that are not on their way out, each with the version that was read."""
        for pod in pods:
            meta = pod["metadata"]
            if "deletionTimestamp" not in meta and not self._expectations.leaving(key, meta["uid"]):
                yield Ref.to(pod, "Pod")

    def cluster(self, key: Key, cluster: Cluster) -> ObservedCluster:
        """What there is of a cluster."""
        ref, caches = cluster.head.ref, self._caches
        scheduler, service = names.scheduler_pod(ref.name), names.scheduler_service(ref.name)
        default = names.default_group(ref.name)
        pod = self._own(caches.pods, ref, scheduler)
        group = self._own(caches.groups, ref, default)
        budget = self._own(caches.budgets, ref, scheduler)
        needed = [(caches.pods, scheduler), (caches.services, service), (caches.groups, default)]
        if cluster.spec.scheduler.disruption_budget:
            needed.append((caches.budgets, scheduler))
        return ObservedCluster(
            scheduler=None if pod is None else self._scheduler(key, pod, cluster),
            scheduler_presence=self._presence(key, caches.pods, ref, scheduler),
            service=self._presence(key, caches.services, ref, service),
            group=None if group is None else _default_group(group),
            group_presence=self._presence(key, caches.groups, ref, default),
            budget=None if budget is None else Ref.to(budget, caches.budgets.kind),
            budget_presence=self._budget_presence(key, ref, scheduler),
            leftovers=_left_over(ref.namespace, needed),
            autoscaled=any(self._autoscalers(ref)),
            idle=self._news.answers(ref).idle,
            refusals=self._refusals.of(key),
        )

    def job(self, key: Key, job: Job) -> ObservedJob:
        """What there is of a job."""
        ref, caches = job.head.ref, self._caches
        runner, dask = names.job_runner(ref.name), names.job_cluster(ref.name)
        pod = self._own(caches.pods, ref, runner)
        cluster = caches.clusters.get(ref.namespace, dask)
        ours = cluster is not None and metadata.controller_uid(cluster) == ref.uid
        leaving = pod is not None and self._expectations.leaving(key, pod["metadata"]["uid"])
        return ObservedJob(
            runner=None if pod is None else runner_of(pod, Phase.LEAVING if leaving else phase_of(pod)),
            runner_presence=self._presence(key, caches.pods, ref, runner),
            cluster=None if cluster is None else self._job_cluster(key, cluster, ours=ours),
            cluster_presence=self._presence(key, caches.clusters, ref, dask),
            leftovers=_left_over(ref.namespace, [(caches.pods, runner), (caches.clusters, dask)]),
            refusals=self._refusals.of(key),
        )

    def autoscaler(self, key: Key, autoscaler: Autoscaler) -> ObservedAutoscaler:
        """What an autoscaler has to know."""
        home = self._home(key.namespace, autoscaler.cluster)
        group = None
        if home is not None:
            group = self._own(self._caches.groups, home.ref, names.default_group(autoscaler.cluster))
        return ObservedAutoscaler(
            home=home,
            group=None if group is None else Ref.to(group, names.WORKER_GROUP),
            replicas=0 if group is None else _default_group(group).replicas,
            first="" if home is None else min(self._autoscalers(home.ref), default=("", ""))[1],
            targets=Unasked() if home is None else self._news.answers(home.ref).targets,
            refusals=self._refusals.of(key),
        )

    def _autoscalers(self, cluster: Ref) -> Iterator[tuple[str, str]]:
        """Those of a cluster that are not going, as age and name: the oldest one serves it."""
        for each in self._caches.autoscalers.by(CLUSTER, (cluster.namespace, cluster.name)):
            owner = metadata.controller_of(each["metadata"].get("ownerReferences") or ()) or {}
            of_another = owner.get("kind") == names.CLUSTER and owner.get("uid") != cluster.uid
            if "deletionTimestamp" not in each["metadata"] and not of_another:
                yield seniority(each)

    def _job_cluster(self, key: Key, cluster: Manifest, *, ours: bool) -> JobCluster:
        ref = Ref.to(cluster, names.CLUSTER)
        going = "deletionTimestamp" in cluster["metadata"] or self._expectations.leaving(key, ref.uid or "")
        return JobCluster(ref=ref, ours=ours, leaving=going, status=cluster.get("status") or {})

    def _home(self, namespace: str, name: str) -> Home | None:
        cluster = self._caches.clusters.get(namespace, name)
        if cluster is None:
            return None
        ref = Ref.to(cluster, names.CLUSTER)
        pod = self._own(self._caches.pods, ref, names.scheduler_pod(name))
        there = pod is not None and "deletionTimestamp" not in pod["metadata"]
        return Home(
            ref=ref,
            deleting="deletionTimestamp" in cluster["metadata"],
            scheduled=pod is not None and there and "nodeName" in pod["spec"],
            ready=pod is not None and phase_of(pod) is Phase.READY,
        )

    def _node_leaves(self, spec: Manifest) -> str:
        name = spec.get("nodeName", "")
        if name not in self._nodes_that_go:
            return ""
        return nodes.leaves(self._caches.nodes.get("", name), spec.get("tolerations") or ())

    def _worker(self, key: Key, pod: Manifest, now: datetime, *, pinned: bool) -> Worker:
        """What its Pod says, which is read once for each version of it, and what only we know."""
        uid = pod["metadata"]["uid"]
        known = self._read.get(uid)
        if known is None or known[0] is not pod:
            known = self._read[uid] = (pod, read_worker(pod))
        worker = known[1]
        retiring = self._expectations.mark(key, uid, pod["metadata"]["annotations"].get(names.RETIRING_SINCE))
        leaving = self._expectations.leaving(key, uid)
        drained, refused = self._drains.of(worker.ref), self._drains.refused(worker.ref)
        goes = "" if pinned else self._node_leaves(pod["spec"])
        if retiring is None and not (leaving or drained or refused or goes):
            return worker
        version = worker.ref.version
        if drained is not None and drained.state is Drain.EMPTY:
            # A container that is started again is another worker, and that may not be seen yet when its Pod is deleted.
            version = pod["metadata"]["resourceVersion"]
        return replace(
            worker,
            ref=replace(worker.ref, version=None if leaving else version),
            phase=Phase.LEAVING if leaving else worker.phase,
            retiring_since=None if retiring is None else self._chosen_at(uid, retiring, now),
            drained=drained,
            refused=refused,
            node_leaves=goes,
        )

    def _chosen_at(self, uid: str, mark: str, now: datetime) -> datetime:
        """A mark that does not tell counts from when it was read first: the time of its worker's tasks begins anew."""
        return marked_at(mark, now) or self._misread.setdefault(uid, now)

    def _on_pod(self, old: Manifest | None, new: Manifest | None) -> None:
        if new is None and old is not None:
            self._read.pop(old["metadata"]["uid"], None)
            self._misread.pop(old["metadata"]["uid"], None)

    def _on_node(self, old: Manifest | None, new: Manifest | None) -> None:
        name = (new or old or {})["metadata"]["name"]
        (self._nodes_that_go.add if nodes.leaves(new) else self._nodes_that_go.discard)(name)

    def _expected(self, key: Key, pods: list[Manifest], now: datetime) -> Iterator[Worker]:
        """Workers that were asked for and that no cache shows."""
        shown = {pod["metadata"]["name"] for pod in pods}
        for creation in self._expectations.creations(key, "Pod"):
            if creation.name not in shown:
                yield Worker(
                    ref=Ref(kind="Pod", namespace=key.namespace, name=creation.name),
                    phase=Phase.IN_DOUBT if creation.in_doubt else Phase.EXPECTED,
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

        A Pod with several workers stands where its last one does, and one whose workers cannot be told from those of
        others behind all: it is not one that never joined.
        """
        order = self._news.answers(cluster).order
        if not isinstance(order, Known):
            return order
        housing = housed(order.answer, self._caches.pods_of(cluster), order.at)
        position = {member.address: index for index, member in enumerate(order.answer)}
        last = {
            **dict.fromkeys(housing.unclear, len(position)),
            **{uid: max(position[each.address] for each in there) for uid, there in housing.members.items()},
        }
        joined = {pod["metadata"]["name"]: last[uid] for pod in pods if (uid := pod["metadata"]["uid"]) in last}
        return Known(at=order.at, answer=tuple(sorted(joined, key=joined.__getitem__)))

    def _own(self, cache: Cache, owner: Ref, name: str) -> Manifest | None:
        """An object of a cluster or a job; one of that name that another controls is none."""
        found = cache.get(owner.namespace, name)
        return found if found is not None and metadata.controller_uid(found) == owner.uid else None

    def _presence(self, key: Key, cache: Cache, owner: Ref, name: str) -> Presence:
        """Of an object of a cluster or a job; another's that is going leaves its name soon, and is waited for."""
        found = cache.get(owner.namespace, name)
        going = found is not None and "deletionTimestamp" in found["metadata"]
        if found is not None and metadata.controller_uid(found) == owner.uid:
            return Presence.LEAVING if going else Presence.THERE
        if any(not each.in_doubt for each in self._expectations.creations(key, cache.kind)):
            return Presence.EXPECTED
        return Presence.LEAVING if going else Presence.ABSENT

    def _budget_presence(self, key: Key, owner: Ref, name: str) -> Presence | None:
        budgets = self._caches.budgets
        if budgets.denied(key.namespace):
            return None
        known = budgets.known(key.namespace)
        return self._presence(key, budgets, owner, name) if known else Presence.EXPECTED

    def _scheduler(self, key: Key, pod: Manifest, cluster: Cluster) -> SchedulerPod:
        ref = Ref.to(pod, "Pod")
        leaving = self._expectations.leaving(key, ref.uid or "")
        return SchedulerPod(
            ref=ref,
            phase=Phase.LEAVING if leaving else phase_of(pod),
            scheduled="nodeName" in pod["spec"],
            restarts=restarts_of(pod, cluster),
            address=pod["status"].get("podIP"),
            trouble=diagnosis.of_pod(pod),
        )


def _left_over(namespace: str, needed: Iterable[tuple[Cache, str]]) -> tuple[Leftover, ...]:
    """What has a name that is needed and is on its way out, whosever it is."""
    found = ((cache.kind, cache.get(namespace, name)) for cache, name in needed)
    return tuple(
        left_over(each, kind) for kind, each in found if each is not None and "deletionTimestamp" in each["metadata"]
    )


def _default_group(group: Manifest) -> DefaultGroup:
    flowed = (group["metadata"].get("annotations") or {}).get(names.REPLICAS_FROM_CLUSTER)
    worker = (group.get("spec") or {}).get("worker") or {}
    return DefaultGroup(
        ref=Ref.to(group, names.WORKER_GROUP),
        replicas=worker.get("replicas", 0),
        flowed=int(flowed) if flowed is not None and flowed.isdecimal() else None,
        status=group.get("status") or {},
    )
