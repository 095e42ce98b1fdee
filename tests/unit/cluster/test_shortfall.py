"""What is told to somebody who waits for workers that do not come."""

from __future__ import annotations

from typing import Any

import pytest

from dask_k8s.cluster.shortfall import Asked, Shortfall, asked, notes
from dask_k8s.diagnosis import Cause, Diagnosis

NO_IMAGE = Diagnosis(cause=Cause.IMAGE_NOT_FOUND, pod="a", sentence="No image.", mend="Look at image=.", final=True)
CRASH = Diagnosis(cause=Cause.CRASHING, pod="b", sentence="It crashed.", mend="Read its log.", final=True)
NO_ROOM = Diagnosis(cause=Cause.UNSCHEDULABLE, pod="c", sentence="No room.", mend="Ask for less.", final=False)


def shortfall(wanted: int = 4, joined: int | None = 2, **found: Any) -> Shortfall:
    """Two of four have joined, all are asked for, and the others have Pods."""
    complete: dict[str, Any] = {
        "asked": Asked(now=4, most=4),
        "resting": 0,
        "pods": 2,
        "troubles": (),
        "scheduler": None,
        "notes": (),
    }
    return Shortfall(wanted=wanted, joined=joined, **{**complete, **found})


def group(name: str, replicas: int, **condition: str) -> dict[str, Any]:
    """A group with one condition."""
    conditions = [{"type": "Degraded", "status": "True", "reason": "Forbidden", "message": "", **condition}]
    status = {"conditions": conditions if condition else []}
    return {"metadata": {"name": name}, "spec": {"worker": {"replicas": replicas}}, "status": status}


GROUPS = (group("simple-default", 2), group("simple-big", 3))


@pytest.mark.parametrize(
    ("autoscaler", "most", "adaptive"),
    [
        (None, 5, False),
        ({"spec": {"maximum": 10}}, 13, True),
        ({"spec": {"maximum": 1}}, 5, False),
        ({"spec": {}}, None, True),
    ],
)
def test_what_the_groups_ask_for(autoscaler: dict[str, Any] | None, most: int | None, adaptive: bool) -> None:
    """All groups count, and an autoscaler may raise the default one alone."""
    found = asked(GROUPS, autoscaler, "simple")
    assert (found.now, found.most, found.adaptive) == (5, most, adaptive)


def test_of_the_conditions_what_no_pod_says() -> None:
    """A quota is told there alone; a Pod's trouble is told of the Pod, and the cluster repeats its group's."""
    quota = group("simple-default", 1, message="exceeded quota: small")
    image = group("simple-big", 1, message="No image.", reason=Cause.IMAGE_NOT_FOUND)
    past = group("simple-old", 1, message="exceeded quota: old", status="False")
    assert notes([quota, quota, image, past, {"metadata": {"name": "new"}}]) == ("exceeded quota: small",)


@pytest.mark.parametrize(
    ("found", "lines"),
    [
        ({}, ["Pods that start: 2."]),
        ({"pods": 0}, ["Workers without a Pod yet: 2."]),
        ({"pods": 0, "notes": ("exceeded quota",)}, ["exceeded quota", "Workers without a Pod yet: 2."]),
        ({"troubles": (NO_ROOM, NO_ROOM)}, ["No room. (1 more alike.) Ask for less."]),
        ({"troubles": (NO_ROOM, CRASH)}, ["No room. Ask for less.", "It crashed. Read its log."]),
        ({"joined": None, "pods": 4, "scheduler": NO_ROOM}, ["does not answer.", "No room.", "Pods that start: 4."]),
        ({"asked": Asked(now=2, most=2), "pods": 0}, ["ask for 2 workers, and 4 are waited for: call cluster.scale"]),
        ({"asked": Asked(now=2, most=3), "pods": 0}, ["maximum allows 3 workers"]),
        ({"asked": Asked(now=2, most=None), "pods": 0}, ["cluster.adapt(minimum=4)"]),
        ({"asked": None}, ["Pods that start: 2."]),
    ],
)
def test_the_reasons(found: dict[str, Any], lines: list[str]) -> None:
    """Each on a line of its own, one for all Pods with the same trouble."""
    told = list(shortfall(**found).why())
    assert [line in each for line, each in zip(lines, told, strict=True)] == [True] * len(lines)


@pytest.mark.parametrize(
    ("found", "certain"),
    [
        ({}, False),
        ({"troubles": (NO_IMAGE,)}, True),
        ({"troubles": (NO_IMAGE,), "asked": Asked(now=5, most=5)}, False),
        ({"troubles": (NO_IMAGE,), "asked": Asked(now=4, most=None)}, False),
        ({"troubles": (NO_IMAGE,), "asked": None}, False),
        ({"troubles": (NO_IMAGE,), "asked": Asked(now=3, most=3)}, False),
        ({"troubles": (CRASH, NO_ROOM)}, False),
    ],
)
def test_when_it_is_certain_that_they_cannot_come(found: dict[str, Any], certain: bool) -> None:
    """Where too many can never run; not what may mend itself, and not what somebody may still ask for."""
    assert shortfall(**found).certain is certain


def test_workers_that_take_no_tasks_are_told_and_are_no_pods_that_start() -> None:
    """A paused one has joined long ago, and is waited for all the same."""
    found = list(shortfall(resting=1, pods=1).why())
    assert "1 worker has joined and takes no tasks now: paused, since the memory is full, or about to leave." in found
    assert "Pods that start: 1." in found
    assert not any("without a Pod" in each for each in found)
