"""DaskCluster: its scheduler's Pod, the Service and the default group, each made again when it is lost."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from dask_k8s import metadata, names
from dask_k8s.kinds.cluster import Cluster
from dask_k8s.kinds.fields import Fields
from dask_k8s.manifests.disruption_budget import disruption_budget
from dask_k8s.manifests.scheduler import scheduler_pod
from dask_k8s.manifests.service import scheduler_service
from dask_k8s.manifests.worker_group import default_group
from dask_k8s.operator.actions import NOTHING, Action, Create, Delete, Patch, Plan
from dask_k8s.operator.observed import ObservedCluster, Phase, Presence
from dask_k8s.operator.plan import cluster_conditions, conditions, idleness, leftovers


def plan(cluster: Cluster, observed: ObservedCluster, now: datetime) -> Plan:
    """What brings the cluster from what there is to what it asks for."""
    if cluster.head.deleting:
        return NOTHING
    rest = idleness.of_cluster(cluster, observed, now)
    wanted = [
        *cluster_conditions.of_cluster(cluster, observed, now),
        *idleness.condition(cluster, observed, rest, now),
    ]
    return Plan(
        status=_status(cluster, observed, rest, wanted, now),
        events=conditions.changes(cluster.status, wanted),
        actions=(Delete(target=cluster.head.ref),) if rest.over else tuple(_actions(cluster, observed, now)),
        urgent=_scheduler(cluster, observed) != _known_scheduler(cluster),
        ask=frozenset(idleness.questions(cluster, rest, now)),
        wake_at=min((*_moments(observed, now), *idleness.deadlines(rest, observed, now)), default=None),
    )


def _actions(cluster: Cluster, observed: ObservedCluster, now: datetime) -> Iterator[Action]:
    yield from _missing(cluster, observed, now)
    yield from _not_wanted(cluster, observed)
    yield from _ended(observed)
    yield from _flow(cluster, observed)


def _moments(observed: ObservedCluster, now: datetime) -> Iterator[datetime]:
    """When what was refused is tried again, and when what is on its way out is late."""
    retries = (refusal.retry_at for refusal in observed.refusals)
    return (each for each in (*retries, *leftovers.deadlines(observed.leftovers)) if each > now)


def _missing(cluster: Cluster, observed: ObservedCluster, now: datetime) -> Iterator[Action]:
    """All at once: none of them waits for another."""
    parts = [
        (observed.scheduler_presence, scheduler_pod),
        (observed.service, scheduler_service),
        (observed.group_presence, default_group),
    ]
    if cluster.spec.scheduler.disruption_budget and observed.budget_presence is not None:
        parts.append((observed.budget_presence, disruption_budget))
    for presence, build in parts:
        if presence is Presence.ABSENT:
            manifest = build(cluster)
            if not any(refusal.hinders(manifest["kind"], now) for refusal in observed.refusals):
                yield Create(manifest=manifest)


def _not_wanted(cluster: Cluster, observed: ObservedCluster) -> Iterator[Action]:
    """A budget that was asked for once."""
    there = observed.budget_presence is Presence.THERE
    if observed.budget is not None and there and not cluster.spec.scheduler.disruption_budget:
        yield Delete(target=observed.budget)


def _ended(observed: ObservedCluster) -> Iterator[Action]:
    """A scheduler's Pod that will not run again makes room for another."""
    if observed.scheduler is not None and observed.scheduler.phase is Phase.ENDED:
        yield Delete(target=observed.scheduler.ref)


def _flow(cluster: Cluster, observed: ObservedCluster) -> Iterator[Action]:
    """The cluster's count goes to its default group only when it changed since it last went there.

    So that ``kubectl scale daskworkergroup`` holds. Count and annotation are one patch, with the version as
    precondition. While an autoscaler exists the annotation moves and the count, which is the autoscaler's, does not.
    """
    group, asked = observed.group, cluster.spec.worker.replicas
    if group is not None and group.flowed != asked:
        remembered = {"metadata": {"annotations": {names.REPLICAS_FROM_CLUSTER: str(asked)}}}
        count = {} if observed.autoscaled else {"spec": {"worker": {"replicas": asked}}}
        yield Patch(target=group.ref, patch={**remembered, **count})


def _status(
    cluster: Cluster,
    observed: ObservedCluster,
    rest: idleness.Idleness,
    wanted: list[conditions.Condition],
    now: datetime,
) -> dict[str, Any]:
    ref = cluster.head.ref
    group = Fields({} if observed.group is None else observed.group.status, "status")
    return {
        "observedGeneration": cluster.head.generation,
        "phase": _phase(observed),
        "replicas": group.count("replicas", 0),
        "readyReplicas": group.count("readyReplicas", 0),
        "selector": metadata.selector(metadata.worker_labels(ref.name, names.default_group(ref.name))),
        "schedulerAddress": names.scheduler_address(ref.name, ref.namespace),
        "dashboardAddress": f"http://{names.scheduler_service(ref.name)}.{ref.namespace}.svc:{names.DASHBOARD_PORT}",
        **_scheduler(cluster, observed),
        **_start_time(cluster, observed, now),
        **rest.written(),
        "conditions": conditions.merged(cluster.status, wanted, now, generation=cluster.head.generation),
    }


def _phase(observed: ObservedCluster) -> str:
    """The peer's four words: ``Running`` when the scheduler is ready, ``Error`` where waiting cannot help."""
    scheduler = observed.scheduler
    if scheduler is None:
        return "Created"
    if scheduler.phase is Phase.READY:
        return "Running"
    return "Error" if scheduler.trouble is not None and scheduler.trouble.final else "Pending"


def _scheduler(cluster: Cluster, observed: ObservedCluster) -> dict[str, Any]:
    """Which scheduler process the status speaks of: another one means that state was lost."""
    scheduler = observed.scheduler
    if scheduler is None or scheduler.phase not in (Phase.RUNNING, Phase.READY):
        return _known_scheduler(cluster)
    return {"scheduler": {"uid": scheduler.ref.uid, "restarts": scheduler.restarts}}


def _known_scheduler(cluster: Cluster) -> dict[str, Any]:
    known = cluster.status.get("scheduler")
    return {"scheduler": known} if known else {}


def _start_time(cluster: Cluster, observed: ObservedCluster, now: datetime) -> dict[str, str]:
    known = Fields(cluster.status, "status").text_or_none("startTime")
    ready = observed.scheduler is not None and observed.scheduler.phase is Phase.READY
    if known is None and not ready:
        return {}
    return {"startTime": known or conditions.timestamp(now)}
