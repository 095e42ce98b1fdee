"""The wiring, kind by kind: which event wakes which key, and how a key becomes a decision."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from dask_k8s import metadata, names
from dask_k8s.errors import InvalidResource
from dask_k8s.kinds.autoscaler import Autoscaler
from dask_k8s.kinds.cluster import Cluster
from dask_k8s.kinds.fields import moment
from dask_k8s.kinds.job import Job
from dask_k8s.kinds.value import Manifest, Ref, value
from dask_k8s.kinds.worker_group import WorkerGroup
from dask_k8s.kube.resources import (
    DASK_AUTOSCALER,
    DASK_CLUSTER,
    DASK_JOB,
    DASK_WORKER_GROUP,
    DISRUPTION_BUDGET,
    Resource,
)
from dask_k8s.operator import nodes
from dask_k8s.operator.actions import NOTHING, Plan
from dask_k8s.operator.caches import CLUSTER, NODE_NAME, OWNER, Cache, Caches, spec_cluster
from dask_k8s.operator.engine.expectations import Expectations
from dask_k8s.operator.engine.pace import Pace
from dask_k8s.operator.engine.queue import Key, Queue
from dask_k8s.operator.observe import Observer
from dask_k8s.operator.plan import autoscaler as autoscaler_plan
from dask_k8s.operator.plan import cluster as cluster_plan
from dask_k8s.operator.plan import job as job_plan
from dask_k8s.operator.plan import ownership, remains, unreadable
from dask_k8s.operator.plan import worker_group as group_plan
from dask_k8s.operator.plan.ownership import LeaseSeen, Verdict
from dask_k8s.operator.pods import starts
from dask_k8s.settings import Timing

COALESCE = 0.02
"""Seconds that the events of a group's Pods are gathered before its pass, where it may have to do something."""

REMAINS = 1.0
"""Seconds between two looks at what a group has left that is gone."""


@value
class Decided:
    """What one pass decided about one resource.

    Parameters
    ----------
    ref
        The resource, with the version that was read.
    cluster
        Whose scheduler the plan's questions go to.
    """

    resource: Resource
    ref: Ref
    generation: int
    status: Manifest
    cluster: Ref | None
    plan: Plan


