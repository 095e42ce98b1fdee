"""What a plan may ask for: a closed set of deeds, independent of each other.

Any subset of one plan's deeds, in any order, may happen; the next pass starts from what did.
"""

from __future__ import annotations

from datetime import datetime
from enum import Enum, auto
from typing import TypeAlias

from dask_k8s.kinds.value import Manifest, Ref, value


@value
class Create:
    """Make an object. That it exists already is settled by its controller's uid."""

    manifest: Manifest


@value
class Patch:
    """Change an object by a merge patch, with the version as precondition where the target names one.

    Parameters
    ----------
    owner
        Who is to own it from now on: only where the API server itself says that this one is there and stays, since what
        belongs to one that is gone is taken away. None where the owner is another matter.
    """

    target: Ref
    patch: Manifest
    owner: Ref | None = None


@value
class Delete:
    """Take an object away, with the uid as precondition.

    Parameters
    ----------
    grace
        Seconds that its Pod has to end; None for its own grace period.
    given_up_by
        The cluster whose scheduler shall forget the Pod's workers and what they hold; None where it need not.
    """

    target: Ref
    grace: int | None = None
    given_up_by: Ref | None = None


@value
class Retire:
    """Begin to drain workers, and return at once; of drains that are under way, tell whether any worker is to stay.

    Parameters
    ----------
    cluster
        The cluster whose scheduler is asked.
    workers
        The workers' Pods.
    timeout
        Seconds that tasks which run there have to end, from when the scheduler is asked first.
    final
        Whether none is to stay: who is refused then is given up one day.
    """

    cluster: Ref
    workers: frozenset[Ref]
    timeout: int
    final: bool


@value
class Clear:
    """Take away what a resource has left, once the API server itself says that the resource is gone.

    Parameters
    ----------
    owner
        The resource, with its uid.
    left
        What it controlled.
    """

    owner: Ref
    left: tuple[Ref, ...]


Action: TypeAlias = Create | Patch | Delete | Retire | Clear


class Ask(Enum):
    """What a plan wants to know from a scheduler."""

    ORDER = auto()
    """In which order workers may leave."""
    TARGET = auto()
    """How many workers it could use."""
    IDLE = auto()
    """Since when nothing was to be done."""


@value
class Question:
    """Something to ask a scheduler again and again.

    Parameters
    ----------
    every
        Seconds between two times.
    """

    ask: Ask
    every: float = 1.0


@value
class Event:
    """A sentence for ``kubectl describe``.

    Parameters
    ----------
    warning
        Whether somebody may have to act.
    """

    reason: str
    message: str
    warning: bool = False


@value
class Plan:
    """What one pass decided.

    Parameters
    ----------
    status
        The whole status; written first, if it differs. None where the status is not ours to write.
    events
        Sent once that write succeeded.
    actions
        Carried out after it.
    urgent
        Whether the status has to be written now: something in it could not be found out later.
    ask
        What to poll the scheduler for, until the next plan says otherwise.
    wake_at
        When to look again, though nothing may have happened.
    """

    status: Manifest | None = None
    events: tuple[Event, ...] = ()
    actions: tuple[Action, ...] = ()
    urgent: bool = False
    ask: frozenset[Question] = frozenset()
    wake_at: datetime | None = None


NOTHING = Plan()
