"""DaskWorkerGroup: its Pods brought to the number that is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from dask_k8s import metadata, names
from dask_k8s.kinds.worker_group import WorkerGroup
from dask_k8s.manifests.worker import worker_pods
from dask_k8s.operator.actions import NOTHING, Action, Ask, Create, Delete, Patch, Plan, Question
from dask_k8s.operator.observed import Home, ObservedGroup, Phase, Worker
from dask_k8s.operator.plan import conditions, group_conditions, leavers, replacement
from dask_k8s.operator.plan.adoption import adopted, follows_the_dead

MOST_NEW = 500
"""Pods that one plan makes at most: who asks for fewer meanwhile is heard after that. The others follow at once, since
the first of them wakes the group."""


def plan(group: WorkerGroup, observed: ObservedGroup, now: datetime) -> Plan:
    """What brings the group from what there is to what it asks for."""
    home = observed.home
    if group.head.deleting or follows_the_dead(group.head, home):
        return NOTHING
    surplus = sum(worker.stays for worker in observed.workers) - group.worker.replicas
    ends = replacement.counted(replacement.EarlyEnds.read(group.status), observed.workers, now)
    choice = leavers.choose(observed, surplus, group.worker.replicas, now)
    needs_order = leavers.needs_order(observed, surplus, group.worker.replicas)
    wanted = group_conditions.of_group(group, observed, choice, ends, now)
    return Plan(
        status=_status(group, observed, ends, wanted, now),
        events=conditions.changes(group.status, wanted),
        actions=() if home is None else _actions(group, observed, home, choice, ends, now),
        ask=frozenset({Question(ask=Ask.ORDER)} if needs_order else ()),
        wake_at=min(_deadlines(group, observed, ends, now), default=None),
    )


def _actions(
    group: WorkerGroup,
    observed: ObservedGroup,
    home: Home,
    choice: leavers.Choice,
    ends: replacement.EarlyEnds,
    now: datetime,
) -> tuple[Action, ...]:
    return (
        *_adoptions(group, observed, home),
        *_joiners(group, observed, home, ends, len(choice.back), now),
        *leavers.marks(choice, now),
        *leavers.drained(group, observed, choice, home.ref, now),
    )


def _joiners(
    group: WorkerGroup, observed: ObservedGroup, home: Home, ends: replacement.EarlyEnds, back: int, now: datetime
) -> tuple[Action, ...]:
    """New Pods for those that are missing, in the place of those that ended, once their time has come.

    None before the group is its cluster's: where that goes first, nobody would take the group and its Pods away.
    """
    if group.head.controller is None:
        return ()
    pod = worker_pods(group)
    # Orphans become the group's own in the same pass, and refused workers come back: nobody has to come in their place.
    stays = sum(worker.stays for worker in observed.workers) + len(observed.orphans) + back
    missing = max(0, group.worker.replicas - stays)
    in_doubt = [worker.ref.name for worker in observed.workers if worker.phase is Phase.IN_DOUBT]
    # Of those that are not wanted any more, the next list tells.
    again = tuple(Create(manifest=pod(name)) for name in in_doubt[: min(MOST_NEW, missing)])
    missing -= len(again)
    if not home.scheduled or any(refusal.hinders("Pod", now) for refusal in observed.refusals):
        return again
    ended, waiting = _ended(observed, ends, missing, now)
    new = (
        Create(manifest=pod(names.worker(group.head.ref.name, observed.draw, index)))
        for index in range(min(MOST_NEW - len(again), max(0, missing - len(waiting))))
    )
    return (*again, *(Delete(target=worker.ref) for worker in ended if worker not in waiting), *new)


def _ended(
    observed: ObservedGroup, ends: replacement.EarlyEnds, missing: int, now: datetime
) -> tuple[list[Worker], list[Worker]]:
    """Workers that ended, the latest first, and those of them that stay until it is time for another in their place."""
    ended = [worker for worker in observed.workers if worker.phase is Phase.ENDED and not worker.retiring_since]
    ended.sort(key=lambda worker: worker.ended or worker.created, reverse=True)
    return ended, ended[: max(0, missing)] if ends.replace_at(now) is not None else []


def _adoptions(group: WorkerGroup, observed: ObservedGroup, home: Home) -> Iterator[Action]:
    """The group becomes its cluster's, and Pods with its labels that nobody controls become the group's."""
    yield from adopted(group.head, home)
    for orphan in observed.orphans:
        yield Patch(target=orphan, patch={"metadata": {"ownerReferences": [group.head.owner()]}}, owner=group.head.ref)


def _status(
    group: WorkerGroup,
    observed: ObservedGroup,
    ends: replacement.EarlyEnds,
    wanted: list[conditions.Condition],
    now: datetime,
) -> dict[str, Any]:
    there = [worker for worker in observed.workers if worker.phase in (Phase.PENDING, Phase.RUNNING, Phase.READY)]
    return {
        "observedGeneration": group.head.generation,
        "replicas": len(there),
        "readyReplicas": sum(worker.phase is Phase.READY for worker in there),
        "selector": metadata.selector(metadata.worker_labels(group.cluster, group.head.ref.name)),
        **ends.written(),
        "conditions": conditions.merged(group.status, wanted, now, generation=group.head.generation),
    }


def _deadlines(
    group: WorkerGroup, observed: ObservedGroup, ends: replacement.EarlyEnds, now: datetime
) -> Iterator[datetime]:
    """The moments at which a plan would be another one though nothing happened."""
    candidates: list[datetime] = [refusal.retry_at for refusal in observed.refusals]
    if (due := ends.replace_at(now)) is not None:
        candidates += [due]
    if ends.last is not None:
        candidates += [w.created + replacement.EARLY for w in observed.workers if w.phase is Phase.READY]
    if group.worker.replicas == 0:
        given_up = (leavers.given_up_at(w, group.worker.drain_timeout) for w in observed.workers if w.retiring_since)
        candidates += [moment for moment in given_up if moment is not None]
    candidates += [*leavers.silences(observed), *group_conditions.stalls(observed)]
    yield from (moment for moment in candidates if moment > now)
