"""A cluster without work goes: ``spec.idleTimeout``, counted from what its scheduler says, across restarts of ours.

The scheduler marks each of its rests. The mark stands in the cluster's status beside the time at which we saw it first,
by our own clock: the same mark later means that nothing was done in between, whoever looked. A scheduler that does not
answer is not an idle one, and one that is not ready is not asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from dask_k8s import names
from dask_k8s.kinds.cluster import Cluster
from dask_k8s.kinds.fields import Fields
from dask_k8s.kinds.value import value
from dask_k8s.metadata import controller_of
from dask_k8s.operator.actions import Ask, Question
from dask_k8s.operator.observed import Known, ObservedCluster, Phase, Silent
from dask_k8s.operator.plan.conditions import Condition, Type, timestamp

OFTEN = 1.0
"""Seconds between two questions near the end of the time."""

SELDOM = (5.0, 30.0)
"""The shortest and the longest that lie between two of them far from it; in between, a thirtieth of the time: so much
later may the beginning of a rest be seen, and so the cluster go."""

NEAR = timedelta(seconds=15)
FRESH = timedelta(seconds=1.5)
"""How old the answer may be by which a cluster is deleted: who sends work in the meantime loses it. When it is asked
each second and the last answer is older, the scheduler does not answer now: it may be taking in work."""

LONGEST_WARNING = timedelta(seconds=60)


@value
class Idleness:
    """What is known of a cluster's rest.

    Parameters
    ----------
    counts
        Whether there is a time-out that holds for this cluster now.
    since
        When its present rest began by our clock; None while it works.
    mark
        The scheduler's mark of that rest.
    ends
        When its time is over.
    over
        Whether it is to be deleted.
    """

    counts: bool
    since: datetime | None = None
    mark: str | None = None
    ends: datetime | None = None
    over: bool = False

    def written(self) -> dict[str, str]:
        """For a cluster's status; nothing while it works."""
        if self.since is None or self.mark is None:
            return {}
        return {"idleSince": timestamp(self.since), "idleMark": self.mark}


def of_cluster(cluster: Cluster, observed: ObservedCluster, now: datetime) -> Idleness:
    """How a cluster's rest stands."""
    timeout = timedelta(seconds=cluster.spec.idle_timeout)
    if not timeout or serves_job(cluster):
        return Idleness(counts=False)
    counts = observed.scheduler is not None and observed.scheduler.phase is Phase.READY
    since, mark = _rest(cluster, observed)
    if since is None:
        return Idleness(counts=counts)
    ends = since + timeout
    heard = observed.idle
    after_its_end = isinstance(heard, Known) and ends <= heard.at and timedelta() <= now - heard.at <= FRESH
    return Idleness(counts=counts, since=since, mark=mark, ends=ends, over=counts and after_its_end)


def questions(cluster: Cluster, idleness: Idleness, now: datetime) -> Iterator[Question]:
    """What the scheduler is asked, and how often."""
    if idleness.counts:
        far = idleness.ends is None or now < idleness.ends - NEAR
        seldom = min(SELDOM[1], max(SELDOM[0], cluster.spec.idle_timeout / 30))
        yield Question(ask=Ask.IDLE, every=seldom if far else OFTEN)


def deadlines(idleness: Idleness, observed: ObservedCluster, now: datetime) -> Iterator[datetime]:
    """The moments at which there is something new to say or do; what a silent scheduler says comes by itself."""
    if idleness.counts and idleness.ends is not None and idleness.since is not None:
        moments = (idleness.ends - NEAR, warns_at(idleness), idleness.ends)
        yield from (moment for moment in moments if moment is not None and moment > now)
        if now >= idleness.ends and isinstance(observed.idle, Known) and not observed.refusals:
            yield now + timedelta(seconds=OFTEN)


def warns_at(idleness: Idleness) -> datetime | None:
    """When the coming end is announced: a minute before it, or at half of a shorter time."""
    if idleness.ends is None or idleness.since is None:
        return None
    return idleness.ends - min(LONGEST_WARNING, (idleness.ends - idleness.since) / 2)


def condition(cluster: Cluster, observed: ObservedCluster, idleness: Idleness, now: datetime) -> Iterator[Condition]:
    """That the cluster goes soon, or why the time does not count."""
    timeout = cluster.spec.idle_timeout
    if timeout and serves_job(cluster):
        message = (
            "spec.idleTimeout does not count while the cluster's DaskJob runs; the cluster goes with the job's end."
        )
        yield Condition(type=Type.IDLE, holds=False, reason="ServesJob", message=message)
    elif idleness.counts and isinstance(observed.idle, Silent):
        message = (
            f"Whether the cluster is idle is not known since {timestamp(observed.idle.since)}: {observed.idle.why}"
        )
        yield Condition(type=Type.IDLE, holds=False, reason="SchedulerSilent", message=message)
    elif idleness.over and idleness.since is not None:
        message = f"Without work since {timestamp(idleness.since)}: deleted after {timeout} s (spec.idleTimeout)."
        yield Condition(type=Type.IDLE, holds=True, reason="IdleTimeout", message=message)
    elif idleness.counts and (warning := warns_at(idleness)) is not None and now >= warning:
        assert idleness.since is not None
        assert idleness.ends is not None
        message = (
            f"Without work since {timestamp(idleness.since)}: unless work comes, the cluster is deleted at "
            f"{timestamp(idleness.ends)} (spec.idleTimeout)."
        )
        yield Condition(type=Type.IDLE, holds=True, reason="IdleTimeoutSoon", message=message)


def serves_job(cluster: Cluster) -> bool:
    """Whether the cluster was made for a job, whose end is its own end."""
    controller: Any = controller_of(cluster.head.owners)
    return controller is not None and controller.get("kind") == names.JOB


def _rest(cluster: Cluster, observed: ObservedCluster) -> tuple[datetime | None, str | None]:
    """Since when it rests, and the mark: as they were written before unless the scheduler says something else."""
    status = Fields(cluster.status, "status")
    since = status.moment("idleSince") if status.has("idleSince") else None
    mark = status.text_or_none("idleMark")
    if since is None or mark is None:
        since, mark = None, None
    if not isinstance(observed.idle, Known):
        return since, mark
    if observed.idle.answer is None:
        return None, None
    return (since, mark) if observed.idle.answer == mark else (observed.idle.at, observed.idle.answer)
