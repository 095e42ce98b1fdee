"""Who leaves when a group has too many workers, and how: nothing that joined goes before it is drained.

The order: Pods of which no container runs and no worker has joined, then those that run and never joined, then the
scheduler's own order (idle and least data first), always within the group. While the scheduler is silent only the first
are known to hold nothing.

One that its scheduler refuses to give up, such as the holder of an actor, is in service again: it is exchanged for
another where there is one, taken back where it is wanted again, and else it stays chosen and is tried again.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from dask_k8s import names
from dask_k8s.kinds.value import Manifest, Ref, value
from dask_k8s.kinds.worker_group import WorkerGroup
from dask_k8s.manifests import container
from dask_k8s.operator.actions import Action, Delete, Patch, Retire
from dask_k8s.operator.observed import Drain, Drained, Known, ObservedGroup, Phase, Silent, Unasked, Worker
from dask_k8s.operator.plan.conditions import timestamp

FRESH = timedelta(seconds=2)
"""How old the scheduler's order may be: a worker that joined after it would look as if it never had."""

STANDS_STILL = timedelta(seconds=10)
"""Less than that says nothing: what is left is told with each heartbeat."""

DRAINED_GRACE = 5
"""Seconds for a Pod that holds nothing any more: to close its connections, and for what users do at a worker's end."""

JUST_DRAINED = timedelta(seconds=2)
"""How long a drained worker surely holds nothing: no container starts again, joins and is given data within that."""

GIVEN_UP_GRACE = 30
"""Seconds for a Pod whose data nobody can take. It ends sooner, since its scheduler is told to forget it; where that is
not told, it would try to hand over until its own grace is over."""


@value
class Choice:
    """Who leaves now.

    Parameters
    ----------
    empty
        No container of them runs: they hold nothing and are deleted, unless one has begun to since.
    leaving
        They are marked, and drained before they go.
    back
        They were marked and refused, and stay after all.
    undecided
        How many more have to go, though nobody can say yet who.
    """

    empty: tuple[Worker, ...]
    leaving: tuple[Worker, ...]
    back: tuple[Worker, ...]
    undecided: int


def choose(observed: ObservedGroup, surplus: int, replicas: int, now: datetime) -> Choice:
    """Who leaves, for a number of workers that are too many; and who comes back, for one that are too few.

    Where none is to stay, the order does not matter: all are marked at once, so that ``drainTimeout`` begins even
    though the scheduler is silent. Workers on nodes that go leave whatever the number. Where some are to stay, nobody
    who runs leaves in the place of one that was asked for and not seen yet: that holds nothing, and is seen soon.
    """
    refused = _refused(observed)
    wanted = max(0, surplus + len(refused))
    empty = _empty(observed, now)[:wanted]
    unseen = sum(each.stays and each.phase is Phase.EXPECTED for each in observed.workers) if replicas else 0
    running = _running(observed, replicas, now)[: max(0, wanted - len(empty) - unseen)]
    gone = len(empty) + len(running)
    return Choice(
        empty=tuple(empty),
        leaving=(*running, *_on_leaving_nodes(observed)),
        back=tuple(refused[: max(0, gone - surplus)]),
        undecided=max(0, surplus - gone),
    )


def needs_order(observed: ObservedGroup, surplus: int, replicas: int) -> bool:
    """Whether the scheduler has to be asked who may leave."""
    candidates = [each for each in observed.workers if _may_be_chosen(each, replicas) or _may_have_joined(each)]
    surely_empty = sum(_looks_empty(each) and not each.placed for each in observed.workers)
    return bool(candidates) and surplus + len(_refused(observed)) > surely_empty


def marks(choice: Choice, now: datetime) -> tuple[Action, ...]:
    """The choice, made to survive a restart: the empty go, the others are marked."""
    return (
        *(Delete(target=worker.ref) for worker in choice.empty),
        *(_mark(worker, timestamp(now)) for worker in choice.leaving),
        *(_mark(worker, None) for worker in choice.back),
    )


