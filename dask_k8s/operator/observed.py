"""What is, as values: what a plan gets to see of the world."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Generic, TypeVar

from dask_k8s.diagnosis import Diagnosis
from dask_k8s.kinds.value import Manifest, Ref, value
from dask_k8s.operator.actions import Action, Create
from dask_k8s.operator.leftovers import Leftover

T = TypeVar("T")


class Phase(Enum):
    """Where a worker's Pod stands, as far as its group is concerned."""

    EXPECTED = auto()
    """It was made, and no cache has shown it yet."""
    IN_DOUBT = auto()
    """Its creation got no answer: it is asked for again under the same name."""
    PENDING = auto()
    """No container of it has ever run, or of a worker none runs now: so it cannot hold anything."""
    RUNNING = auto()
    """A container of it runs or has run, and it is not ready."""
    READY = auto()
    """It is ready in Kubernetes' sense."""
    ENDED = auto()
    """It has succeeded or failed and will not run again."""
    LEAVING = auto()
    """It is being deleted."""


@value
class Silent:
    """Somebody asked, and no answer came."""

    since: datetime
    why: str


class Drain(Enum):
    """Where the drain of a worker stands."""

    UNDER_WAY = auto()
    EMPTY = auto()
    """Its data has moved, and its scheduler has forgotten it."""
    ABSENT = auto()
    """It has not joined, as of this moment."""
    REFUSED = auto()
    """It is in service again, until it is tried again."""
    STUCK = auto()
    """It was refused, and its scheduler keeps it out of service."""


@value
class Drained:
    """What is known of a worker's drain.

    Parameters
    ----------
    why
        Why it was refused.
    left
        Bytes that still lie on the worker, for a drain that takes long; None where nobody knows.
    silent
        Since when nobody knows how far it has come, and why: the scheduler does not answer.
    moved
        When Dask began to move it, and then when less was left of all that move together than at the look before; None
        where Dask has not begun yet.
    waits
        Whether it waits for its turn: others are drained before it.
    ended
        When it ended; None while it is under way.
    final
        Since when its drains know that none is to stay; None while others are.
    """

    state: Drain
    why: str = ""
    left: int | None = None
    silent: Silent | None = None
    moved: datetime | None = None
    waits: bool = False
    ended: datetime | None = None
    final: datetime | None = None


@value
class Unasked:
    """Nobody asked."""


@value
class Known(Generic[T]):
    """An answer, and when it came."""

    at: datetime
    answer: T


@value
class Targets:
    """How many workers a scheduler could use, now and lately.

    Parameters
    ----------
    latest
        Its last answer.
    since
        The first of the answers that came without a gap: before that, nobody knows.
    recent
        Answers with their times, the oldest first; one that a later answer reached or exceeded is left out.
    """

    latest: int
    since: datetime
    recent: tuple[tuple[datetime, int], ...]

    def highest(self, since: datetime) -> int:
        """The highest answer from a moment on, the latest included."""
        return max((number for at, number in self.recent if at >= since), default=self.latest)


@value
class Worker:
    """One Pod of a group.

    Parameters
    ----------
    template
        The hash of the Pod template that it was made from.
    ended
        When its container ended, for a Pod that has ended.
    retiring_since
        When it was chosen to leave. Only a refusal leads back: who has retired gets no task any more.
    drained
        What became of its drain; None while none has begun in this process.
    refused
        What its last drain was refused for, where it is tried again; None where that one gets further.
    node_leaves
        Why its node is about to go; empty where it is not.
    placed
        Whether it has a node.
    """

    ref: Ref
    phase: Phase
    template: str
    created: datetime
    ended: datetime | None = None
    retiring_since: datetime | None = None
    drained: Drained | None = None
    refused: Drained | None = None
    node_leaves: str = ""
    placed: bool = False
    trouble: Diagnosis | None = None

    @property
    def here(self) -> bool:
        """Whether it may hold anything, now or later."""
        return self.phase not in (Phase.ENDED, Phase.LEAVING)

    @property
    def stays(self) -> bool:
        """Whether it counts for the replicas that are asked for."""
        known = self.here and self.phase is not Phase.IN_DOUBT
        return known and self.retiring_since is None and not self.node_leaves

    @property
    def drain(self) -> Drain | None:
        """Where its drain stands; None while none has begun in this process."""
        return None if self.drained is None else self.drained.state


