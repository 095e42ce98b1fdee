"""DaskAutoscaler: up at once, down with patience, and nothing on a guess."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_k8s.kinds.autoscaler import Autoscaler
from dask_k8s.kinds.value import Ref
from dask_k8s.operator.actions import NOTHING, Ask, Patch, Plan, Question
from dask_k8s.operator.observed import Home, Known, ObservedAutoscaler, Refusal, Silent, Targets, Unasked
from dask_k8s.operator.plan.autoscaler import plan
from tests.unit import given as g
from tests.unit.given import HOME, NOW, autoscaler, later
from tests.unit.operator.plan.words import condition, status_of

GROUP = Ref(kind="DaskWorkerGroup", namespace="default", name="simple-default", uid="u", version="7")
LIMIT = 1000
SILENT = Silent(since=later(-60), why="no route to host")


def said(*answers: tuple[float, int], since: float | None = None) -> Known[Targets]:
    """Targets with the seconds at which they came, the last one now; without a gap since the first, or longer."""
    recent = tuple((later(at), number) for at, number in answers)
    first = recent[0][0] if since is None else later(since)
    return Known(at=NOW, answer=Targets(latest=recent[-1][1], since=first, recent=recent))


def observed(
    targets: Unasked | Silent | Known[Targets] = SILENT,
    replicas: int = 3,
    *,
    home: Home | None = HOME,
    group: Ref | None = GROUP,
    first: str = "simple",
    refusals: tuple[Refusal, ...] = (),
) -> ObservedAutoscaler:
    """What an autoscaler sees."""
    return ObservedAutoscaler(
        home=home, group=group, replicas=replicas, first=first, targets=targets, refusals=refusals
    )


def set_to(made: Plan) -> int | None:
    """The count that a plan writes, with the version as precondition."""
    patches = [each for each in made.actions if isinstance(each, Patch) and "spec" in each.patch]
    if not patches:
        return None
    (patch,) = patches
    assert (patch.target, patch.target.version) == (GROUP, "7")
    count: int = patch.patch["spec"]["worker"]["replicas"]
    return count


LONG = -300.0
ROWS: list[tuple[str, dict[str, Any], int, Unasked | Silent | Known[Targets], int | None]] = [
    ("up at once, by one answer alone", {}, 1, said((0, 6)), 6),
    ("it is there already", {}, 6, said((0, 6)), None),
    ("what is asked for counts, though it is still pending", {}, 6, said((-1, 6), (0, 6)), None),
    ("not above the maximum", {"maximum": 4}, 1, said((0, 9)), 4),
    ("not above the operator's own limit", {"maximum": None}, 1, said((0, 5000)), LIMIT),
    ("not below the minimum", {"minimum": 2}, 3, said((0, 0), since=LONG), 2),
    ("a minimum that was raised holds at once", {"minimum": 5}, 3, said((0, 0)), 5),
    ("a maximum that was lowered holds at once", {"maximum": 2}, 6, said((0, 6)), 2),
    ("down when the window is full", {}, 6, said((0, 2), since=LONG), 2),
    ("to zero, where zero is allowed", {"minimum": 0}, 6, said((0, 0), since=LONG), 0),
    ("not down before the answers span the window", {}, 6, said((-10, 2), (0, 2)), None),
    ("down to the highest of the window", {}, 6, said((-20, 4), (0, 2), since=LONG), 4),
    ("what is older than the window is past", {}, 6, said((-31, 5), (0, 2), since=LONG), 2),
    ("a window of no time", {"scaleDown": {"stabilizationSeconds": 0}}, 6, said((0, 2)), 2),
    ("not up to a target that is past", {"maximum": 50}, 6, said((-20, 40), (0, 1), since=LONG), None),
    ("nor one whose answer is of the future", {}, 6, replace(said((0, 2), since=LONG), at=later(60)), None),
    ("up is not held back by the window", {}, 3, said((-20, 4), (0, 8), since=LONG), 8),
    ("a silent scheduler changes nothing", {}, 6, SILENT, None),
    ("one that was not asked neither", {}, 6, Unasked(), None),
    ("nor one whose last answer is old", {}, 6, replace(said((0, 2), since=LONG), at=later(-7)), None),
    ("unless it is asked seldom", {"interval": 10}, 6, replace(said((0, 2), since=LONG), at=later(-7)), 2),
    ("a user who scales by hand is corrected upwards", {}, 2, said((0, 5), since=LONG), 5),
    ("and downwards", {}, 9, said((0, 5), since=LONG), 5),
]


@pytest.mark.parametrize(("_fact", "spec", "replicas", "targets", "expected"), ROWS, ids=[row[0] for row in ROWS])
def test_counts(
    _fact: str, spec: dict[str, Any], replicas: int, targets: Unasked | Silent | Known[Targets], expected: int | None
) -> None:
    """What the group's count becomes."""
    given = {key: each for key, each in {"minimum": 1, "maximum": 10, **spec}.items() if each is not None}
    manifest = g.autoscaler_manifest()
    value = Autoscaler.from_manifest({**manifest, "spec": {"cluster": "simple", **given}})
    assert set_to(plan(value, observed(targets, replicas), LIMIT, NOW)) == expected


def test_a_second_autoscaler_does_nothing_and_says_so() -> None:
    """It asks nobody, writes no count, and names the first."""
    made = plan(autoscaler(), observed(said((0, 9)), first="older"), LIMIT, NOW)
    assert (set_to(made), made.ask) == (None, frozenset())
    told = condition(made, "Degraded")
    assert (told["reason"], "older" in told["message"]) == ("AnotherAutoscaler", True)
    assert condition(made, "ScalingActive")["status"] == "False"


