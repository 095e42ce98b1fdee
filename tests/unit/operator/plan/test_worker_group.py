"""What a worker group's plan is, row by row: who joins, who leaves, who is replaced and when, what is adopted."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from dask_k8s.kinds.value import Ref
from dask_k8s.kinds.worker_group import WorkerGroup
from dask_k8s.operator.actions import NOTHING, Create, Patch, Retire
from dask_k8s.operator.observed import Drain, Drained, Home, ObservedGroup, Phase, Refusal, Silent, Unasked, Worker
from dask_k8s.operator.plan.worker_group import MOST_NEW, plan
from tests.unit import given as g
from tests.unit.given import NOW, group, later, observed, worker
from tests.unit.operator.plan.words import SILENT, condition, deeds, order, retiring

READY, PENDING, RUNNING = Phase.READY, Phase.PENDING, Phase.RUNNING
a, b, c = worker("a"), worker("b"), worker("c")
pending = worker("p", PENDING)

JOINERS = [
    ("an empty group gets all its workers at once", 3, observed(), ["create Pod"] * 3),
    ("a full group needs nothing", 2, observed(a, b), []),
    ("those that exist are kept, the rest is added", 3, observed(a, b), ["create Pod"]),
    ("an orphan that is adopted counts", 2, observed(a, orphans=[g.pod("o")]), ["adopt o"]),
    ("what is asked for already is not asked for again", 2, observed(worker("e", Phase.EXPECTED), a), []),
    ("a lost reply is asked for again under its name", 2, observed(worker("d", Phase.IN_DOUBT), a), ["create Pod"]),
    (
        "and with others, where more are missing",
        4,
        observed(worker("d", Phase.IN_DOUBT), a),
        ["create Pod", "create Pod", "create Pod"],
    ),
    (
        "but not where it is not wanted any more, nor does another one go for it",
        1,
        observed(worker("d", Phase.IN_DOUBT), a),
        [],
    ),
    ("one that leaves is replaced at once", 2, observed(a, worker("b", Phase.LEAVING)), ["create Pod"]),
    ("one that retires does not count", 2, observed(a, retiring("b", Drain.UNDER_WAY)), ["create Pod"]),
    (
        "one whose node is about to go does not count, and leaves",
        2,
        observed(a, worker("b", node_leaves="It goes.")),
        ["create Pod", "mark b"],
    ),
    (
        "one that was refused is taken back before another is made",
        2,
        observed(a, retiring("b", Drain.REFUSED)),
        ["keep b"],
    ),
    (
        "but not one whose node is about to go",
        2,
        observed(a, retiring("b", Drain.REFUSED, node_leaves="It goes.")),
        ["create Pod"],
    ),
    ("one that is stuck is replaced", 2, observed(a, retiring("b", Drain.STUCK)), ["create Pod"]),
    ("one that is not ready counts", 2, observed(a, worker("b", RUNNING)), []),
    (
        "no worker starts before the scheduler has a node",
        2,
        observed(home=Home(ref=g.CLUSTER, deleting=False, scheduled=False, ready=False)),
        [],
    ),
    (
        "an ended one makes room for another at once the first time",
        1,
        observed(worker("x", Phase.ENDED, ended=later(-1), created=later(-30))),
        ["create Pod", "delete x"],
    ),
    (
        "one that ended after long is replaced at once",
        1,
        observed(worker("x", Phase.ENDED, ended=later(-1))),
        ["create Pod", "delete x"],
    ),
    ("ended ones of a group that shrank go", 0, observed(worker("x", Phase.ENDED, ended=later(-1))), ["delete x"]),
]


@pytest.mark.parametrize(("_fact", "replicas", "there", "expected"), JOINERS, ids=[row[0] for row in JOINERS])
def test_joiners(_fact: str, replicas: int, there: ObservedGroup, expected: list[str]) -> None:
    """Who is made, and whose place it takes."""
    assert deeds(plan(group(replicas=replicas), there, NOW)) == expected


def test_the_mark_says_since_when() -> None:
    """In the API, so that the choice and its time survive the operator's restart; with the uid, not the version."""
    made = plan(group(replicas=1), observed(a, b, order=order("b", "a")), NOW)
    (mark,) = made.actions
    assert mark == Patch(
        target=b.ref, patch={"metadata": {"annotations": {"dask.org/retiring-since": "2026-01-31T12:00:00Z"}}}
    )
    assert b.ref.version is None


def test_a_retirement_has_the_groups_time() -> None:
    """``drainTimeout`` bounds the whole of it."""
    (retire,) = plan(group(replicas=1, drainTimeout=7), observed(a, retiring("b")), NOW).actions
    assert retire == Retire(cluster=g.CLUSTER, workers=frozenset({g.pod("b")}), timeout=7, final=False)


def test_a_lost_reply_keeps_its_name() -> None:
    """A repeated POST meets itself."""
    (again,) = plan(group(replicas=1), observed(worker("in-doubt", Phase.IN_DOUBT)), NOW).actions
    assert isinstance(again, Create)
    assert again.manifest["metadata"]["name"] == "in-doubt"


def test_more_than_five_hundred_are_made_one_plan_after_the_other() -> None:
    """Whoever asks for fewer meanwhile is heard in between; a repeated POST counts with the others."""
    assert deeds(plan(group(replicas=1200), observed(), NOW)) == ["create Pod"] * MOST_NEW
    doubted = [worker(f"d{number}", Phase.IN_DOUBT) for number in range(600)]
    assert deeds(plan(group(replicas=1200), observed(*doubted), NOW)) == ["create Pod"] * MOST_NEW


