"""When a worker that ended is replaced: at once, but later and later where workers end as soon as they begin.

What must survive a restart of the operator stands in the group's status: how many generations of workers in a row ended
early, and when the last one did. Ended Pods stay until they are replaced, so that their log can be read.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from dask_k8s.kinds.fields import Fields
from dask_k8s.kinds.value import Manifest, value
from dask_k8s.operator.observed import Phase, Worker
from dask_k8s.operator.plan.conditions import timestamp

EARLY = timedelta(seconds=60)
"""A worker that ran for less ended early."""

FIRST_DELAY = timedelta(seconds=10)
LONGEST_DELAY = timedelta(minutes=5)


@value
class EarlyEnds:
    """How many generations of workers in a row ended early, and when the last one did."""

    count: int
    last: datetime | None

    @classmethod
    def read(cls, status: Manifest) -> EarlyEnds:
        """From a group's status."""
        fields = Fields(status, "status").inner_or_empty("earlyEnds")
        last = fields.moment("last") if fields.has("last") else None
        return cls(count=fields.count("count", 0), last=last)

    def written(self) -> dict[str, Any]:
        """For a group's status; nothing where nothing ended early."""
        return {"earlyEnds": {"count": self.count, "last": timestamp(self.last)}} if self.count and self.last else {}

    def replace_at(self, now: datetime) -> datetime | None:
        """When the ended ones are replaced; None for at once."""
        return next_at(self.last, self.count, now)


def next_at(last: datetime | None, early: int, now: datetime) -> datetime | None:
    """When another one comes in the place of what ended early so many times in a row; None for at once.

    An end that lies far ahead was dated by a clock that has been set since: nobody waits for that day to come.
    """
    if last is None or early < 2 or last - now > LONGEST_DELAY:
        return None
    doublings: int = min(early - 2, 10)
    due = last + min(LONGEST_DELAY, FIRST_DELAY * (1 << doublings))
    return due if now < due else None


def counted(before: EarlyEnds, workers: Iterable[Worker], now: datetime) -> EarlyEnds:
    """The early ends with those that are seen now; forgotten when a later worker holds out.

    One generation counts once, however many workers it had: only a worker that was made after the last end begins
    another.
    """
    workers = tuple(workers)
    after = before
    for worker in sorted(filter(_ended_early, workers), key=_end):
        if after.last is None or _end(worker) > after.last:
            again = after.last is None or worker.created > after.last
            after = EarlyEnds(count=after.count + again, last=_end(worker))
    return EarlyEnds(count=0, last=None) if any(_holds_out(worker, after, now) for worker in workers) else after


def _end(worker: Worker) -> datetime:
    # Status times have whole seconds: rounded up, an end is never earlier than what was written of it.
    end = worker.ended or worker.created
    return end.replace(microsecond=0) + timedelta(seconds=1) if end.microsecond else end


def _ended_early(worker: Worker) -> bool:
    return worker.phase is Phase.ENDED and _end(worker) - worker.created < EARLY


def _holds_out(worker: Worker, ends: EarlyEnds, now: datetime) -> bool:
    later = ends.last is not None and worker.created > ends.last
    return later and worker.phase is Phase.READY and now - worker.created >= EARLY
