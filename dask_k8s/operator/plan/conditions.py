"""Conditions of a resource, and the Events that tell of their changes.

A condition's time moves only when its status does; conditions of types that we do not write are kept as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from dask_k8s.kinds.value import Manifest, value
from dask_k8s.operator.actions import Event

MESSAGE_LIMIT = 1024


class Type(StrEnum):
    """The conditions that we write."""

    SCHEDULER_READY = "SchedulerReady"
    WORKERS_READY = "WorkersReady"
    PROGRESSING = "Progressing"
    DEGRADED = "Degraded"
    SCHEDULER_STATE_LOST = "SchedulerStateLost"
    IDLE = "Idle"
    COMMAND_NOT_REWRITTEN = "CommandNotRewritten"
    BUDGET_MISSING = "BudgetMissing"
    TASKS_STRANDED = "TasksStranded"
    COMPLETE = "Complete"
    FAILED = "Failed"
    RUNNER_RESTARTED = "RunnerRestarted"
    RUNNER_REPLACED = "RunnerReplaced"
    SCALING_ACTIVE = "ScalingActive"
    SCALING_LIMITED = "ScalingLimited"


_TROUBLES = frozenset(
    {
        Type.DEGRADED,
        Type.SCHEDULER_STATE_LOST,
        Type.COMMAND_NOT_REWRITTEN,
        Type.BUDGET_MISSING,
        Type.TASKS_STRANDED,
        Type.IDLE,
        Type.FAILED,
        Type.RUNNER_RESTARTED,
        Type.RUNNER_REPLACED,
    }
)


@value
class Condition:
    """One condition as a plan wants it; it gets its time when it is merged with what was written before."""

    type: Type
    holds: bool
    reason: str
    message: str

    @property
    def status(self) -> str:
        """The word that the API has for it."""
        return "True" if self.holds else "False"


SOUND = Condition(type=Type.DEGRADED, holds=False, reason="AsExpected", message="")


def merged(status: Manifest, wanted: Sequence[Condition], now: datetime, *, generation: int) -> list[dict[str, Any]]:
    """The whole list for a status: what is wanted, and what others wrote.

    A type of ours that is not wanted is dropped.
    """
    before = _by_type(status)
    foreign = [dict(each) for each in before.values() if each.get("type") not in set(Type)]
    return [*(_written(each, before.get(each.type), now, generation) for each in wanted), *foreign]


def changes(status: Manifest, wanted: Sequence[Condition]) -> tuple[Event, ...]:
    """An Event for each condition that turned, or that holds for another reason than before."""
    before = _by_type(status)
    return tuple(
        Event(reason=each.reason, message=each.message, warning=each.holds and each.type in _TROUBLES)
        for each in wanted
        if each.message and _turned(each, before.get(each.type))
    )


def kept(status: Manifest, *types: Type) -> Iterator[Condition]:
    """Conditions as they were written before, for what was true once and is not seen again."""
    before = _by_type(status)
    for each in types:
        if found := before.get(each):
            yield Condition(
                type=each, holds=found.get("status") == "True", reason=found["reason"], message=found.get("message", "")
            )


def degraded(reason: str, message: str) -> Condition:
    """That something stands in the way, and what."""
    return Condition(type=Type.DEGRADED, holds=True, reason=reason, message=message)


def troubled(status: Manifest) -> Iterator[Condition]:
    """The trouble that an object's status tells of: whoever depends on it has it too."""
    yield from (each for each in kept(status, Type.DEGRADED) if each.holds)


def timestamp(moment: datetime) -> str:
    """A time as Kubernetes writes it, to the second."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def size(count: int) -> str:
    """A number of bytes as people read it."""
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if count >= 1 << power:
            return f"{count / (1 << power):.2f} {unit}"
    return f"{count} B"


def _by_type(status: Manifest) -> dict[str, Manifest]:
    return {each.get("type", ""): each for each in status.get("conditions") or ()}


def _turned(wanted: Condition, before: Manifest | None) -> bool:
    if before is None:
        return wanted.holds
    return (before.get("status"), before.get("reason")) != (wanted.status, wanted.reason)


def _written(wanted: Condition, before: Manifest | None, now: datetime, generation: int) -> dict[str, Any]:
    same = before is not None and before.get("status") == wanted.status
    since = before["lastTransitionTime"] if same and before else timestamp(now)
    return {
        "type": wanted.type.value,
        "status": wanted.status,
        "reason": wanted.reason,
        "message": wanted.message[:MESSAGE_LIMIT],
        "lastTransitionTime": since,
        "observedGeneration": generation,
    }
