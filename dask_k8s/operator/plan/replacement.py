"""When a worker that ended is replaced: at once, but later and later where workers end as soon as they begin.

What must survive a restart of the operator stands in the group's status: how many generations of workers in a row ended
early, and when the last one did. Ended Pods stay until they are replaced, so that their log can be read. A worker that
somebody deletes has ended, too. Its Pod does not stay, so nothing tells how many are to be replaced: until it is time
for them, none is made.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from dask_k8s.kinds.fields import Fields
from dask_k8s.kinds.value import Manifest, value
from dask_k8s.operator.observed import ObservedGroup, Phase, Worker
from dask_k8s.operator.plan.conditions import timestamp

EARLY = timedelta(seconds=60)
"""A worker that ran for less ended early."""

WHOLE_SECOND = timedelta(seconds=1)
"""Times of Pods are no finer. Of one that is made and deleted within the very second of the last end, nobody could tell
whether it was made after that."""

FIRST_DELAY = timedelta(seconds=10)
LONGEST_DELAY = timedelta(minutes=5)


@value
class EarlyEnds:
    """How many generations of workers in a row ended early, and when the last one did.

    Parameters
    ----------
    deleted
        Whether somebody deleted workers of the last one.
    """

    count: int
    last: datetime | None
    deleted: bool = False

    @classmethod
    def read(cls, status: Manifest) -> EarlyEnds:
        """From a group's status."""
        fields = Fields(status, "status").inner_or_empty("earlyEnds")
        last = fields.moment("last") if fields.has("last") else None
        return cls(count=fields.count("count", 0), last=last, deleted=fields.flag("deleted"))

    def written(self) -> dict[str, Any]:
        """For a group's status; nothing where nothing ended early."""
        if not self.count or self.last is None:
            return {}
        deleted = {"deleted": True} if self.deleted else {}
        return {"earlyEnds": {"count": self.count, "last": timestamp(self.last), **deleted}}

    def replace_at(self, now: datetime) -> datetime | None:
        """When the ended ones are replaced; None for at once."""
        if self.count == 1 and self.deleted and self.last is not None:
            due = self.last + WHOLE_SECOND
            return due if timedelta() < due - now <= WHOLE_SECOND else None
        return next_at(self.last, self.count, now)

    def holds_all(self, now: datetime) -> bool:
        """Whether no worker at all is made for now."""
        return self.deleted and self.replace_at(now) is not None


def next_at(last: datetime | None, early: int, now: datetime) -> datetime | None:
    """When another one comes in the place of what ended early so many times in a row; None for at once.

    An end that lies far ahead was dated by a clock that has been set since: nobody waits for that day to come.
    """
    if last is None or early < 2 or last - now > LONGEST_DELAY:
        return None
    doublings: int = min(early - 2, 10)
    due = last + min(LONGEST_DELAY, FIRST_DELAY * (1 << doublings))
    return due if now < due else None


def counted(before: EarlyEnds, observed: ObservedGroup, now: datetime) -> EarlyEnds:
    """The early ends with those that are seen now; forgotten when a later worker holds out.

    One generation counts once, however many workers it had: only a worker that was made after the last end begins
    another. One that was deleted does so only where none of its generation is left: somebody who picks single workers
    is no loop.
    """
    workers, after = observed.workers, before
    ended = (worker for worker in workers if worker.phase is Phase.ENDED)
    for worker in sorted(filter(_early, (*ended, *observed.deleted)), key=_end):
        if after.last is None or _end(worker) >= after.last:
            deleted = worker.phase is Phase.LEAVING
            again = after.last is None or (worker.created > after.last and not (deleted and _any_left(workers, after)))
            sticks = after.deleted and not again
            after = EarlyEnds(count=after.count + again, last=_end(worker), deleted=deleted or sticks)
    return EarlyEnds(count=0, last=None) if any(_holds_out(worker, after, now) for worker in workers) else after


def _end(worker: Worker) -> datetime:
    # Status times have whole seconds: rounded up, an end is never earlier than what was written of it.
    end = worker.ended or worker.created
    return end.replace(microsecond=0) + timedelta(seconds=1) if end.microsecond else end


def _early(worker: Worker) -> bool:
    return _end(worker) - worker.created < EARLY


def _any_left(workers: Iterable[Worker], ends: EarlyEnds) -> bool:
    """Whether any worker is there that was made after the last end."""
    there = (worker for worker in workers if worker.phase in (Phase.PENDING, Phase.RUNNING, Phase.READY))
    return ends.last is not None and any(worker.created > ends.last for worker in there)


def _holds_out(worker: Worker, ends: EarlyEnds, now: datetime) -> bool:
    later = ends.last is not None and worker.created > ends.last
    return later and worker.phase is Phase.READY and now - worker.created >= EARLY
