"""``spec.idleTimeout``: counted from the scheduler's own marks, through silence and restarts of ours."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dask_k8s.kinds.cluster import Cluster
from dask_k8s.operator.actions import Ask, Delete, Question
from dask_k8s.operator.observed import Known, ObservedCluster, Phase, Refusal, Silent, Unasked
from dask_k8s.operator.plan.cluster import plan
from tests.unit import given as g
from tests.unit.given import NOW, cluster, later
from tests.unit.operator.plan.test_cluster import observed, scheduler
from tests.unit.operator.plan.words import condition, status_of

TIMEOUT = 300
MARK = "1769860000.5"
SILENT = Silent(since=later(-60), why="no route to host")
AT_WORK: Known[str | None] = Known(at=NOW, answer=None)


def rested(seconds: float, mark: str = MARK) -> dict[str, str]:
    """The status of a cluster that has been idle for so long."""
    return {"idleSince": later(-seconds).strftime("%Y-%m-%dT%H:%M:%SZ"), "idleMark": mark}


def idle(mark: str = MARK, age: float = 1) -> Known[str | None]:
    """What the scheduler answered a moment ago."""
    return Known(at=later(-age), answer=mark)


def seen(answer: Unasked | Silent | Known[str | None], phase: Phase = Phase.READY) -> ObservedCluster:
    return observed(scheduler(phase), idle=answer)


ROWS: list[tuple[str, dict[str, Any], ObservedCluster, bool, float | None]] = [
    ("a first rest begins with the answer", {}, seen(idle(age=0)), False, 0),
    ("it goes on under its mark", rested(100), seen(idle()), False, 100),
    ("it goes on whoever looks: a restart of ours changes nothing", rested(299), seen(Unasked()), False, 299),
    ("its time is over", rested(301), seen(idle()), True, 301),
    ("its time is over, and it was not asked since", rested(300), seen(idle(age=0.5)), False, 300),
    ("a rest without a mark is none", {"idleSince": rested(900)["idleSince"]}, seen(AT_WORK), False, None),
    ("nor is one of the future's answer", rested(301), seen(idle(age=-60)), False, 301),
    ("another mark is another rest", rested(300), seen(idle("1769860999.5", age=0)), False, 0),
    ("work ends it", rested(300), seen(AT_WORK), False, None),
    ("a silent scheduler is not an idle one", rested(300), seen(SILENT), False, 300),
    ("nor one that was not asked yet", rested(300), seen(Unasked()), False, 300),
    ("an answer that is too old does not do", rested(300), seen(idle(age=10)), False, 300),
    ("a scheduler that is not ready does not count", rested(300), seen(idle(), Phase.RUNNING), False, 300),
]


@pytest.mark.parametrize(("_fact", "status", "there", "goes", "since"), ROWS, ids=[row[0] for row in ROWS])
def test_rests(_fact: str, status: dict[str, Any], there: ObservedCluster, goes: bool, since: float | None) -> None:
    """Whether the cluster is deleted, and since when it is said to be idle."""
    made = plan(cluster(idleTimeout=TIMEOUT, status=status), there, NOW)
    deletes = [each for each in made.actions if isinstance(each, Delete) and each.target.kind == "DaskCluster"]
    assert bool(deletes) == goes
    expected = None if since is None else rested(since)["idleSince"]
    assert status_of(made).get("idleSince") == expected
    assert ("idleMark" in status_of(made)) == (since is not None)


def test_before_it_goes_it_says_so() -> None:
    """A warning a minute before, with the time; at the end another one, written before the deletion."""
    soon = plan(cluster(idleTimeout=TIMEOUT, status=rested(245)), seen(idle()), NOW)
    told = condition(soon, "Idle")
    assert (told["status"], told["reason"]) == ("True", "IdleTimeoutSoon")
    assert "deleted at 2026-01-31T12:00:55Z" in told["message"]
    assert [(event.reason, event.warning) for event in soon.events if "Idle" in event.reason] == [
        ("IdleTimeoutSoon", True)
    ]
    gone = plan(cluster(idleTimeout=TIMEOUT, status={**status_of(soon), **rested(301)}), seen(idle()), NOW)
    assert condition(gone, "Idle")["reason"] == "IdleTimeout"
    assert "IdleTimeout" in [event.reason for event in gone.events]


def test_a_deletion_by_idleness_is_by_uid() -> None:
    """Another cluster of the name is not meant, and nothing else is done in that pass."""
    (action,) = plan(cluster(idleTimeout=TIMEOUT, status=rested(301)), seen(idle()), NOW).actions
    assert isinstance(action, Delete)
    assert (action.target.kind, action.target.uid) == ("DaskCluster", "uid-1")


@pytest.mark.parametrize(
    ("status", "phase", "expected"),
    [
        ({}, Phase.READY, {Question(ask=Ask.IDLE, every=10.0)}),
        (rested(100), Phase.READY, {Question(ask=Ask.IDLE, every=10.0)}),
        (rested(290), Phase.READY, {Question(ask=Ask.IDLE, every=1.0)}),
        ({}, Phase.PENDING, set()),
    ],
)
def test_it_is_asked_more_often_near_the_end(status: dict[str, Any], phase: Phase, expected: set[Question]) -> None:
    """So that work which comes in the last moment is seen; and only when the scheduler is ready."""
    made = plan(cluster(idleTimeout=TIMEOUT, status=status), seen(Unasked(), phase), NOW)
    assert made.ask == expected


@pytest.mark.parametrize(("timeout", "every"), [(1, 5.0), (150, 5.0), (600, 20.0), (900, 30.0), (86_400, 30.0)])
def test_the_longer_the_time_the_less_often_it_is_asked(timeout: int, every: float) -> None:
    """A thirtieth of a long time does not matter to anybody."""
    (question,) = plan(cluster(idleTimeout=timeout), seen(Unasked()), NOW).ask
    assert question.every == every


def test_without_a_timeout_nobody_is_asked() -> None:
    """0 and absent mean never."""
    for spec in ({}, {"idleTimeout": 0}):
        made = plan(cluster(status=rested(1000), **spec), seen(idle()), NOW)
        assert (made.ask, made.actions) == (frozenset(), ())
        assert "idleSince" not in status_of(made)


def test_a_jobs_cluster_goes_with_the_job() -> None:
    """While its program runs, work may always come; its end takes the cluster away."""
    owner = {"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskJob", "name": "simple", "uid": "uid-3"}
    manifest = g.cluster_manifest(metadata={"ownerReferences": [{**owner, "controller": True}]}, idleTimeout=TIMEOUT)
    one = Cluster.from_manifest({**manifest, "status": rested(1000)})
    made = plan(one, seen(idle()), NOW)
    assert (made.ask, made.actions) == (frozenset(), ())
    assert condition(made, "Idle")["reason"] == "ServesJob"


@pytest.mark.parametrize(("rested_for", "wakes"), [(100, 140), (245, 40), (290, 10), (300, 1)])
def test_it_wakes_when_there_is_something_to_say_or_do(rested_for: float, wakes: float) -> None:
    """At the warning, when it is to be asked more often, at the end, and then until a fresh answer is there."""
    made = plan(cluster(idleTimeout=TIMEOUT, status=rested(rested_for)), seen(idle(age=10)), NOW)
    assert made.wake_at == later(wakes)


def test_it_does_not_wake_by_itself_where_that_changes_nothing() -> None:
    """What a silent scheduler says comes by itself, and a refused deletion is tried again in its time."""
    assert plan(cluster(idleTimeout=TIMEOUT, status=rested(400)), seen(SILENT), NOW).wake_at is None
    refusal = Refusal(action=Delete(target=g.CLUSTER), reason="Forbidden", message="may not delete", retry_at=later(30))
    there = replace(seen(idle()), refusals=(refusal,))
    assert plan(cluster(idleTimeout=TIMEOUT, status=rested(400)), there, NOW).wake_at == later(30)


def test_a_count_flows_as_a_memory_alone_while_an_autoscaler_exists() -> None:
    """The autoscaler writes the count; what the cluster asked for is remembered, so that it does not flow later."""
    (patch,) = plan(cluster(worker=g.cluster_manifest()["spec"]["worker"] | {"replicas": 7}), AUTOSCALED, NOW).actions
    assert patch.patch == {"metadata": {"annotations": {"dask.org/replicas-from-cluster": "7"}}}  # type: ignore[union-attr]


AUTOSCALED = observed(autoscaled=True)
