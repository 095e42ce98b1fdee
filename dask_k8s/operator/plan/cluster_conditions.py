"""What a cluster's conditions say, and why."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from dask_k8s.kinds.cluster import Cluster
from dask_k8s.kinds.fields import Fields
from dask_k8s.manifests import container
from dask_k8s.operator.observed import ObservedCluster, Phase, SchedulerPod
from dask_k8s.operator.plan import leftovers
from dask_k8s.operator.plan.conditions import SOUND, Condition, Type, degraded, kept, timestamp, troubled
from dask_k8s.operator.plan.group_conditions import shell_note


def of_cluster(cluster: Cluster, observed: ObservedCluster, now: datetime) -> list[Condition]:
    """All conditions of a cluster, always in the same order."""
    return [
        _scheduler_ready(observed),
        _workers_ready(cluster, observed),
        _progressing(observed),
        next(_troubles(observed, now), SOUND),
        *_state_lost(cluster, observed.scheduler, now),
        *_notes(cluster, observed),
    ]


def _scheduler_ready(observed: ObservedCluster) -> Condition:
    scheduler = observed.scheduler
    ready = scheduler is not None and scheduler.phase is Phase.READY
    words = {
        Phase.PENDING: ("Starting", "The scheduler's Pod is starting."),
        Phase.RUNNING: ("NotReady", "The scheduler's Pod runs, and its probe does not say yet that it is ready."),
        Phase.READY: ("Ready", "The scheduler is ready."),
        Phase.ENDED: ("Ended", "The scheduler's Pod ended and is made again."),
        Phase.LEAVING: ("Leaving", "The scheduler's Pod is being deleted and is made again once it is gone."),
    }
    reason, message = ("Missing", "The scheduler's Pod is not there yet.")
    if scheduler is not None:
        reason, message = words.get(scheduler.phase, (reason, message))
    elif waits := leftovers.waited_for(observed.leftovers, "Pod"):
        reason, message = leftovers.REASON, f"The scheduler's Pod waits for its name. {waits}"
    return Condition(type=Type.SCHEDULER_READY, holds=ready, reason=reason, message=message)


def _workers_ready(cluster: Cluster, observed: ObservedCluster) -> Condition:
    """Of the default group, as the cluster's counts are."""
    group = observed.group
    asked = cluster.spec.worker.replicas if group is None else group.replicas
    ready = 0 if group is None else Fields(group.status, "status").count("readyReplicas", 0)
    holds = group is not None and ready >= asked
    return Condition(
        type=Type.WORKERS_READY,
        holds=holds,
        reason="AllReady" if holds else "NotAllReady",
        message=f"{ready} of {asked} workers of the default group are ready.",
    )


def _progressing(observed: ObservedCluster) -> Condition:
    group = next(iter(() if observed.group is None else kept(observed.group.status, Type.PROGRESSING)), None)
    if observed.scheduler is None or observed.scheduler.phase is not Phase.READY:
        reason, message = "SchedulerStarting", "The scheduler is not ready yet."
    elif group is None:
        reason, message = "WorkersStarting", "The workers are starting."
    elif group.holds:
        reason, message = group.reason, group.message
    else:
        reason, message = "Settled", ""
    return Condition(type=Type.PROGRESSING, holds=reason != "Settled", reason=reason, message=message)


def _troubles(observed: ObservedCluster, now: datetime) -> Iterator[Condition]:
    """What stands in the way, the gravest first; the default group's trouble is the cluster's too."""
    for refusal in observed.refusals:
        yield degraded(refusal.reason, refusal.message)
    yield from leftovers.troubles(observed.leftovers, now)
    if observed.scheduler is not None and observed.scheduler.trouble is not None:
        trouble = observed.scheduler.trouble
        yield degraded(trouble.cause.value, f"{trouble.sentence} {trouble.mend}")
    if observed.group is not None:
        yield from troubled(observed.group.status)


def _state_lost(cluster: Cluster, scheduler: SchedulerPod | None, now: datetime) -> Iterator[Condition]:
    """A scheduler that began anew has forgotten tasks and data: told once it happened, and kept."""
    known = Fields(cluster.status, "status").inner_or_empty("scheduler")
    runs = scheduler is not None and scheduler.phase in (Phase.RUNNING, Phase.READY)
    lost = scheduler is not None and runs and known.has("uid") and is_another(known, scheduler)
    if lost:
        message = f"The scheduler began anew at {timestamp(now)}: what it knew of tasks and data is gone."
        yield Condition(type=Type.SCHEDULER_STATE_LOST, holds=True, reason="SchedulerRestarted", message=message)
    else:
        yield from kept(cluster.status, Type.SCHEDULER_STATE_LOST)


def is_another(known: Fields, scheduler: SchedulerPod) -> bool:
    """Whether this is not the scheduler process that the status speaks of."""
    return (known.text_or_none("uid"), known.count("restarts", 0)) != (scheduler.ref.uid, scheduler.restarts)


def _notes(cluster: Cluster, observed: ObservedCluster) -> Iterator[Condition]:
    if cluster.spec.scheduler.disruption_budget and observed.budget_presence is None:
        message = "The operator may not watch PodDisruptionBudgets: nothing keeps the scheduler from eviction."
        yield Condition(type=Type.BUDGET_MISSING, holds=True, reason="MayNotLook", message=message)
    hidden = [container.hidden_in_shell(each) for each in cluster.spec.scheduler.template.spec["containers"]]
    if name := next(filter(None, hidden), None):
        yield shell_note(name)