def test_new_names_come_from_the_draw() -> None:
    """The plan is a function: the same draw gives the same names, another one others."""
    one, same = (plan(group(replicas=2), observed(), NOW) for _ in range(2))
    assert one == same
    names = {each.manifest["metadata"]["name"] for each in one.actions if isinstance(each, Create)}
    assert len(names) == 2


@pytest.mark.parametrize(
    ("one", "there"),
    [
        (group(metadata={"deletionTimestamp": g.CREATED}), observed()),
        (group(), observed(home=Home(ref=g.CLUSTER, deleting=True, scheduled=True, ready=True))),
        (group(), observed(a, home=None)),
        (group(), observed(a, home=replace(g.HOME, ref=replace(g.CLUSTER, uid="uid-of-another")))),
    ],
    ids=["group", "cluster", "cluster is gone", "another cluster has its name"],
)
def test_nothing_is_made_for_what_is_going(one: WorkerGroup, there: ObservedGroup) -> None:
    """The garbage collector does the rest."""
    assert plan(one, there, NOW) == NOTHING


def test_a_group_without_its_cluster_waits_and_says_so() -> None:
    """It keeps what it has, makes nothing, and joins when the cluster comes."""
    made = plan(group(owned=False, replicas=3), observed(a, home=None), NOW)
    assert made.actions == ()
    assert condition(made, "Progressing")["reason"] == "WaitingForCluster"
    assert condition(made, "Degraded")["reason"] == "ClusterNotFound"


def test_a_group_and_its_orphans_are_adopted() -> None:
    """The group by its cluster, Pods with its labels by the group; each with the precondition that its Ref has."""
    made = plan(group(owned=False, replicas=0), observed(orphans=[g.pod("orphan")]), NOW)
    assert deeds(made) == ["adopt orphan", "adopt simple-default"]
    by_group, by_cluster = (each for each in made.actions if isinstance(each, Patch))
    assert (by_group.target.version, by_group.target.uid) == ("7", "uid-2")
    assert (by_group.owner, by_cluster.owner) == (g.CLUSTER, by_group.target)
    (owner,) = by_group.patch["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("DaskCluster", "uid-1", True)
    assert by_cluster.target.uid == "uid-of-orphan"
    (owner,) = by_cluster.patch["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("DaskWorkerGroup", "uid-2", True)


def test_no_pod_is_made_before_the_group_is_its_clusters() -> None:
    """Where the cluster goes before that, nobody takes the group away, and its Pods would stay for ever."""
    assert deeds(plan(group(owned=False, replicas=2), observed(), NOW)) == ["adopt simple-default"]
    assert deeds(plan(group(replicas=2), observed(), NOW)) == ["create Pod"] * 2


def test_adoption_keeps_owners_that_do_not_control() -> None:
    """A merge patch replaces the list, so the others are in it."""
    other = {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "uid-of-c"}
    one = group(owned=False, replicas=0, metadata={"ownerReferences": [other]})
    (patch,) = plan(one, observed(), NOW).actions
    assert isinstance(patch, Patch)
    assert [owner["uid"] for owner in patch.patch["metadata"]["ownerReferences"]] == ["uid-of-c", "uid-1"]


def test_a_refused_pod_is_tried_when_its_time_has_come() -> None:
    """A quota that is used up is a condition with the API server's words, and no hot loop."""

    def refusal(retry_at: float) -> Refusal:
        pod = Create(manifest={"kind": "Pod"})
        return Refusal(action=pod, reason="Forbidden", message="exceeded quota", retry_at=later(retry_at))

    waiting = plan(group(replicas=1), observed(refusals=[refusal(5)]), NOW)
    assert (deeds(waiting), waiting.wake_at) == ([], later(5))
    degraded = condition(waiting, "Degraded")
    assert (degraded["status"], degraded["reason"], degraded["message"]) == ("True", "Forbidden", "exceeded quota")
    assert deeds(plan(group(replicas=1), observed(refusals=[refusal(0)]), NOW)) == ["create Pod"]


def test_a_drain_that_may_be_given_up_is_looked_at_again() -> None:
    """With none to stay the end of ``drainTimeout`` comes though nothing happens."""
    moving = Drained(state=Drain.UNDER_WAY, moved=later(-20), final=later(-20))
    made = plan(group(replicas=0), observed(retiring("b", drained=moving, since=-10)), NOW)
    assert made.wake_at == later(50)


@pytest.mark.parametrize(("unasked", "now"), [(Unasked(), NOW), (SILENT, later(3600))])
def test_a_settled_group_does_not_want_to_be_woken(unasked: Unasked | Silent, now: datetime) -> None:
    """Nothing would be another plan by time alone."""
    made = plan(group(replicas=2), observed(a, b, order=unasked), now)
    assert (made.actions, made.wake_at, made.ask) == ((), None, frozenset())


def test_a_ref_without_a_uid_is_never_deleted() -> None:
    """What no cache has shown cannot be told from another of its name."""
    expected = Worker(
        ref=Ref(kind="Pod", namespace="default", name="e"), phase=Phase.EXPECTED, template="", created=NOW
    )
    assert deeds(plan(group(replicas=0), observed(expected, order=order()), NOW)) == []
