"""PURE: what a scheduler says, as frozen values, checked and clamped: it is a user's program that says it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from dask_k8s.errors import SchedulerRefused
from dask_k8s.kinds.value import value

MOST = 1 << 62
"""Larger numbers are taken for this one."""

Key: TypeAlias = str | tuple[Any, ...]
"""A task's key: a text, or parts such as the name of a collection and the number of a partition."""

MOST_PARTS = 16

MOST_WORKERS = 1_000_000
LONGEST_NAME = 512

LEAVING = "closing_gracefully"
"""A worker's status from when it is retired on."""

IN_SERVICE = ("running", "paused")
"""Its status where it is not."""

UNFINISHED = ("executing", "long-running", "resumed")
"""A worker's words for tasks that a thread of it, or its loop, is at work on. Resumed ones were
unwanted for a while. ``cancelled`` ones run too, and nobody waits for them."""


@value
class WorkerFacts:
    """One worker, as of its last heartbeat.

    Parameters
    ----------
    executing
        Tasks that run there, those that seceded included; those that are assigned to it and wait are not. None where
        it never said.
    managed
        Bytes of its tasks' results, those on its disk included. None where it never said.
    last_seen
        When that heartbeat came, by the scheduler's clock: comparable to another one of the same scheduler only.
    """

    address: str
    name: str
    status: str
    nthreads: int
    memory_limit: int
    executing: int | None
    managed: int | None
    last_seen: float


@value
class Identity:
    """A scheduler and its workers.

    Parameters
    ----------
    id
        Differs between two processes, also behind one address.
    address
        Where it says that it listens.
    """

    id: str
    address: str
    workers: Mapping[str, WorkerFacts]


def identity(reply: Any) -> Identity:
    """What ``identity`` answers."""
    op = "identity"
    found = mapping(op, "the reply", reply)
    workers = mapping(op, "workers", found.get("workers"))
    return Identity(
        id=text(op, "id", found.get("id")),
        address=text(op, "address", found.get("address")),
        workers={address: _worker(address, mapping(op, "a worker", facts)) for address, facts in workers.items()},
    )


def distributed_version(reply: Any) -> tuple[int, ...]:
    """The version of distributed in what ``versions`` answers, by its leading numbers; one without any is none."""
    packages = mapping("versions", "packages", mapping("versions", "the reply", reply).get("packages"))
    numbers = re.match(r"\d+(\.\d+)*", text("versions", "distributed", packages.get("distributed")))
    return tuple(int(number) for number in numbers[0].split(".")) if numbers else ()


def _worker(address: str, facts: Mapping[str, Any]) -> WorkerFacts:
    op = "identity"
    metrics = mapping(op, "metrics", facts.get("metrics"))
    return WorkerFacts(
        address=text(op, "a worker's address", address),
        name=_name(facts.get("name")),
        status=text(op, "status", facts.get("status")),
        nthreads=whole(op, "nthreads", facts.get("nthreads")),
        memory_limit=whole(op, "memory_limit", facts.get("memory_limit")),
        executing=_executing(metrics),
        managed=None if "managed_bytes" not in metrics else whole(op, "managed_bytes", metrics["managed_bytes"]),
        last_seen=number(op, "last_seen", facts.get("last_seen")),
    )


def _name(name: Any) -> str:
    """Workers of a LocalCluster are numbered. Dask's names are of any type; one that is no Pod's is as good as none."""
    match name:
        case int() if not isinstance(name, bool):
            return str(whole("identity", "name", name))
        case str() if len(name) <= LONGEST_NAME:
            return name
        case _:
            return ""


def _executing(metrics: Mapping[str, Any]) -> int | None:
    if "task_counts" not in metrics:
        return None
    counts = mapping("identity", "task_counts", metrics["task_counts"])
    return sum(whole("identity", f"task_counts.{state}", counts.get(state, 0)) for state in UNFINISHED)


def text(op: str, field: str, given: Any) -> str:
    """A string of bounded length."""
    if isinstance(given, str) and len(given) <= LONGEST_NAME:
        return given
    raise _wrong(op, field, f"a string of at most {LONGEST_NAME} characters", given)


def whole(op: str, field: str, given: Any, most: int = MOST) -> int:
    """A whole number, clamped to 0 and the most."""
    if isinstance(given, int) and not isinstance(given, bool):
        return max(0, min(given, most))
    raise _wrong(op, field, "a whole number", given)


def number(op: str, field: str, given: Any) -> float:
    """A number, clamped to 0 and :data:`MOST`; what is not a number at all is 0."""
    if isinstance(given, int | float) and not isinstance(given, bool):
        return float(max(0, min(given, MOST)))
    raise _wrong(op, field, "a number", given)


def is_key(given: Any) -> bool:
    """Whether it is a task's key that can be named and asked for; numbers alone are keys, too, and are passed over."""
    if isinstance(given, tuple):
        return len(given) <= MOST_PARTS and all(isinstance(part, int | float) or is_key(part) for part in given)
    return isinstance(given, str) and len(given) <= LONGEST_NAME


def array(op: str, field: str, given: Any) -> tuple[Any, ...]:
    """An array."""
    if isinstance(given, tuple):
        return given
    raise _wrong(op, field, "an array", given)


def mapping(op: str, field: str, given: Any) -> Mapping[str, Any]:
    """A map with text as keys."""
    if isinstance(given, dict):
        return given
    raise _wrong(op, field, "a map", given)


def _wrong(op: str, field: str, right: str, given: Any) -> SchedulerRefused:
    """The type and not the value, which may be of any length."""
    return SchedulerRefused(f"{op}: {field} must be {right}, not {type(given).__name__}")