LONGEST_RETRY = timedelta(seconds=60)
"""Until a deed is tried again that was refused."""


@value
class Refusal:
    """A deed that the API server refused, until it succeeds or the resource changes."""

    action: Action
    reason: str
    message: str
    retry_at: datetime

    def hinders(self, kind: str, now: datetime) -> bool:
        """Whether making an object of this kind has to wait."""
        return isinstance(self.action, Create) and self.action.manifest["kind"] == kind and self.waits(now)

    def waits(self, now: datetime) -> bool:
        """Whether it is too early to try again; by a clock that was set back since, nobody waits for hours."""
        return timedelta() < self.retry_at - now <= LONGEST_RETRY


@value
class Home:
    """The cluster that a group or an autoscaler belongs to, as far as those have to know it.

    Parameters
    ----------
    scheduled
        Whether its scheduler's Pod has a node, so that workers may start beside it.
    ready
        Whether its scheduler's Pod is ready.
    """

    ref: Ref
    deleting: bool
    scheduled: bool
    ready: bool


@value
class ObservedGroup:
    """What there is of a worker group.

    Parameters
    ----------
    home
        Its cluster; None where there is none of that name.
    order
        The group's Pods with joined workers by name, those first that may leave first.
    stranded
        Tasks that may run on workers alone that have left.
    orphans
        Worker Pods with this group's labels that nobody controls.
    draw
        This pass's randomness.
    """

    home: Home | None
    workers: tuple[Worker, ...]
    orphans: tuple[Ref, ...]
    order: Unasked | Silent | Known[tuple[str, ...]]
    stranded: tuple[str, ...]
    refusals: tuple[Refusal, ...]
    draw: str


class Presence(Enum):
    """Whether a cluster's one object of a kind is there."""

    ABSENT = auto()
    EXPECTED = auto()
    THERE = auto()
    LEAVING = auto()


@value
class SchedulerPod:
    """The scheduler's Pod.

    Parameters
    ----------
    restarts
        How often the kubelet started its Dask container again.
    """

    ref: Ref
    phase: Phase
    scheduled: bool
    restarts: int
    address: str | None
    trouble: Diagnosis | None


@value
class DefaultGroup:
    """The default group as its cluster sees it.

    Parameters
    ----------
    flowed
        The cluster's count that flowed to it last; None where its annotation was taken away.
    """

    ref: Ref
    replicas: int
    flowed: int | None
    status: Manifest


@value
class ObservedCluster:
    """What there is of a cluster.

    Parameters
    ----------
    budget_presence
        Of the scheduler's PodDisruptionBudget; None where this operator may not look at such.
    autoscaled
        Whether a DaskAutoscaler writes the default group's count.
    idle
        Since when the scheduler had nothing to do, by its own mark: another mark is another rest. None for at work.
    leftovers
        What has the name of one of its objects and is on its way out.
    """

    scheduler: SchedulerPod | None
    scheduler_presence: Presence
    service: Presence
    group: DefaultGroup | None
    group_presence: Presence
    budget: Ref | None
    budget_presence: Presence | None
    autoscaled: bool
    idle: Unasked | Silent | Known[str | None]
    refusals: tuple[Refusal, ...]
    leftovers: tuple[Leftover, ...] = ()


@value
class ObservedAutoscaler:
    """What an autoscaler has to know.

    Parameters
    ----------
    group
        The cluster's default group; None where it is not there.
    replicas
        How many workers that group asks for, whether they are there yet or not.
    first
        The autoscaler that serves the cluster: the oldest one.
    """

    home: Home | None
    group: Ref | None
    replicas: int
    first: str
    targets: Unasked | Silent | Known[Targets]
    refusals: tuple[Refusal, ...]
