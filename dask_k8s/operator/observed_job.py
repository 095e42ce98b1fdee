"""What there is of a job, as values: what its plan gets to see."""

from __future__ import annotations

from datetime import datetime
from enum import Enum, auto

from dask_k8s.diagnosis import Diagnosis
from dask_k8s.kinds.value import Manifest, Ref, value
from dask_k8s.operator.leftovers import Leftover
from dask_k8s.operator.observed import Phase, Presence, Refusal


class Ending(Enum):
    """How a runner's Pod ended."""

    SUCCEEDED = auto()
    FAILED = auto()
    """Its program ended with an error and is not started again."""
    LOST = auto()
    """It was taken away from its program: evicted, refused by its node, or lost with it."""


@value
class Runner:
    """A job's runner Pod.

    Parameters
    ----------
    started
        When its first container began to run; None while none has.
    ending
        How it ended; None while it has not.
    ended
        When its last container ended.
    why
        What ended it, or what ended it before it was started again: in the kubelet's words.
    restarts
        How often the kubelet started a container of it again.
    waits_for
        Containers that still run though the first one has succeeded.
    """

    ref: Ref
    phase: Phase
    started: datetime | None = None
    ending: Ending | None = None
    ended: datetime | None = None
    why: str = ""
    restarts: int = 0
    waits_for: tuple[str, ...] = ()
    trouble: Diagnosis | None = None


@value
class JobCluster:
    """A job's DaskCluster.

    Parameters
    ----------
    ours
        Whether this job made it.
    """

    ref: Ref
    ours: bool
    leaving: bool
    status: Manifest


@value
class ObservedJob:
    """What there is of a job."""

    runner: Runner | None
    runner_presence: Presence
    cluster: JobCluster | None
    cluster_presence: Presence
    refusals: tuple[Refusal, ...]
    leftovers: tuple[Leftover, ...] = ()
