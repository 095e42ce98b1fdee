"""A job's runner that was taken away before its end is made again: at once, but later and later where none lasts.

Which runner there was last stands in the job's status. When it is gone, or another one is in its place, it was lost:
whoever took it away, and whether we saw it or not. Nobody concludes from its absence that it succeeded.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from dask_k8s.kinds.fields import Fields
from dask_k8s.kinds.value import Manifest, value
from dask_k8s.operator.observed import Phase, Presence
from dask_k8s.operator.observed_job import Ending, ObservedJob
from dask_k8s.operator.plan import replacement
from dask_k8s.operator.plan.conditions import timestamp

DELETED = "It was deleted before its end was seen."


@value
class Attempts:
    """The runners that a job has had, as far as the next one depends on them.

    Parameters
    ----------
    uid, seen
        The runner that was there last, and when it was seen first: by our clock, as all that is compared here. None
        when its loss has been counted.
    why
        Why that one is being lost, as soon as it is known.
    failure
        How its program ended before the kubelet started it again last: a kubelet forgets it soon.
    early
        How many in a row were lost early.
    lost
        When the last one was lost.
    """

    uid: str | None = None
    seen: datetime | None = None
    why: str = ""
    failure: str = ""
    early: int = 0
    lost: datetime | None = None

    @classmethod
    def read(cls, status: Manifest) -> Attempts:
        """From a job's status."""
        fields = Fields(status, "status").inner_or_empty("runner")
        return cls(
            uid=fields.text_or_none("uid"),
            seen=fields.moment("seen") if fields.has("seen") else None,
            why=fields.text_or_none("why") or "",
            failure=fields.text_or_none("failure") or "",
            early=fields.count("early", 0),
            lost=fields.moment("lost") if fields.has("lost") else None,
        )

    def written(self) -> dict[str, Any]:
        """For a job's status; nothing before its first runner."""
        content = {
            "uid": self.uid,
            "seen": None if self.seen is None else timestamp(self.seen),
            "why": self.why or None,
            "failure": self.failure or None,
            "early": self.early or None,
            "lost": None if self.lost is None else timestamp(self.lost),
        }
        present = {key: each for key, each in content.items() if each is not None}
        return {"runner": present} if present else {}

    def next_at(self, now: datetime) -> datetime | None:
        """When the next runner is made, by the rule for workers that end early; None for at once."""
        return replacement.next_at(self.lost, self.early, now)

    def after(self, observed: ObservedJob, now: datetime) -> Attempts:
        """With what is seen now."""
        runner = observed.runner
        if runner is not None and runner.ref.uid == self.uid:
            return self._still(observed, now)
        if runner is None and observed.runner_presence is not Presence.ABSENT:
            return self
        counted = self if self.uid is None else self._without(now)
        if runner is None:
            return counted
        return Attempts(uid=runner.ref.uid, seen=now, early=counted.early, lost=counted.lost)._still(observed, now)

    def _still(self, observed: ObservedJob, now: datetime) -> Attempts:
        runner = observed.runner
        assert runner is not None
        held_out = runner.phase in (Phase.RUNNING, Phase.READY) and not self._early(now)
        why = self.why
        if runner.ending is Ending.LOST:
            why = runner.why
        elif runner.phase is Phase.LEAVING:
            why = why or DELETED
        return replace(
            self,
            why=why,
            failure=(runner.restarts and runner.why) or self.failure,
            early=0 if held_out else self.early,
        )

    def _without(self, now: datetime) -> Attempts:
        """The runner is gone."""
        return Attempts(early=self.early + 1 if self._early(now) else 0, lost=now)

    def _early(self, now: datetime) -> bool:
        return self.seen is not None and now - self.seen < replacement.EARLY