def test_without_a_cluster_it_waits_and_says_so() -> None:
    """It is made ours as soon as there is one."""
    made = plan(autoscaler(owned=False), observed(Unasked(), home=None, group=None), LIMIT, NOW)
    assert (made.actions, made.ask) == ((), frozenset())
    assert condition(made, "Degraded")["reason"] == "ClusterNotFound"


def test_it_becomes_its_clusters() -> None:
    """Deleted with it."""
    (patch,) = plan(autoscaler(owned=False), observed(Unasked()), LIMIT, NOW).actions
    assert isinstance(patch, Patch)
    assert patch.owner == g.CLUSTER
    (owner,) = patch.patch["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("DaskCluster", "uid-1", True)


@pytest.mark.parametrize(
    ("one", "there"),
    [
        (autoscaler(metadata={"deletionTimestamp": g.CREATED}), observed(said((0, 9)))),
        (autoscaler(), observed(said((0, 9)), home=replace(HOME, deleting=True))),
        (autoscaler(), observed(Unasked(), home=None, group=None)),
    ],
    ids=["it goes", "its cluster goes", "its cluster is gone"],
)
def test_nothing_is_done_for_what_is_going(one: Autoscaler, there: ObservedAutoscaler) -> None:
    """The count stays; the garbage collector comes for the autoscaler of a cluster that is gone."""
    assert plan(one, there, LIMIT, NOW) == NOTHING


def test_it_asks_as_often_as_it_should() -> None:
    """As soon as there may be a scheduler."""
    made = plan(autoscaler(interval=7), observed(Unasked()), LIMIT, NOW)
    assert made.ask == frozenset({Question(ask=Ask.TARGET, every=7.0)})
    nowhere = replace(HOME, scheduled=False, ready=False)
    assert plan(autoscaler(), observed(Unasked(), home=nowhere), LIMIT, NOW).ask == frozenset()


def test_status_tells_target_count_and_time() -> None:
    """The target as the scheduler said it, the count within the limits."""
    made = plan(autoscaler(maximum=4), observed(said((0, 9)), 1), LIMIT, NOW)
    status = status_of(made)
    assert (status["target"], status["replicas"]) == (9, 4)
    assert status["lastScaleTime"] == "2026-01-31T12:00:00Z"
    assert (condition(made, "ScalingLimited")["reason"]) == "TooManyReplicas"


def test_a_silent_scheduler_leaves_the_numbers_as_they_were() -> None:
    """Not known is not zero."""
    before = {"target": 9, "replicas": 4, "lastScaleTime": "2026-01-31T11:00:00Z"}
    made = plan(autoscaler(status=before), observed(SILENT, 4), LIMIT, NOW)
    status = status_of(made)
    assert {key: status[key] for key in before} == before
    assert condition(made, "Degraded")["reason"] == "SchedulerSilent"
    assert "no route to host" in condition(made, "Degraded")["message"]


def test_a_scheduler_that_is_still_starting_is_no_trouble() -> None:
    """It does not answer before it is there."""
    made = plan(autoscaler(), observed(SILENT, home=replace(HOME, ready=False)), LIMIT, NOW)
    assert condition(made, "Degraded")["status"] == "False"
    assert condition(made, "ScalingActive")["reason"] == "SchedulerStarting"


@pytest.mark.parametrize(
    ("spec", "target", "reason"),
    [
        ({}, 5, "WithinRange"),
        ({"minimum": 2}, 0, "TooFewReplicas"),
        ({"maximum": 3}, 5, "TooManyReplicas"),
        ({"maximum": 5000}, 3000, "OperatorLimit"),
        ({"minimum": 2000, "maximum": 5000}, 0, "OperatorLimit"),
    ],
)
def test_limits_are_told(spec: dict[str, Any], target: int, reason: str) -> None:
    """Which of them holds the count."""
    made = plan(autoscaler(**spec), observed(said((0, target), since=LONG)), LIMIT, NOW)
    assert condition(made, "ScalingLimited")["reason"] == reason


def test_it_wakes_when_a_target_leaves_the_window() -> None:
    """Otherwise nothing would happen when nothing changes."""
    made = plan(autoscaler(), observed(said((-20, 4), (0, 2), since=LONG), 4), LIMIT, NOW)
    assert made.wake_at is not None
    assert later(10) < made.wake_at <= later(10.1)
    at_that_time = said((-20 - 10.001, 4), (-10.001, 2), since=LONG)
    assert set_to(plan(autoscaler(), observed(at_that_time, 4), LIMIT, NOW)) == 2


@given(
    answers=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 40)), min_size=1, max_size=20),
    replicas=st.integers(0, 30),
    minimum=st.integers(0, 10),
    width=st.integers(0, 20),
    window=st.integers(0, 90),
)
def test_no_answers_lead_out_of_the_range(
    answers: list[tuple[int, int]], replicas: int, minimum: int, width: int, window: int
) -> None:
    """And carrying the plan out leaves nothing to plan; nothing goes while a target of the window wants it."""
    recent = tuple(sorted((later(-age), number) for age, number in answers))
    targets = Known(at=NOW, answer=Targets(latest=recent[-1][1], since=recent[0][0], recent=recent))
    one = autoscaler(minimum=minimum, maximum=minimum + width, scaleDown={"stabilizationSeconds": window})
    count = set_to(plan(one, observed(targets, replicas), LIMIT, NOW))
    after = replicas if count is None else count
    assert minimum <= after <= minimum + width
    wanted = max(number for at, number in recent if at >= min(recent[-1][0], NOW - timedelta(seconds=window)))
    assert after >= min(wanted, max(replicas, recent[-1][1]), minimum + width)
    assert set_to(plan(one, observed(targets, after), LIMIT, NOW)) is None
