"""A group's plan and what it sees, in the short words of these tests' tables."""

from __future__ import annotations

from typing import Any, assert_never

from dask_k8s.kinds.value import Manifest
from dask_k8s.operator.actions import Create, Delete, Patch, Plan, Retire
from dask_k8s.operator.observed import Drain, Known, Silent, Worker
from tests.unit.given import later, worker

FRESH = 1.0  # seconds: an order of this age may be used
STALE = 3.0


def deeds(made: Plan) -> list[str]:
    """A plan's actions in short words; new Pods without their names, which are chance."""
    return sorted(_deed(action) for action in made.actions)


def _deed(action: Create | Patch | Delete | Retire) -> str:
    match action:
        case Create(manifest=manifest):
            return f"create {manifest['kind']}"
        case Patch(target=target, patch=patch):
            annotations = patch["metadata"].get("annotations", {})
            if "dask.org/retiring-since" not in annotations:
                return f"adopt {target.name}"
            return f"{'mark' if annotations['dask.org/retiring-since'] else 'keep'} {target.name}"
        case Delete(target=target, grace=grace):
            return f"delete {target.name}" + ("" if grace is None else f" within {grace} s")
        case Retire(workers=workers):
            return f"retire {' '.join(sorted(each.name for each in workers))}"
        case _:
            assert_never(action)


def order(*names: str, age: float = FRESH) -> Known[tuple[str, ...]]:
    """The scheduler's order, given a while ago."""
    return Known(at=later(-age), answer=names)


SILENT = Silent(since=later(-30), why="no route")


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
