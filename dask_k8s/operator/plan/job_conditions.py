"""What a job's conditions say, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from dask_k8s import names
from dask_k8s.kinds.job import Job
from dask_k8s.operator.actions import Create, Event
from dask_k8s.operator.observed import Phase, Presence
from dask_k8s.operator.observed_job import Ending, ObservedJob, Runner
from dask_k8s.operator.plan import leftovers
from dask_k8s.operator.plan.attempts import DELETED, Attempts
from dask_k8s.operator.plan.conditions import SOUND, Condition, Type, degraded, kept, timestamp, troubled


def of_job(
    job: Job,
    observed: ObservedJob,
    attempts: Attempts,
    now: datetime,
    *,
    edited: bool,
    ended: bool,
    ends_now: bool,
) -> list[Condition]:
    """All conditions of a job, always in the same order.

    Parameters
    ----------
    edited
        Whether what the job began with has been changed since.
    ended, ends_now
        Whether the job has come to its end, and whether this is the pass that sees it first.
    """
    end = _end(observed.runner) if ends_now else [*kept(job.status, Type.COMPLETE, Type.FAILED)]
    progressing = _clean_up(observed) if ended else _progress(observed, attempts, now)
    return [
        *end,
        progressing,
        next(_troubles(job, observed, attempts, now, edited=edited, ended=ended), SOUND),
        *_restarted(job, observed.runner, attempts),
        *_replaced(job, attempts, ended=ended),
    ]


def _end(runner: Runner | None) -> list[Condition]:
    assert runner is not None
    if runner.ending is Ending.SUCCEEDED:
        message = f"The runner {runner.ref.name} succeeded."
        return [Condition(type=Type.COMPLETE, holds=True, reason="RunnerSucceeded", message=message)]
    message = f"The runner {runner.ref.name} failed: {runner.why}"
    return [Condition(type=Type.FAILED, holds=True, reason="RunnerFailed", message=message)]


def _clean_up(observed: ObservedJob) -> Condition:
    there = observed.cluster is not None and observed.cluster.ours
    reason, message = ("CleaningUp", "The cluster is being deleted.") if there else ("Finished", "")
    return Condition(type=Type.PROGRESSING, holds=there, reason=reason, message=message)


def _progress(observed: ObservedJob, attempts: Attempts, now: datetime) -> Condition:
    reason, message = _work(observed, attempts, now)
    return Condition(type=Type.PROGRESSING, holds=True, reason=reason, message=message)


def _work(observed: ObservedJob, attempts: Attempts, now: datetime) -> tuple[str, str]:
    runner, due = observed.runner, attempts.next_at(now)
    if runner is None and due is not None:
        return "WaitingToTryAgain", f"The next runner is made at {timestamp(due)}."
    if runner is None and (waits := _waits_for(observed)):
        return leftovers.REASON, f"The runner waits. {waits}"
    if runner is None or runner.phase is Phase.PENDING:
        return "RunnerStarting", "The runner is starting."
    if runner.phase is Phase.LEAVING or runner.ending is Ending.LOST:
        return "RunnerLeaving", "The runner is going before its end, and is made again."
    if runner.waits_for:
        beside = ", ".join(runner.waits_for)
        return "WaitingForSidecars", (
            f"The runner's first container succeeded, and {beside} still runs: a job ends when all containers do. "
            "What should not be waited for belongs into initContainers with restartPolicy: Always."
        )
    return "RunnerRuns", "The runner runs."


def _waits_for(observed: ObservedJob) -> str:
    """What has the runner's name, or that of the cluster that it is to work in."""
    ours = observed.cluster is not None and observed.cluster.ours
    return leftovers.waited_for(observed.leftovers, "Pod", *(() if ours else (names.CLUSTER,)))


def _troubles(
    job: Job, observed: ObservedJob, attempts: Attempts, now: datetime, *, edited: bool, ended: bool
) -> Iterator[Condition]:
    """What stands in the way, the gravest first; the cluster's trouble is the job's too, while it needs one."""
    for refusal in observed.refusals:
        if not (ended and isinstance(refusal.action, Create)):  # nothing is made any more
            yield degraded(refusal.reason, refusal.message)
    if ended:
        return
    yield from leftovers.troubles(observed.leftovers, now)
    if edited:
        message = (
            "spec.job or spec.cluster was changed after the job had begun. What runs goes on, and nothing is made "
            "again: undo the change, or delete the job and make another one."
        )
        yield degraded("SpecChanged", message)
    if observed.runner is not None and observed.runner.trouble is not None:
        trouble = observed.runner.trouble
        yield degraded(trouble.cause.value, f"{trouble.sentence} {trouble.mend}")
    due = attempts.next_at(now)
    if due is not None and observed.runner_presence is Presence.ABSENT:
        last = next(_replaced(job, attempts, ended=False), None)
        message = f"Runners were lost within a minute of their making, {attempts.early} times in a row."
        yield degraded("RunnersLost", f"{message} {last.message if last else ''}".rstrip())
    if observed.cluster is not None and observed.cluster.ours:
        yield from troubled(observed.cluster.status)


def another_loss(job: Job, attempts: Attempts, wanted: Sequence[Condition]) -> Iterator[Event]:
    """An Event for each runner that is lost: its condition turns at the first one alone."""
    before = next(kept(job.status, Type.RUNNER_REPLACED), None)
    if before is not None and attempts.lost != Attempts.read(job.status).lost:
        yield from (
            Event(reason=each.reason, message=each.message, warning=True)
            for each in wanted
            if each.type is Type.RUNNER_REPLACED
        )


def _restarted(job: Job, runner: Runner | None, attempts: Attempts) -> Iterator[Condition]:
    """How often the kubelet started a container of it again, and why."""
    if runner is None or not runner.restarts:
        yield from kept(job.status, Type.RUNNER_RESTARTED)
        return
    times = "once" if runner.restarts == 1 else f"{runner.restarts} times"
    message = f"The kubelet started containers of the runner again, {times} so far. {attempts.failure}".rstrip()
    yield Condition(type=Type.RUNNER_RESTARTED, holds=True, reason="Restarted", message=message)


def _replaced(job: Job, attempts: Attempts, *, ended: bool) -> Iterator[Condition]:
    """That a runner was lost before its end, told in the pass that counts it, and kept."""
    before = Attempts.read(job.status)
    if ended or attempts.lost == before.lost:
        yield from kept(job.status, Type.RUNNER_REPLACED)
        return
    assert attempts.lost is not None
    message = f"A runner was lost at {timestamp(attempts.lost)} and is made again. {before.why or DELETED}"
    yield Condition(type=Type.RUNNER_REPLACED, holds=True, reason="RunnerLost", message=message)
