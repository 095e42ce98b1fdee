"""What played schedulers and workers are like, as an annotation of their Pods says in JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field, fields
from enum import StrEnum
from typing import Any

from dask_k8s.kinds.value import Manifest, value

SCENE = "played.test/scene"
"""The annotation of a Pod; absent, a scheduler answers at once and a worker has nothing and does nothing."""


class Behaviour(StrEnum):
    """What becomes of a question."""

    ANSWERS = "answers"
    SILENT = "silent"
    FROZEN = "frozen"
    """It stops in the middle of an answer."""
    ABSENT = "absent"
    """It closes every connection, as a process does that is gone."""


@value
class SchedulerScene:
    """One scheduler.

    Parameters
    ----------
    slow
        Seconds before the answer, by the name of the op.
    fails
        The ops that are answered with an error.
    target
        How many workers it could use.
    refuses
        The workers, by name, that it does not retire.
    moves
        Seconds that the data of one retirement takes to move.
    life
        Another number is another process behind the same address.
    """

    behaviour: Behaviour = Behaviour.ANSWERS
    slow: Mapping[str, float] = field(default_factory=dict)
    fails: tuple[str, ...] = ()
    target: int = 0
    refuses: tuple[str, ...] = ()
    moves: float = 0.0
    life: int = 0


@value
class WorkerScene:
    """One worker.

    Parameters
    ----------
    joins
        Seconds from its Pod's start until the scheduler knows it; None for never.
    data
        The sizes of what it holds, each under a key of its own.
    tasks
        The seconds of each task that is assigned to it; they run one after the other.
    """

    joins: float | None = 0.0
    data: tuple[int, ...] = ()
    tasks: tuple[float, ...] = ()


def of_scheduler(pod: Manifest) -> SchedulerScene:
    """What a scheduler's Pod says."""
    told = _told(pod, SchedulerScene)
    return SchedulerScene(**{**told, "behaviour": Behaviour(told.get("behaviour", Behaviour.ANSWERS))})


def of_worker(pod: Manifest) -> WorkerScene:
    """What a worker's Pod says."""
    return WorkerScene(**_told(pod, WorkerScene))


def _told(pod: Manifest, scene: type[SchedulerScene] | type[WorkerScene]) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(pod["metadata"].get("annotations", {}).get(SCENE, "{}"))
    if unknown := told.keys() - {each.name for each in fields(scene)}:
        raise ValueError(f"a scene has no {', '.join(sorted(unknown))}")
    return {name: tuple(found) if isinstance(found, list) else found for name, found in told.items()}