def drained(
    group: WorkerGroup, observed: ObservedGroup, choice: Choice, cluster: Ref, now: datetime
) -> Iterator[Action]:
    """What the workers need that were marked and do not come back: a drain, or their end."""
    replicas, timeout = group.worker.replicas, group.worker.drain_timeout
    chosen = [worker for worker in observed.workers if worker.retiring_since and worker not in choice.back]
    marked = [worker for worker in chosen if worker.phase is not Phase.LEAVING]
    going, staying = list[Worker](), list[Worker]()
    for worker in marked:
        (going if may_go(worker, replicas, timeout, now) else staying).append(worker)
    for worker in going:
        grace = _grace(worker, group.worker.template.spec, now)
        given_up = cluster if grace is not None and not _is_empty(worker) else None
        yield Delete(target=worker.ref, grace=grace, given_up_by=given_up)
    if waiting := frozenset(worker.ref for worker in staying if _is_to_be_tried(worker, replicas)):
        yield Retire(cluster=cluster, workers=waiting, timeout=timeout, final=not replicas)


def _grace(worker: Worker, template: Manifest, now: datetime) -> int | None:
    """Seconds that a Pod has to end, where its own grace period would be longer than it can need.

    One whose scheduler is silent, or that joins just now, may have something to hand over yet. So may one that was
    drained long ago: while the API server was away, no kubelet could tell that it was started again. And what a
    ``preStop`` does is its user's.
    """
    if _may_hold(worker, now) or any(
        "preStop" in (each.get("lifecycle") or {}) for each in container.lasting(template)
    ):
        return None
    seconds = DRAINED_GRACE if _is_empty(worker) else GIVEN_UP_GRACE
    own = template.get("terminationGracePeriodSeconds")
    return min(seconds, own) if isinstance(own, int) else seconds


def _is_empty(worker: Worker) -> bool:
    return worker.drain is Drain.EMPTY or worker.phase is Phase.ENDED


def _may_hold(worker: Worker, now: datetime) -> bool:
    if worker.phase is Phase.ENDED:
        return False
    match worker.drained:
        case None | Drained(state=Drain.ABSENT):
            return True
        case Drained(state=Drain.EMPTY, ended=ended):
            return ended is None or now - ended > JUST_DRAINED
        case drained:
            return drained.silent is not None


def may_go(worker: Worker, replicas: int, timeout: int, now: datetime) -> bool:
    """Whether a marked worker's Pod may be deleted.

    It may when it is empty or has ended, or has not joined, or when nobody is to stay and its time is over. One of
    which no container runs is deleted as it was seen, and not if one has begun to since; but one that was refused may
    be wanted again, and of one that has a node the scheduler has the word, unless it is silent: kubelets tell late.
    """
    if worker.drain in (Drain.EMPTY, Drain.ABSENT) or worker.phase is Phase.ENDED:
        return True
    silent = worker.drained is not None and _is_silent(worker.drained.silent, now)
    if worker.phase is Phase.PENDING and worker.drain is not Drain.REFUSED and (silent or not worker.placed):
        return True
    until = given_up_at(worker, timeout)
    return replicas == 0 and until is not None and now >= until


def silences(observed: ObservedGroup) -> Iterator[datetime]:
    """When a scheduler counts as silent, as far as Pods wait for its word that look as if they did not run."""
    told = [
        each.drained.silent for each in observed.workers if each.placed and each.phase is Phase.PENDING and each.drained
    ]
    yield from (silent.since + STANDS_STILL for silent in (*told, observed.order) if isinstance(silent, Silent))


def given_up_at(worker: Worker, timeout: int) -> datetime | None:
    """When a marked worker's data is given up, where nobody is to stay: not while it moves to other groups.

    Nor before a drain was tried by this very process since it was chosen, and since nobody is to stay: what another one
    saw is not known any more, and a scheduler that is silent for a moment will answer. One that waits for its turn,
    since others move data, is not tried yet.
    """
    drained = worker.drained
    if drained is None or drained.final is None or _is_to_be_tried(worker, 0):
        return None
    assert worker.retiring_since is not None
    until, silent = max(worker.retiring_since, drained.final) + timedelta(seconds=timeout), drained.silent
    if drained.state is not Drain.UNDER_WAY:
        return until
    still = [moment for moment in (drained.moved, silent.since if silent else None) if moment is not None]
    return max(until, max(still) + max(STANDS_STILL, timedelta(seconds=timeout))) if still else None


