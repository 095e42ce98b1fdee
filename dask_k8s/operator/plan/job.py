"""DaskJob: a cluster and a runner, asked for together; the runner's end is the job's, and takes the cluster away.

The word for the end is written before anything is done about it, and is final: what is seen later, or seen again, does
not change it. A runner that is lost before its end was seen is made again.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Any

from dask_k8s import metadata, names
from dask_k8s.kinds.fields import Fields
from dask_k8s.kinds.job import Job
from dask_k8s.kinds.value import Manifest
from dask_k8s.manifests.job import job_cluster, runner_pod
from dask_k8s.operator.actions import NOTHING, Action, Create, Delete, Plan
from dask_k8s.operator.observed import Presence
from dask_k8s.operator.observed_job import Ending, ObservedJob
from dask_k8s.operator.plan import conditions, job_conditions, leftovers
from dask_k8s.operator.plan.attempts import Attempts


class JobStatus(StrEnum):
    """The peer's five words, in the order in which a job goes through them."""

    JOB_CREATED = "JobCreated"
    CLUSTER_CREATED = "ClusterCreated"
    RUNNING = "Running"
    SUCCESSFUL = "Successful"
    FAILED = "Failed"


_ORDER = list(JobStatus)
ENDS = {Ending.SUCCEEDED: JobStatus.SUCCESSFUL, Ending.FAILED: JobStatus.FAILED}


def plan(job: Job, observed: ObservedJob, now: datetime) -> Plan:
    """What brings the job nearer to its end, or what its end leaves to do."""
    if job.head.deleting:
        return NOTHING
    before = _known(job)
    word = _word(before, observed)
    ended = word in ENDS.values()
    attempts = Attempts.read(job.status)
    after = attempts if ended else attempts.after(observed, now)
    edited = begun_as(job) not in (None, fingerprint(job))
    wanted = job_conditions.of_job(
        job, observed, after, now, edited=edited, ended=ended, ends_now=ended and word is not before
    )
    actions = _clean_up(observed) if ended else _actions(job, observed, after, now, edited=edited)
    return Plan(
        status=_status(job, observed, word, after, wanted, now),
        events=(*conditions.changes(job.status, wanted), *job_conditions.another_loss(job, after, wanted)),
        actions=tuple(actions),
        urgent=word is not before or after != attempts,
        wake_at=min(_deadlines(observed, after, now), default=None),
    )


def begun_as(job: Job) -> str | None:
    """The fingerprint of what the job began with; None before its first pass."""
    return Fields(job.status, "status").text_or_none("begunAs")


def fingerprint(job: Job) -> str:
    """Tells one version of what is Kubernetes' own from another.

    The API server refuses edits of a job that has begun, and cannot compare everything: of the fields that a schema
    leaves open it overlooks those that only one side has. Our own fields are left out: a later release may give them
    new defaults, which are no edit.
    """
    scheduler = job.cluster.scheduler
    return metadata.template_hash(
        {
            "runner": job.runner.spec,
            "worker": job.cluster.worker.template.spec,
            "scheduler": scheduler.template.spec,
            "service": scheduler.service,
        }
    )


def _known(job: Job) -> JobStatus | None:
    word = Fields(job.status, "status").text_or_none("jobStatus")
    return JobStatus(word) if word in list(JobStatus) else None


def _word(before: JobStatus | None, observed: ObservedJob) -> JobStatus:
    """The furthest that the job has come: never back, and nothing after an end."""
    if before in ENDS.values():
        assert before is not None
        return before
    runner, cluster = observed.runner, observed.cluster
    seen = JobStatus.JOB_CREATED
    if runner is not None and runner.ending in ENDS:
        return ENDS[runner.ending]
    if cluster is not None and cluster.ours:
        seen = JobStatus.CLUSTER_CREATED
    if runner is not None and runner.started is not None:
        seen = JobStatus.RUNNING
    return max((word for word in (before, seen) if word is not None), key=_ORDER.index)


def _actions(job: Job, observed: ObservedJob, attempts: Attempts, now: datetime, *, edited: bool) -> Iterator[Action]:
    """Cluster and runner, both in one pass; the cluster first, since a refused one makes a runner useless."""
    if observed.runner is not None and observed.runner.ending is Ending.LOST:
        yield Delete(target=observed.runner.ref)
    if edited:
        return  # a program that nobody began must not take the place of the one that was lost
    if observed.cluster_presence is Presence.ABSENT and not _hindered(observed, names.CLUSTER, now):
        yield Create(manifest=job_cluster(job))
    # A program must not come to work in a cluster of the same name that is somebody else's.
    taken = observed.cluster is not None and not observed.cluster.ours
    waits = taken or _hindered(observed, names.CLUSTER, now) or attempts.next_at(now) is not None
    if observed.runner_presence is Presence.ABSENT and not waits and not _hindered(observed, "Pod", now):
        yield Create(manifest=runner_pod(job))


def _hindered(observed: ObservedJob, kind: str, now: datetime) -> bool:
    return any(refusal.hinders(kind, now) for refusal in observed.refusals)


def _clean_up(observed: ObservedJob) -> Iterator[Action]:
    """The runner and its log stay; the cluster goes."""
    if observed.cluster is not None and observed.cluster.ours and not observed.cluster.leaving:
        yield Delete(target=observed.cluster.ref)


def _status(
    job: Job,
    observed: ObservedJob,
    word: JobStatus,
    attempts: Attempts,
    wanted: list[conditions.Condition],
    now: datetime,
) -> dict[str, Any]:
    name = job.head.ref.name
    return {
        "observedGeneration": job.head.generation,
        "jobStatus": word.value,
        "jobRunnerPodName": names.job_runner(name),
        "clusterName": names.job_cluster(name),
        "begunAs": begun_as(job) or fingerprint(job),
        **_times(job.status, observed, word, now),
        **attempts.written(),
        "conditions": conditions.merged(job.status, wanted, now, generation=job.head.generation),
    }


def _times(status: Manifest, observed: ObservedJob, word: JobStatus, now: datetime) -> dict[str, str]:
    """When the first program began, and when the last one ended; written once."""
    known, runner = Fields(status, "status"), observed.runner
    start, end = known.text_or_none("startTime"), known.text_or_none("endTime")
    if start is None and runner is not None and runner.started is not None:
        start = conditions.timestamp(runner.started)
    if end is None and word in ENDS.values():
        end = conditions.timestamp(now if runner is None or runner.ended is None else runner.ended)
    return {key: text for key, text in (("startTime", start), ("endTime", end)) if text is not None}


def _deadlines(observed: ObservedJob, attempts: Attempts, now: datetime) -> Iterator[datetime]:
    due = attempts.next_at(now)
    candidates = [refusal.retry_at for refusal in observed.refusals] + ([] if due is None else [due])
    candidates += leftovers.deadlines(observed.leftovers)
    yield from (moment for moment in candidates if moment > now)
