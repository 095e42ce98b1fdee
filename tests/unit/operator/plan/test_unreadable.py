"""A resource that cannot be read: one condition, one Event, no deed."""

from __future__ import annotations

from dask_k8s.errors import InvalidResource
from dask_k8s.operator.plan.unreadable import plan
from tests.unit.given import NOW, later

ERROR = InvalidResource("spec.worker.replicas", "must be a whole number, not a text")


def test_the_condition_names_the_field_and_the_rest_stays() -> None:
    """Nothing else is harmed: counts and foreign conditions stand as they were."""
    foreign = {"type": "example.org/Approved", "status": "True"}
    manifest = {"metadata": {"generation": 4}, "status": {"replicas": 2, "conditions": [foreign]}}
    made = plan(manifest, ERROR, NOW)
    assert made.status is not None
    assert (made.status["replicas"], made.status["observedGeneration"], made.actions) == (2, 4, ())
    told, kept = made.status["conditions"]
    assert (told["type"], told["status"], told["reason"], told["message"]) == (
        "Degraded",
        "True",
        "InvalidSpec",
        str(ERROR),
    )
    assert kept == foreign
    assert [(event.reason, event.warning) for event in made.events] == [("InvalidSpec", True)]


def test_it_is_told_once() -> None:
    """The next pass finds it written, and changes nothing."""
    first = plan({"metadata": {}}, ERROR, NOW)
    again = plan({"metadata": {}, "status": first.status}, ERROR, later(60))
    assert (again.status, again.events) == (first.status, ())
