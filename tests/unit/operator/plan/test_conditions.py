"""Conditions as the API has them: times move with the status alone, others' are kept, Events tell of changes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_k8s.operator.plan.conditions import MESSAGE_LIMIT, Condition, Type, changes, merged
from tests.unit.given import NOW, later

THEN = "2026-01-31T11:00:00Z"


def wanted(holds: bool = True, reason: str = "R", message: str = "m", kind: Type = Type.PROGRESSING) -> Condition:
    return Condition(type=kind, holds=holds, reason=reason, message=message)


def written(status: str = "True", reason: str = "R", message: str = "m", kind: str = "Progressing") -> dict[str, Any]:
    shared = {"type": kind, "status": status, "reason": reason, "message": message}
    return {**shared, "lastTransitionTime": THEN, "observedGeneration": 1}


@pytest.mark.parametrize(
    ("before", "new", "moved"),
    [
        (written("True"), wanted(True), False),
        (written("True", "Other", "words"), wanted(True), False),
        (written("False"), wanted(True), True),
        (written("True"), wanted(False), True),
        (None, wanted(True), True),
        (None, wanted(False), True),
    ],
)
def test_the_time_moves_only_with_the_status(before: dict[str, Any] | None, new: Condition, moved: bool) -> None:
    """Another reason or another sentence is no transition."""
    (now,) = merged({"conditions": [before] if before else None}, [new], NOW, generation=2)
    assert now["lastTransitionTime"] == ("2026-01-31T12:00:00Z" if moved else THEN)
    assert (now["status"], now["reason"], now["message"]) == (new.status, new.reason, new.message)
    assert now["observedGeneration"] == 2


def test_foreign_types_are_kept_as_they_are() -> None:
    """Another controller's condition stays, unknown fields included; ours that is not wanted any more goes."""
    foreign = {"type": "example.org/Approved", "status": "True", "theirs": {"x": 1}}
    ours = written(kind="SchedulerStateLost")
    after = merged({"conditions": [foreign, ours]}, [wanted()], NOW, generation=1)
    assert [each["type"] for each in after] == ["Progressing", "example.org/Approved"]
    assert after[1] == foreign


@pytest.mark.parametrize(
    ("before", "new", "told"),
    [
        (None, wanted(True), True),
        (None, wanted(False), False),
        (written("True"), wanted(True), False),
        (written("True", message="other words"), wanted(True), False),
        (written("True"), wanted(False), True),
        (written("False"), wanted(True), True),
        (written("True", "Other"), wanted(True), True),
        (written("False", "Other"), wanted(False), True),
        (written("True"), wanted(False, message=""), False),
    ],
)
def test_events_tell_of_changes_alone(before: dict[str, Any] | None, new: Condition, told: bool) -> None:
    """A turn, or another reason; a count that moves within a sentence is none."""
    events = changes({"conditions": [before] if before else []}, [new])
    assert [(event.reason, event.message) for event in events] == ([(new.reason, new.message)] if told else [])


@pytest.mark.parametrize("kind", Type)
@pytest.mark.parametrize("holds", [True, False])
def test_warnings_are_what_somebody_may_have_to_act_on(kind: Type, holds: bool) -> None:
    """A trouble that begins warns; that it is over does not."""
    (event,) = changes(
        {"conditions": [written("False" if holds else "True", kind=kind.value)]}, [wanted(holds, kind=kind)]
    )
    good = ("SchedulerReady", "WorkersReady", "Progressing", "Complete", "ScalingActive", "ScalingLimited")
    assert event.warning == (holds and kind not in good)


def test_a_message_fits_into_the_api() -> None:
    """A kubelet's words can be long; an object has a limit."""
    (cut,) = merged({}, [wanted(message="x" * 5000)], NOW, generation=1)
    assert len(cut["message"]) == MESSAGE_LIMIT


conditions = st.builds(
    wanted, st.booleans(), st.sampled_from("RST"), st.sampled_from(["", "m", "n"]), st.sampled_from(Type)
)
lists = st.lists(conditions, unique_by=lambda each: each.type)


@given(lists, lists)
def test_merging_again_later_changes_nothing(first: list[Condition], second: list[Condition]) -> None:
    """A fixed point: a status that was written is not written again because time went by, and nothing is told twice."""
    before = {"conditions": merged({}, first, NOW, generation=1)}
    after = {"conditions": merged(before, second, later(5), generation=1)}
    assert merged(after, second, later(99), generation=1) == after["conditions"]
    assert changes(after, second) == ()