def _is_to_be_tried(worker: Worker, replicas: int) -> bool:
    """Whether its drain has to begin; anew where it was refused before it was chosen, or before none was to stay.

    One that is under way goes on, and is told that none is to stay; and any, that others are after all.
    """
    drained, since = worker.drained, worker.retiring_since
    if drained is None:
        return True
    if drained.state in (Drain.EMPTY, Drain.ABSENT):
        return False
    refused = drained.state is Drain.REFUSED
    before = refused and drained.ended is not None and since is not None and drained.ended < since
    return before or (drained.final is None) == (replicas == 0)


def _refused(observed: ObservedGroup) -> list[Worker]:
    """Those that were chosen, and that their scheduler does not give up: they are in service again."""
    return [
        worker
        for worker in observed.workers
        if worker.here and worker.retiring_since and worker.drain is Drain.REFUSED and not worker.node_leaves
    ]


def _empty(observed: ObservedGroup, now: datetime) -> list[Worker]:
    """Those of which no container runs; of one that has a node the scheduler has to say so, too, or to be silent."""
    order = _usable(observed.order, now)
    silent = _is_silent(observed.order, now)
    return [
        worker
        for worker in observed.workers
        if _looks_empty(worker)
        and (not worker.placed or silent or (order is not None and worker.ref.name not in order))
    ]


def _looks_empty(worker: Worker) -> bool:
    return worker.stays and worker.phase is Phase.PENDING


def _may_have_joined(worker: Worker) -> bool:
    """Whether a container may run of which its kubelet has not told: it starts many, or the API server is away."""
    return _looks_empty(worker) and worker.placed


def _is_silent(heard: object, now: datetime) -> bool:
    """Whether a scheduler does not answer, and not only to one question."""
    return isinstance(heard, Silent) and now - heard.since >= STANDS_STILL


def _may_be_chosen(worker: Worker, replicas: int) -> bool:
    """Not again so soon after a refusal, unless none is to stay."""
    running = worker.stays and worker.phase in (Phase.RUNNING, Phase.READY)
    return running and (worker.drain is not Drain.REFUSED or replicas == 0)


def _running(observed: ObservedGroup, replicas: int, now: datetime) -> list[Worker]:
    """Those that run, in the order in which they may leave: those that never joined first."""
    running = {worker.ref.name: worker for worker in observed.workers if _may_be_chosen(worker, replicas)}
    order = _usable(observed.order, now)
    if order is None:
        return list(running.values()) if replicas == 0 and isinstance(observed.order, Silent) else []
    never = [worker for name, worker in running.items() if name not in order]
    joined = {worker.ref.name: worker for worker in observed.workers if _may_have_joined(worker)} | running
    return [*never, *(joined[name] for name in order if name in joined)]


def _on_leaving_nodes(observed: ObservedGroup) -> list[Worker]:
    """Those whose node is about to go, and that nobody has chosen yet."""
    there = (Phase.PENDING, Phase.RUNNING, Phase.READY)
    return [w for w in observed.workers if w.node_leaves and w.retiring_since is None and w.phase in there]


def _mark(worker: Worker, since: str | None) -> Patch:
    ref = Ref(kind=worker.ref.kind, namespace=worker.ref.namespace, name=worker.ref.name, uid=worker.ref.uid)
    return Patch(target=ref, patch={"metadata": {"annotations": {names.RETIRING_SINCE: since}}})


def _usable(order: Unasked | Silent | Known[tuple[str, ...]], now: datetime) -> tuple[str, ...] | None:
    return order.answer if isinstance(order, Known) and now - order.at <= FRESH else None
