"""When a worker that ended is replaced: at once, but later and later where workers end as soon as they begin."""

from __future__ import annotations

from typing import Any

import pytest

from dask_k8s.kinds.value import Manifest
from dask_k8s.operator.observed import Phase, Worker
from dask_k8s.operator.plan.worker_group import plan
from tests.unit.given import NOW, group, later, observed, worker
from tests.unit.operator.plan.words import condition, deeds

a = worker("a")


def early(count: int, last: float) -> dict[str, Any]:
    """A group's status after so many early ends in a row."""
    return {"earlyEnds": {"count": count, "last": later(last).strftime("%Y-%m-%dT%H:%M:%SZ")}}


def ended(name: str, created: float, after: float) -> Worker:
    """A worker that ended so many seconds after it was made."""
    return worker(name, Phase.ENDED, created=later(created), ended=later(created + after))


BACK_OFF = [
    ("the second end in a row waits 10 s", early(1, -40), ended("x", -6, 1), 2, 5.0),
    ("and is replaced then", early(1, -40), ended("x", -11, 1), 2, None),
    ("the third waits 20 s", early(2, -40), ended("x", -6, 1), 3, 15.0),
    ("the fifth waits 80 s", early(4, -200), ended("x", -6, 1), 5, 75.0),
    ("none waits longer than 5 minutes", early(40, -900), ended("x", -6, 1), 41, 295.0),
    ("an end that is counted is not counted again", early(2, -5), ended("x", -6, 1), 2, 5.0),
]


@pytest.mark.parametrize(("_fact", "status", "one", "count", "wait"), BACK_OFF, ids=[row[0] for row in BACK_OFF])
def test_early_ends_back_off(_fact: str, status: Manifest, one: Worker, count: int, wait: float | None) -> None:
    """The ended Pod stays for its log until it is replaced; the plan says when to look again."""
    made = plan(group(replicas=1, status=status), observed(one), NOW)
    assert made.status is not None
    assert made.status["earlyEnds"]["count"] == count
    if wait is None:
        assert deeds(made) == ["create Pod", "delete x"]
    else:
        assert deeds(made) == []
        assert made.wake_at == later(wait)
        assert condition(made, "Degraded")["reason"] == "WorkersEnd"


def test_one_generation_counts_once() -> None:
    """Ten workers of one start that end together are one early end."""
    made = plan(group(replicas=10), observed(*(ended(str(i), -30, 1 + i / 10) for i in range(10))), NOW)
    assert made.status is not None
    assert made.status["earlyEnds"]["count"] == 1
    assert deeds(made).count("create Pod") == 10


def test_others_are_not_kept_waiting_by_those_that_ended() -> None:
    """While one waits for its replacement, a scale-up makes the rest."""
    made = plan(group(replicas=3, status=early(2, -40)), observed(ended("x", -6, 1)), NOW)
    assert deeds(made) == ["create Pod", "create Pod"]


def test_only_who_is_to_be_replaced_is_kept_for_its_log() -> None:
    """A group that shrank takes away what ended, the oldest first, and does not wait for the back-off."""
    there = observed(*(ended(name, created, 1) for name, created in (("old", -40), ("new", -6), ("older", -50))))
    assert deeds(plan(group(replicas=1, status=early(2, -6)), there, NOW)) == ["delete old", "delete older"]
    assert deeds(plan(group(replicas=0, status=early(2, -6)), there, NOW)) == [
        "delete new",
        "delete old",
        "delete older",
    ]
    assert deeds(plan(group(replicas=3, status=early(2, -6)), there, NOW)) == []


def test_a_worker_that_holds_out_ends_the_back_off() -> None:
    """One that was made after the last end and has been ready for a minute."""
    held = worker("a", created=later(-61))
    made = plan(group(replicas=1, status=early(5, -120)), observed(held), NOW)
    assert made.status is not None
    assert "earlyEnds" not in made.status


def test_a_worker_from_before_the_ends_proves_nothing() -> None:
    """It was started from what worked then; what is started now ends at once."""
    made = plan(group(replicas=2, status=early(2, -40)), observed(a, ended("x", -6, 1)), NOW)
    assert made.status is not None
    assert made.status["earlyEnds"]["count"] == 3


def test_a_part_of_a_second_is_not_counted_again() -> None:
    """Times in a status have whole seconds, and an end is compared with what was written of it."""
    there = observed(ended("x", -5.8, 0.3))
    first = plan(group(replicas=1), there, NOW).status
    assert first is not None
    assert plan(group(replicas=1, status=first), there, NOW).status == first


def test_the_plan_looks_again_when_a_worker_may_have_held_out() -> None:
    """Nothing happens at that moment by itself."""
    made = plan(group(replicas=1, status=early(1, -120)), observed(worker("a", created=later(-20))), NOW)
    assert made.wake_at == later(40)
