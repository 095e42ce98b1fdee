"""What a worker group's conditions say, and why."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from dask_k8s.kinds.worker_group import WorkerGroup
from dask_k8s.manifests import container
from dask_k8s.operator.observed import Drain, Drained, ObservedGroup, Phase, Silent, Worker
from dask_k8s.operator.plan.conditions import SOUND, Condition, Type, degraded, size, timestamp
from dask_k8s.operator.plan.leavers import Choice, given_up_at
from dask_k8s.operator.plan.replacement import EarlyEnds

STALLED = timedelta(seconds=60)
"""A single value of some gigabytes may take that long."""


def of_group(
    group: WorkerGroup, observed: ObservedGroup, choice: Choice, ends: EarlyEnds, now: datetime
) -> list[Condition]:
    """All conditions of a group, always in the same order."""
    degraded = next(_troubles(group, observed, choice, ends, now), SOUND)
    return [_ready(group, observed), _progressing(group, observed, choice), degraded, *_notes(group, observed)]


def _ready(group: WorkerGroup, observed: ObservedGroup) -> Condition:
    """Ready means what the kubelet means by it: a worker without a readiness probe is ready when its containers run."""
    ready = sum(worker.stays and worker.phase is Phase.READY for worker in observed.workers)
    asked = group.worker.replicas
    holds = ready >= asked
    return Condition(
        type=Type.WORKERS_READY,
        holds=holds,
        reason="AllReady" if holds else "NotAllReady",
        message=f"{ready} of {asked} workers are ready.",
    )


def _progressing(group: WorkerGroup, observed: ObservedGroup, choice: Choice) -> Condition:
    reason, message = _work(group, observed, choice)
    return Condition(type=Type.PROGRESSING, holds=reason != "Settled", reason=reason, message=message)


def _work(group: WorkerGroup, observed: ObservedGroup, choice: Choice) -> tuple[str, str]:
    if observed.home is None:
        return "WaitingForCluster", f"Waiting for the DaskCluster {group.cluster}."
    if message := _leaving(observed, choice):
        return "Draining", message
    starting = group.worker.replicas - sum(w.stays and w.phase is Phase.READY for w in observed.workers)
    if starting > 0 and not observed.home.scheduled:
        return "WaitingForScheduler", "Workers start as soon as the scheduler's Pod has a node."
    if starting > 0:
        return "Starting", f"{starting} workers are starting."
    return "Settled", ""


def _leaving(observed: ObservedGroup, choice: Choice) -> str:
    """How many leave, and how far they are; empty where nobody does."""
    marked = [worker for worker in observed.workers if worker.retiring_since]
    chosen = frozenset(each.ref for each in (*marked, *choice.empty, *choice.leaving)).difference(
        each.ref for each in choice.back
    )
    undecided = f" {choice.undecided} more have to go, once it is known which." if choice.undecided else ""
    if not chosen:
        return undecided.strip().replace(" more have", " workers have")
    left = [worker.drained.left for worker in marked if worker.drained and worker.drained.left is not None]
    progress = f" {size(sum(left))} are still to be moved." if left else ""
    waiting = sum(worker.drained.waits for worker in marked if worker.drained)
    turns = f" {waiting} of them wait for their turn, since others are drained just now." if waiting else ""
    nodes = sorted({f" {worker.node_leaves}" for worker in observed.workers if worker.node_leaves and worker.here})
    return f"{len(chosen)} workers hand over their data before they go.{progress}{turns}{undecided}{''.join(nodes)}"


def _troubles(
    group: WorkerGroup, observed: ObservedGroup, choice: Choice, ends: EarlyEnds, now: datetime
) -> Iterator[Condition]:
    """What stands in the way, the gravest first."""
    if observed.home is None:
        yield degraded("ClusterNotFound", f"There is no DaskCluster {group.cluster} in this namespace.")
    for refusal in observed.refusals:
        yield degraded(refusal.reason, refusal.message)
    troubles = [worker.trouble for worker in observed.workers if worker.trouble is not None]
    if (due := ends.replace_at(now)) is not None:
        message = f"Workers ended within a minute of their start, {ends.count} times in a row; the next begin at "
        why = f" {troubles[0].sentence}" if troubles else ""
        yield degraded("WorkersEnd", f"{message}{timestamp(due)}.{why}")
    for trouble in troubles:
        yield degraded(trouble.cause.value, f"{trouble.sentence} {trouble.mend}")
    for worker in observed.workers:
        if worker.here and (worker.retiring_since or choice.undecided or worker in choice.leaving):
            yield from _of_drains(worker, _goes_anyhow(group, worker), now)
    if choice.undecided and isinstance(observed.order, Silent):
        why = f"Since {timestamp(observed.order.since)}: {observed.order.why}"
        yield degraded("SchedulerSilent", f"No worker is taken away while the scheduler does not answer. {why}")


def stalls(observed: ObservedGroup) -> Iterator[datetime]:
    """When moves that stand still are told of."""
    for worker in observed.workers:
        if worker.drained is not None and worker.drained.left is not None and worker.drained.moved is not None:
            yield worker.drained.moved + STALLED


def _goes_anyhow(group: WorkerGroup, worker: Worker) -> str:
    """That nobody is to stay, and so when this one goes whatever becomes of its data."""
    if group.worker.replicas or worker.retiring_since is None:
        return ""
    until = given_up_at(worker, group.worker.drain_timeout)
    return "" if until is None else f" Since 0 workers are asked for, it goes at {timestamp(until)} all the same."


def _of_drains(worker: Worker, anyhow: str, now: datetime) -> Iterator[Condition]:
    """Of the present one; and of the one before while nothing has come of the present one, so that nothing flaps."""
    if worker.drained is not None:
        yield from _of_drain(worker.ref.name, worker.drained, anyhow, now)
    if worker.refused is not None and worker.drain in (None, Drain.UNDER_WAY):
        yield from _of_drain(worker.ref.name, worker.refused, anyhow, now)


def _of_drain(name: str, drained: Drained, anyhow: str, now: datetime) -> Iterator[Condition]:
    if drained.left and drained.moved is not None and now >= drained.moved + STALLED:
        left = f"{size(drained.left)} are left, and nothing has moved since {timestamp(drained.moved)}"
        yield degraded("DrainStalled", f"Worker {name} stays until its data has moved: {left}.{anyhow}")
    if drained.state is Drain.STUCK:
        rest = "Its scheduler keeps it out of service until it is empty; another worker takes its place."
        yield degraded("WorkerStuck", f"Worker {name} stays for now: {drained.why} {rest}")
    if drained.state is Drain.REFUSED:
        yield degraded("DrainRefused", f"Worker {name} stays for now: {drained.why}{anyhow}")
    if drained.silent:
        why = drained.silent.why
        yield degraded("SchedulerSilent", f"Worker {name} stays until the scheduler answers: {why}{anyhow}")


def _notes(group: WorkerGroup, observed: ObservedGroup) -> Iterator[Condition]:
    if tasks := observed.stranded:
        count = "1 task may" if len(tasks) == 1 else f"{len(tasks)} tasks may"
        mend = "Submit them again without workers=, or with allow_other_workers=True."
        message = f"{count} run on workers alone that have left, and wait: {tasks[0]}. {mend}"
        yield Condition(type=Type.TASKS_STRANDED, holds=True, reason="WorkersHaveLeft", message=message)
    containers = group.worker.template.spec["containers"]
    if name := next(filter(None, map(container.hidden_in_shell, containers)), None):
        yield shell_note(name)
    elif not any(container.starts_a_worker(each) for each in containers):
        yield Condition(
            type=Type.COMMAND_NOT_REWRITTEN,
            holds=True,
            reason="StartNotRecognised",
            message="No container's command is 'dask worker' in plain words, so all are left alone. Workers that are "
            "started in another way hand over no data when their Pod is evicted.",
        )


def shell_note(name: str) -> Condition:
    """That a Dask program is started within a shell's text, where it is left alone."""
    sentences = [f"A shell's text starts {name}, where it is left alone."]
    if "-" in name:
        sentences.append(f"distributed dropped it in 2026.6.0: write '{name.replace('-', ' ')}'.")
    if "worker" in name:
        sentences.append("Started so, a worker hands over no data when its Pod is evicted: start it without a shell.")
    return Condition(type=Type.COMMAND_NOT_REWRITTEN, holds=True, reason="StartedInShell", message=" ".join(sentences))