class Controllers:
    """From events to keys, and from keys to decisions.

    Parameters
    ----------
    me
        ``deployed``, or the id of an embedded operator.
    max_workers
        The most that an autoscaler may ask for, whatever a scheduler says.
    """

    def __init__(
        self,
        caches: Caches,
        queue: Queue,
        expectations: Expectations,
        observer: Observer,
        *,
        me: str,
        max_workers: int,
        timing: Timing,
    ) -> None:
        self._max_workers = max_workers
        self._lease_may_come = timedelta(seconds=timing.lease_may_come)
        self._caches = caches
        self._queue = queue
        self._expectations = expectations
        self._observer = observer
        self._me = me
        self._owners: dict[str, Key] = {}
        self._gone: dict[Key, Ref] = {}
        self._renewals: dict[str, tuple[object, float]] = {}
        self._vanished: dict[tuple[str, str], float] = {}
        self._pace = Pace()
        self._wire()

    def decide(self, key: Key, now: datetime, draw: str) -> Decided | None:
        """What to do for a key; None where its object is gone, with all that was its own."""
        match key.kind:
            case names.CLUSTER:
                return self._decide(key, self._caches.clusters, DASK_CLUSTER, now, lambda m: self._cluster(key, m, now))
            case names.WORKER_GROUP:
                return self._decide(
                    key, self._caches.groups, DASK_WORKER_GROUP, now, lambda m: self._group(key, m, now, draw)
                )
            case names.JOB:
                return self._decide(key, self._caches.jobs, DASK_JOB, now, lambda m: self._job(key, m, now))
            case names.AUTOSCALER:
                return self._decide(
                    key, self._caches.autoscalers, DASK_AUTOSCALER, now, lambda m: self._autoscaler(key, m, now)
                )
        raise AssertionError(f"no controller for {key.kind}")

    def all_keys(self) -> list[Key]:
        """All resources that there are, and those that are gone and have left something."""
        caches = self._caches
        kinds = (caches.clusters, caches.groups, caches.jobs, caches.autoscalers)
        return [*(_key(cache.kind, manifest) for cache in kinds for manifest in cache.values()), *self._gone]

    def _decide(
        self,
        key: Key,
        cache: Cache,
        resource: Resource,
        now: datetime,
        plan: Callable[[Manifest], tuple[Plan, Ref | None]],
    ) -> Decided | None:
        manifest = cache.get(key.namespace, key.name)
        if manifest is None:
            self._pace.forget(key)
            return self._remains(key, resource, now)
        began = time.monotonic()
        try:
            decision, cluster = plan(manifest)
        except InvalidResource as error:
            decision, cluster = unreadable.plan(manifest, error, now), None
        self._pace.took(key, time.monotonic() - began)
        return Decided(
            resource=resource,
            ref=Ref.to(manifest, key.kind),
            generation=manifest["metadata"].get("generation", 0),
            status=manifest.get("status") or {},
            cluster=cluster,
            plan=decision,
        )

    def _remains(self, key: Key, resource: Resource, now: datetime) -> Decided | None:
        """What a worker group has left that is gone."""
        owner = self._gone.get(key)
        if owner is None:
            return None
        pods = list(self._caches.pods.by(OWNER, owner.uid))
        if not pods:
            self._forget_gone(key)
            return None
        cluster = pods[0]["metadata"]["labels"].get(names.CLUSTER_NAME, "")
        ours = self._follows(key.namespace, cluster, now)
        plan = remains.plan(owner, tuple(self._observer.left(key, pods))) if ours else NOTHING
        return Decided(resource=resource, ref=owner, generation=0, status={}, cluster=None, plan=plan)

    def _forget_gone(self, key: Key) -> None:
        if (owner := self._gone.pop(key, None)) is not None:
            self._owners.pop(owner.uid or "", None)

    def _cluster(self, key: Key, manifest: Manifest, now: datetime) -> tuple[Plan, Ref | None]:
        answer = self._not_ours(manifest, now)
        if answer is not None:
            return answer, None
        cluster = Cluster.from_manifest(manifest)
        return cluster_plan.plan(cluster, self._observer.cluster(key, cluster), now), cluster.head.ref

    def _group(self, key: Key, manifest: Manifest, now: datetime, draw: str) -> tuple[Plan, Ref | None]:
        if not self._follows(key.namespace, spec_cluster(manifest), now):
            return NOTHING, None
        group = WorkerGroup.from_manifest(manifest)
        observed = self._observer.group(key, group, now, draw)
        return group_plan.plan(group, observed, now), None if observed.home is None else observed.home.ref

    def _autoscaler(self, key: Key, manifest: Manifest, now: datetime) -> tuple[Plan, Ref | None]:
        if not self._follows(key.namespace, spec_cluster(manifest), now):
            return NOTHING, None
        autoscaler = Autoscaler.from_manifest(manifest)
        observed = self._observer.autoscaler(key, autoscaler)
        made = autoscaler_plan.plan(autoscaler, observed, self._max_workers, now)
        return made, None if observed.home is None else observed.home.ref

    def _job(self, key: Key, manifest: Manifest, now: datetime) -> tuple[Plan, Ref | None]:
        answer = self._not_ours(manifest, now)
        if answer is not None:
            return answer, None
        job = Job.from_manifest(manifest)
        return job_plan.plan(job, self._observer.job(key, job), now), None

    def _follows(self, namespace: str, name: str | None, now: datetime) -> bool:
        """Whether what belongs to a cluster of that name is ours; taking over is the cluster's own pass.

        Asked before a resource is read: who cannot read it, and does not serve it, has nothing to say about it.
        """
        cluster = self._caches.clusters.get(namespace, name or "")
        if cluster is None:
            return self._me == names.DEPLOYED
        return self._verdict(cluster, now) is Verdict.SERVE

    def _not_ours(self, manifest: Manifest, now: datetime) -> Plan | None:
        """What to do about a cluster or a job that is not ours to serve; None for one that is."""
        verdict = self._verdict(manifest, now)
        if verdict is Verdict.SERVE:
            return None
        lease = self._lease(manifest, now)
        if verdict is Verdict.TAKE_OVER and lease is not None:
            return Plan(actions=(ownership.take_over(lease, now),))
        if self._me != names.DEPLOYED or names.embedded_identity(_managed_by(manifest)) is None:
            return NOTHING
        due = self._missing_until(manifest, now) if lease is None else lease.expires
        return Plan(wake_at=due if due > now else None)

    def _verdict(self, manifest: Manifest, now: datetime) -> Verdict:
        lease = self._lease(manifest, now)
        until = self._missing_until(manifest, now)
        return ownership.judge(_managed_by(manifest), lease, self._me, now, missing_until=until)

    def _lease(self, manifest: Manifest, now: datetime) -> LeaseSeen | None:
        """The embedded operator's Lease, its end counted from when this process saw its last renewal."""
        identity = names.embedded_identity(_managed_by(manifest))
        lease = self._caches.leases.get(manifest["metadata"]["namespace"], names.embedded_lease(identity or ""))
        if identity is None or lease is None:
            return None
        spec = lease.get("spec") or {}
        _, seen = self._renewals.get(lease["metadata"]["uid"], (None, time.monotonic()))
        left = spec.get("leaseDurationSeconds", 0) - (time.monotonic() - seen)
        return LeaseSeen(
            ref=Ref.to(lease, "Lease"), holder=spec.get("holderIdentity") or "", expires=now + timedelta(seconds=left)
        )

    def _missing_until(self, manifest: Manifest, now: datetime) -> datetime:
        """Where somebody deleted it, its holder goes on until it notices, and makes it anew."""
        lease = names.embedded_lease(names.embedded_identity(_managed_by(manifest)) or "")
        made = moment(manifest["metadata"]["creationTimestamp"]) + self._lease_may_come
        left = self._vanished.get((manifest["metadata"]["namespace"], lease), 0.0) - time.monotonic()
        return max(made, now + timedelta(seconds=left))

    def _wire(self) -> None:
        self._caches.clusters.on(self._on_cluster)
        self._caches.groups.on(self._on_group)
        self._caches.jobs.on(lambda old, new: self._on_resource(names.JOB, old, new))
        self._caches.autoscalers.on(self._on_autoscaler)
        self._caches.pods.on(self._on_child("Pod"))
        self._caches.services.on(self._on_child("Service"))
        self._caches.leases.on(self._on_lease)
        self._caches.nodes.on(self._on_node)
        self._caches.budgets.on(self._on_child(DISRUPTION_BUDGET.kind))

    def _on_cluster(self, old: Manifest | None, new: Manifest | None) -> None:
        self._on_resource(names.CLUSTER, old, new)
        self._on_child(names.CLUSTER)(old, new)
        cluster = new or old or {}
        if old is None or new is None or _going(old) != _going(new):
            self._wake_followers(cluster["metadata"]["namespace"], cluster["metadata"]["name"])

    def _on_group(self, old: Manifest | None, new: Manifest | None) -> None:
        self._on_resource(names.WORKER_GROUP, old, new)
        self._on_child(names.WORKER_GROUP)(old, new)
        if old is None or new is None or old["metadata"]["generation"] != new["metadata"]["generation"]:
            group = new or old or {}
            self._wake(self._caches.autoscalers, group["metadata"]["namespace"], spec_cluster(group) or "")

    def _on_autoscaler(self, old: Manifest | None, new: Manifest | None) -> None:
        self._on_resource(names.AUTOSCALER, old, new)
        if old is None or new is None or _going(old) != _going(new):
            # Another one may be the first now, and the cluster's own count flows only while there is none.
            autoscaler = new or old or {}
            self._wake_cluster(autoscaler["metadata"]["namespace"], spec_cluster(autoscaler) or "")

    def _on_resource(self, kind: str, old: Manifest | None, new: Manifest | None) -> None:
        key = _key(kind, new or old or {})
        self._forget_gone(key)
        if new is not None:
            self._expectations.are_of(key, new["metadata"]["uid"])
            self._owners[new["metadata"]["uid"]] = key
        elif old is not None and self._has_pods(kind, old["metadata"]["uid"]):
            self._gone[key] = replace(Ref.to(old, kind), version=None)
        elif old is not None:
            self._owners.pop(old["metadata"]["uid"], None)
        self._queue.add(key)

    def _has_pods(self, kind: str, uid: str) -> bool:
        return kind == names.WORKER_GROUP and any(True for _ in self._caches.pods.by(OWNER, uid))

    def _on_child(self, kind: str) -> Callable[[Manifest | None, Manifest | None], None]:
        """An object that a resource made: its expectation is met, and the resource is looked at again."""

        def on_change(old: Manifest | None, new: Manifest | None) -> None:
            child = new or old or {}
            key = self._owners.get(metadata.controller_uid(child) or "")
            if key is not None:
                if new is not None:
                    self._expectations.seen(key, kind, new["metadata"]["name"])
                if new is None or _going(new):
                    self._expectations.seen_leaving(key, child["metadata"]["uid"])
                if new is None and key in self._gone and not self._has_pods(key.kind, self._gone[key].uid or ""):
                    self._forget_gone(key)
                self._queue.add_after(key, self._patience(key, old, new))
            if new is None:
                self._wake_heirs(child)
            if kind == "Pod" and _is_scheduler(child):
                # Its cluster's workers may start, or be asked about, now.
                self._wake_followers(
                    child["metadata"]["namespace"], child["metadata"]["labels"].get(names.CLUSTER_NAME)
                )

        return on_change

    def _wake_heirs(self, child: Manifest) -> None:
        """A name is free: a cluster or a job may wait for it, whoever had it."""
        meta, labels = child["metadata"], child["metadata"].get("labels") or {}
        if labels.get(names.COMPONENT) != names.Component.WORKER:
            for heir in names.may_be_of(meta["name"]):
                self._queue.add(Key(names.CLUSTER, meta["namespace"], heir))
                self._queue.add(Key(names.JOB, meta["namespace"], heir))

    def _patience(self, key: Key, old: Manifest | None, new: Manifest | None) -> float:
        """Seconds until the pass of a child's owner: a worker that starts is news for the status alone."""
        if key.kind != names.WORKER_GROUP:
            return 0.0
        if key in self._gone:
            return REMAINS
        return self._pace.wait(key) if new is not None and starts(old, new) else COALESCE

    def _on_node(self, old: Manifest | None, new: Manifest | None) -> None:
        """Those that are on it may have to leave, or need not any more."""
        if nodes.leaves(old) != nodes.leaves(new):
            for pod in self._caches.pods.by(NODE_NAME, (new or old or {})["metadata"]["name"]):
                if (key := self._owners.get(metadata.controller_uid(pod) or "")) is not None:
                    self._queue.add(key)

    def _wake_followers(self, namespace: str, cluster: str, after: float = 0.0) -> None:
        """The groups and autoscalers of a cluster."""
        self._wake(self._caches.groups, namespace, cluster, after)
        self._wake(self._caches.autoscalers, namespace, cluster, after)

    def _wake(self, cache: Cache, namespace: str, cluster: str, after: float = 0.0) -> None:
        for each in cache.by(CLUSTER, (namespace, cluster)):
            self._queue.add_after(_key(cache.kind, each), after)

    def _on_lease(self, old: Manifest | None, new: Manifest | None) -> None:
        lease = new or old or {}
        meta, spec = lease["metadata"], lease.get("spec") or {}
        state = (spec.get("holderIdentity"), spec.get("renewTime"))
        if new is None:
            _, renewed = self._renewals.pop(meta["uid"], (None, 0.0))
            if state[0] not in (None, "", names.DEPLOYED):
                self._vanishes(meta, renewed + spec.get("leaseDurationSeconds", 0))
        elif self._renewals.get(meta["uid"], (None, 0.0))[0] != state:
            self._renewals[meta["uid"]] = (state, time.monotonic())
        if old is None or new is None or (old.get("spec") or {}).get("holderIdentity") != state[0]:
            self._wake_cluster(meta["namespace"], meta["labels"].get(names.LEASE_FOR, ""))

    def _vanishes(self, lease: Manifest, until: float) -> None:
        now = time.monotonic()
        self._vanished = {name: moment for name, moment in self._vanished.items() if moment > now}
        self._vanished[lease["namespace"], lease["name"]] = until
        self._wake_cluster(lease["namespace"], lease["labels"].get(names.LEASE_FOR, ""), after=until - now)

    def _wake_cluster(self, namespace: str, name: str, after: float = 0.0) -> None:
        for kind in (names.CLUSTER, names.JOB):
            self._queue.add_after(Key(kind, namespace, name), after)
        self._wake_followers(namespace, name, after)


def _key(kind: str, manifest: Manifest) -> Key:
    return Key(kind, manifest["metadata"].get("namespace", ""), manifest["metadata"]["name"])


def _going(manifest: Manifest) -> bool:
    return "deletionTimestamp" in manifest["metadata"]


def _is_scheduler(pod: Manifest) -> bool:
    labels: dict[str, Any] = pod["metadata"].get("labels") or {}
    return labels.get(names.COMPONENT) == names.Component.SCHEDULER


def _managed_by(manifest: Manifest) -> str | None:
    spec = manifest.get("spec")
    found = spec.get("managedBy") if isinstance(spec, dict) else None
    return found if isinstance(found, str) else None
