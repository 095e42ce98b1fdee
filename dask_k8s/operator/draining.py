"""The drain of one worker's Pod, from when it is chosen until its Pod is gone; and all drains of one cluster."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

from dask_k8s.kinds.value import Ref
from dask_k8s.operator.engine.queue import Key
from dask_k8s.operator.observed import Drain, Drained, Silent
from dask_k8s.scheduler.lines import Lines

ABSENCE = 2.0
"""Seconds after which it has to be asked again whether a worker has joined."""


@dataclass(slots=True)
class Draining:
    """The drain of one worker's Pod.

    Parameters
    ----------
    timeout
        Seconds that its tasks have to end, from when its scheduler is asked.
    restarts
        How often its containers had been started again when it began.
    since
        When it was told what became of it.
    before
        What its last drain was refused for, until this one gets further.
    placed
        Whether it has a place among all drains, and its scheduler has answered.
    begun
        Whether its data moves: until then it may wait for its turn.
    until
        When the time of its tasks is over, by the monotonic clock; None while its scheduler was not asked.
    unheard
        Since when its scheduler does not answer; None since it was seen to.
    """

    cluster: str
    pod: Ref
    key: Key
    timeout: float
    restarts: int
    told: Drained
    since: float = 0.0
    before: Drained | None = None
    placed: bool = False
    begun: bool = False
    until: float | None = None
    unheard: datetime | None = None

    def anew(self, restarts: int) -> Draining:
        """Once more from the beginning: another worker of the Pod has joined."""
        told = Drained(state=Drain.UNDER_WAY, final=self.told.final)
        return Draining(self.cluster, self.pod, self.key, self.timeout, restarts, told)

    def time_left(self) -> float:
        """Seconds that its tasks have."""
        return self.timeout if self.until is None else max(0.0, self.until - time.monotonic())

    def asked(self) -> None:
        """Its scheduler is asked from now on, and has just answered."""
        self.begun, self.unheard = True, None
        if self.until is None:
            self.until = time.monotonic() + self.timeout

    def silence(self, why: str) -> Silent:
        """Its scheduler does not answer, and has not since the first of these times."""
        self.unheard = self.unheard or datetime.now(UTC)
        return Silent(since=self.unheard, why=why)

    def holds(self, restarts: int, now: float) -> bool:
        """Whether what became of it is still so: a container that was started again is another worker."""
        match self.told.state:
            case Drain.EMPTY:
                return restarts == self.restarts
            case Drain.ABSENT:
                return now - self.since <= ABSENCE
            case _:
                return True


@dataclass(slots=True)
class ClusterDrains:
    """What is drained in one cluster."""

    ref: Ref
    lines: Lines
    pods: set[str] = field(default_factory=set)
    waiting: list[Draining] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    given_up: list[str] = field(default_factory=list)
    forgetting: asyncio.Task[None] | None = None
