"""A group's plan and what it sees, in the short words of these tests' tables."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, assert_never

from dask_k8s.kinds.value import Manifest
from dask_k8s.operator.actions import Action, Clear, Create, Delete, Patch, Plan, Retire
from dask_k8s.operator.observed import Drain, Known, ObservedGroup, Phase, Silent, Worker
from tests.unit.given import NOW, later, worker

FRESH = 1.0  # seconds: an order of this age may be used
STALE = 3.0


def deeds(made: Plan) -> list[str]:
    """A plan's actions in short words; new Pods without their names, which are chance."""
    return sorted(_deed(action) for action in made.actions)


def _deed(action: Action) -> str:
    match action:
        case Create(manifest=manifest):
            return f"create {manifest['kind']}"
        case Patch(target=target, patch=patch):
            annotations = patch["metadata"].get("annotations", {})
            if "dask.org/retiring-since" not in annotations:
                return f"adopt {target.name}"
            return f"{'mark' if annotations['dask.org/retiring-since'] else 'keep'} {target.name}"
        case Delete(target=target, grace=grace, given_up_by=given_up):
            within = "" if grace is None else f" within {grace} s"
            return f"delete {target.name}{within}{' and have it forgotten' if given_up else ''}"
        case Retire(workers=workers):
            return f"retire {' '.join(sorted(each.name for each in workers))}"
        case Clear(left=left):
            return f"clear {' '.join(sorted(each.name for each in left))}"
        case _:
            assert_never(action)


def order(*names: str, age: float = FRESH) -> Known[tuple[str, ...]]:
    """The scheduler's order, given a while ago."""
    return Known(at=later(-age), answer=names)


SILENT = Silent(since=later(-30), why="no route")


def final(there: ObservedGroup) -> ObservedGroup:
    """None is to stay, and drains that are held know so since their workers were chosen."""
    return replace(there, workers=tuple(map(_final, there.workers)))


def _final(each: Worker) -> Worker:
    if each.drained is None or each.drained.final is not None:
        return each
    return replace(each, drained=replace(each.drained, final=each.retiring_since))


def retiring(name: str, drain: Drain | None = None, since: float = -10, **fields: Any) -> Worker:
    """A worker that was chosen to leave."""
    return worker(name, retiring_since=later(since), drain=drain, **fields)


def status_of(made: Plan) -> Manifest:
    """The status that a plan writes."""
    assert made.status is not None
    return made.status


def condition(made: Plan, wanted: str) -> Manifest:
    """One condition of a plan's status."""
    (found,) = (each for each in status_of(made)["conditions"] if each["type"] == wanted)
    return dict(found)


STATES = {
    Phase.EXPECTED: "was asked for",
    Phase.PENDING: "does not run",
    Phase.ENDED: "has ended",
    Phase.LEAVING: "is being deleted",
}
DRAINS = {
    Drain.UNDER_WAY: "is being drained",
    Drain.EMPTY: "is drained",
    Drain.ABSENT: "has not joined",
    Drain.REFUSED: "was refused",
    Drain.STUCK: "was refused and is out of service",
}


def told(there: ObservedGroup) -> str:
    """What there is of a group, for the table in the documentation."""
    parts = [f"{each.ref.name} {_state(each)}".strip() for each in there.workers]
    match there.order:
        case Known(at=at, answer=names):
            age = (NOW - at).total_seconds()
            parts.append(f"order {age:g} s ago: {', '.join(names)}" if age > FRESH else f"order: {', '.join(names)}")
        case Silent():
            parts.append("the scheduler is silent")
    return "; ".join(parts)


def _state(each: Worker) -> str:
    since = "" if each.retiring_since is None else f"chosen {(NOW - each.retiring_since).total_seconds():g} s ago"
    drain = "" if each.drain is None else DRAINS[each.drain]
    if each.drained is not None and (ended := each.drained.ended) not in (None, NOW):
        drain = f"{drain.replace('is drained', 'was drained')} {(NOW - ended).total_seconds():g} s ago"
    if each.drained is not None and (silent := each.drained.silent) is not None:
        drain = f"{drain}, its scheduler silent for {(NOW - silent.since).total_seconds():g} s"
    if each.drained is not None and each.drained.final is not None:
        drain = f"{drain}, with none to stay for {(NOW - each.drained.final).total_seconds():g} s"
    node = "is on a node that goes" if each.node_leaves else "has a node" if each.placed else ""
    return ", ".join(filter(None, [STATES.get(each.phase, ""), since, drain, node]))
