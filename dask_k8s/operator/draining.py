"""The drain of one worker's Pod, from when it is chosen until its Pod is gone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from dask_k8s.kinds.value import Ref
from dask_k8s.operator.engine.queue import Key
from dask_k8s.operator.observed import Drain, Drained

ABSENCE = 2.0
"""Seconds after which it has to be asked again whether a worker has joined."""


@dataclass(slots=True)
class Draining:
    """The drain of one worker's Pod.

    Parameters
    ----------
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
    """

    cluster: str
    pod: Ref
    key: Key
    until: datetime
    restarts: int
    told: Drained
    since: float = 0.0
    before: Drained | None = None
    placed: bool = False
    begun: bool = False

    def holds(self, restarts: int, now: float) -> bool:
        """Whether what became of it is still so: a container that was started again is another worker."""
        match self.told.state:
            case Drain.EMPTY:
                return restarts == self.restarts
            case Drain.ABSENT:
                return now - self.since <= ABSENCE
            case _:
                return True
