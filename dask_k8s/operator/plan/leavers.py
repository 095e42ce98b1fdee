"""Who leaves when a group has too many workers, and how: nothing that joined goes before it is drained.

The order: Pods that never joined, then the scheduler's own order (idle and least data first), always within the
group. While the scheduler is silent only Pods whose worker container never ran are known not to have joined.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from dask_k8s import names
from dask_k8s.kinds.value import Ref, value
from dask_k8s.operator.actions import Action, Delete, Patch, Retire
from dask_k8s.operator.observed import Drain, Known, ObservedGroup, Phase, Silent, Unasked, Worker
from dask_k8s.operator.plan.conditions import timestamp

FRESH = timedelta(seconds=2)
"""How old the scheduler's order may be: a worker that joined after it would look as if it never had."""

DRAINED_GRACE = 5
"""Seconds for a Pod that holds nothing any more: it only has to close its connections."""


@value
class Choice:
    """Who leaves now.

    Parameters
    ----------
    never_joined
        They hold nothing and are deleted.
    joined
        They are marked, and drained before they go.
    undecided
        How many more have to go, though nobody can say yet who.
    """

    never_joined: tuple[Worker, ...]
    joined: tuple[Worker, ...]
    undecided: int


def choose(observed: ObservedGroup, surplus: int, replicas: int, now: datetime) -> Choice:
    """Who leaves, for a number of workers that are too many.

    Where none is to stay, the order does not matter: all are marked at once, so that ``drainTimeout`` begins even
    though the scheduler is silent.
    """
    if surplus <= 0:
        return Choice(never_joined=(), joined=(), undecided=0)
    never = [worker for worker in observed.workers if worker.stays and worker.phase is Phase.PENDING]
    running = {w.ref.name: w for w in observed.workers if w.stays and w.phase in (Phase.RUNNING, Phase.READY)}
    order = _usable(observed.order, now)
    joined: list[Worker] = []
    if order is not None:
        never += [worker for name, worker in running.items() if name not in order]
        joined = [running[name] for name in order if name in running]
    elif replicas == 0 and isinstance(observed.order, Silent):
        joined = list(running.values())
    first = tuple(never[:surplus])
    then = tuple(joined[: surplus - len(first)])
    return Choice(never_joined=first, joined=then, undecided=surplus - len(first) - len(then))


def needs_order(observed: ObservedGroup, surplus: int) -> bool:
    """Whether the scheduler has to be asked who may leave."""
    never_ran = sum(1 for worker in observed.workers if worker.stays and worker.phase is Phase.PENDING)
    return surplus > never_ran


def marks(choice: Choice, now: datetime) -> tuple[Action, ...]:
    """The choice, made to survive a restart: the never-joined go, the joined are marked."""
    since = {"metadata": {"annotations": {names.RETIRING_SINCE: timestamp(now)}}}
    return (
        *(Delete(target=worker.ref) for worker in choice.never_joined),
        *(Patch(target=worker.ref, patch=since) for worker in choice.joined),
    )


def drained(observed: ObservedGroup, cluster: Ref, replicas: int, timeout: int, now: datetime) -> tuple[Action, ...]:
    """What the workers need that were marked: a drain, or their end."""
    marked = [worker for worker in observed.workers if worker.retiring_since and worker.phase is not Phase.LEAVING]
    going = [worker for worker in marked if may_go(worker, replicas, timeout, now)]
    waiting = frozenset(worker.ref for worker in marked if worker not in going and worker.drain is None)
    deletes = tuple(Delete(target=worker.ref, grace=DRAINED_GRACE) for worker in going)
    return (*deletes, Retire(cluster=cluster, workers=waiting, timeout=timeout)) if waiting else deletes


def may_go(worker: Worker, replicas: int, timeout: int, now: datetime) -> bool:
    """Whether a marked worker's Pod may be deleted.

    It may when it is empty or has ended, or when nobody is to stay and its time is over.
    """
    if worker.drain is Drain.EMPTY or worker.phase is Phase.ENDED:
        return True
    return replicas == 0 and worker.retiring_since is not None and now >= deadline(worker, timeout)


def deadline(worker: Worker, timeout: int) -> datetime:
    """When the time of a marked worker's drain is over."""
    assert worker.retiring_since is not None
    return worker.retiring_since + timedelta(seconds=timeout)


def _usable(order: Unasked | Silent | Known[tuple[str, ...]], now: datetime) -> tuple[str, ...] | None:
    return order.answer if isinstance(order, Known) and now - order.at <= FRESH else None
