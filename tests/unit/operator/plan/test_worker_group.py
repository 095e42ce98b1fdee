"""What a worker group's plan is, row by row: who joins, who leaves, who is replaced and when, what is adopted."""

from __future__ import annotations

from datetime import datetime
from typing import Any, assert_never

import pytest

from dask_k8s.diagnosis import Cause, Diagnosis
from dask_k8s.kinds.value import Manifest, Ref
from dask_k8s.kinds.worker_group import WorkerGroup
from dask_k8s.operator.actions import NOTHING, Ask, Create, Delete, Patch, Plan, Retire
from dask_k8s.operator.observed import Drain, Home, Known, ObservedGroup, Phase, Refusal, Silent, Unasked, Worker
from dask_k8s.operator.plan.worker_group import plan
from tests.unit import given as g
from tests.unit.given import NOW, group, later, observed, worker

FRESH = 1.0  # seconds: an order of this age may be used
STALE = 3.0


def deeds(made: Plan) -> list[str]:
    """A plan's actions in short words; new Pods without their names, which are chance."""
    return sorted(_deed(action) for action in made.actions)


def _deed(action: Create | Patch | Delete | Retire) -> str:
    match action:
        case Create(manifest=manifest):
            return f"create {manifest['kind']}"
        case Patch(target=target, patch=patch):
            marked = "dask.org/retiring-since" in patch["metadata"].get("annotations", {})
            return f"{'mark' if marked else 'adopt'} {target.name}"
        case Delete(target=target, grace=grace):
            return f"delete {target.name}" + ("" if grace is None else f" within {grace} s")
        case Retire(workers=workers):
            return f"retire {' '.join(sorted(each.name for each in workers))}"
        case _:
            assert_never(action)


def order(*names: str, age: float = FRESH) -> Known[tuple[str, ...]]:
    """The scheduler's order, given a while ago."""
    return Known(at=later(-age), answer=names)


SILENT = Silent(since=later(-30), why="no route")
READY, PENDING, RUNNING = Phase.READY, Phase.PENDING, Phase.RUNNING
a, b, c = worker("a"), worker("b"), worker("c")
pending = worker("p", PENDING)


def retiring(name: str, drain: Drain | None = None, since: float = -10, **fields: Any) -> Worker:
    """A worker that was chosen to leave."""
    return worker(name, retiring_since=later(since), drain=drain, **fields)


JOINERS = [
    ("an empty group gets all its workers at once", 3, observed(), ["create Pod"] * 3),
    ("a full group needs nothing", 2, observed(a, b), []),
    ("those that exist are kept, the rest is added", 3, observed(a, b), ["create Pod"]),
    ("what is asked for already is not asked for again", 2, observed(worker("e", Phase.EXPECTED), a), []),
    ("a lost reply is asked for again under its name", 2, observed(worker("d", Phase.IN_DOUBT), a), ["create Pod"]),
    ("one that leaves is replaced at once", 2, observed(a, worker("b", Phase.LEAVING)), ["create Pod"]),
    ("one that retires does not count", 2, observed(a, retiring("b", Drain.UNDER_WAY)), ["create Pod"]),
    ("one that is not ready counts", 2, observed(a, worker("b", RUNNING)), []),
    (
        "no worker starts before the scheduler has a node",
        2,
        observed(home=Home(ref=g.CLUSTER, deleting=False, scheduled=False)),
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

LEAVERS = [
    ("who never ran goes first, and nobody is asked", 1, observed(a, pending), ["delete p"], False),
    ("without an order nobody else goes; the scheduler is asked", 1, observed(a, b), [], True),
    ("the scheduler's first goes", 1, observed(a, b, order=order("b", "a")), ["mark b"], True),
    ("the order of other groups does not matter", 1, observed(a, b, order=order("zz", "b", "a")), ["mark b"], True),
    ("who runs and never joined goes before the joined", 1, observed(a, b, order=order("a")), ["delete b"], True),
    (
        "never ran, never joined, then the order",
        1,
        observed(a, b, c, pending, order=order("b", "a")),
        ["delete c", "delete p", "mark b"],
        True,
    ),
    ("an old order is no order", 1, observed(a, b, order=order("b", "a", age=STALE)), [], True),
    ("a silent scheduler costs nobody", 1, observed(a, b, order=SILENT), [], True),
    ("though who never ran can go", 1, observed(a, b, pending, order=SILENT), ["delete p"], True),
    ("with none to stay the order does not matter", 0, observed(a, b, order=SILENT), ["mark a", "mark b"], True),
    ("but the scheduler is asked first", 0, observed(a, b), [], True),
    (
        "with none to stay and an order all go by it",
        0,
        observed(a, b, order=order("b", "a")),
        ["mark a", "mark b"],
        True,
    ),
    ("who is expected has to be seen first", 0, observed(worker("e", Phase.EXPECTED)), [], True),
    ("who leaves is not too many", 1, observed(a, worker("b", Phase.LEAVING)), [], False),
    ("who retires is not too many", 1, observed(a, retiring("b", Drain.UNDER_WAY)), [], False),
]

DRAINED = [
    ("a marked one is drained", 1, observed(a, retiring("b")), ["retire b"]),
    ("those marked together are drained together", 0, observed(retiring("a"), retiring("b")), ["retire a b"]),
    ("a drain goes on by itself", 1, observed(a, retiring("b", Drain.UNDER_WAY)), []),
    ("an empty one goes at once", 1, observed(a, retiring("b", Drain.EMPTY)), ["delete b within 5 s"]),
    ("a refused one stays", 1, observed(a, retiring("b", Drain.REFUSED)), []),
    ("also past its time, while others stay", 1, observed(a, retiring("b", Drain.REFUSED, since=-61)), []),
    (
        "with none to stay it goes once its time is over",
        0,
        observed(retiring("b", Drain.REFUSED, since=-60)),
        ["delete b within 5 s"],
    ),
    ("and not before", 0, observed(retiring("b", Drain.REFUSED, since=-59)), []),
    (
        "one that ended has nothing to hand over",
        1,
        observed(a, retiring("b", phase=Phase.ENDED)),
        ["delete b within 5 s"],
    ),
    ("one that is going is left alone", 1, observed(a, retiring("b", phase=Phase.LEAVING)), []),
]


@pytest.mark.parametrize(("_fact", "replicas", "there", "expected"), JOINERS, ids=[row[0] for row in JOINERS])
def test_joiners(_fact: str, replicas: int, there: ObservedGroup, expected: list[str]) -> None:
    """Who is made, and whose place it takes."""
    assert deeds(plan(group(replicas=replicas), there, NOW)) == expected


@pytest.mark.parametrize(("_fact", "replicas", "there", "expected", "asks"), LEAVERS, ids=[row[0] for row in LEAVERS])
def test_leavers(_fact: str, replicas: int, there: ObservedGroup, expected: list[str], asks: bool) -> None:
    """Who leaves, and whether the scheduler has to be asked."""
    made = plan(group(replicas=replicas), there, NOW)
    assert deeds(made) == expected
    assert made.ask == (frozenset({Ask.ORDER}) if asks else frozenset())


@pytest.mark.parametrize(("_fact", "replicas", "there", "expected"), DRAINED, ids=[row[0] for row in DRAINED])
def test_drained(_fact: str, replicas: int, there: ObservedGroup, expected: list[str]) -> None:
    """What becomes of those that were chosen."""
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
    assert retire == Retire(cluster=g.CLUSTER, workers=frozenset({g.pod("b")}), timeout=7)


def test_a_lost_reply_keeps_its_name() -> None:
    """A repeated POST meets itself."""
    (again,) = plan(group(replicas=1), observed(worker("in-doubt", Phase.IN_DOUBT)), NOW).actions
    assert isinstance(again, Create)
    assert again.manifest["metadata"]["name"] == "in-doubt"


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
        (group(), observed(home=Home(ref=g.CLUSTER, deleting=True, scheduled=True))),
    ],
    ids=["group", "cluster"],
)
def test_nothing_is_made_for_what_is_going(one: WorkerGroup, there: ObservedGroup) -> None:
    """The garbage collector does the rest."""
    assert plan(one, there, NOW) == NOTHING


def test_a_group_without_its_cluster_waits_and_says_so() -> None:
    """It keeps what it has, makes nothing, and joins when the cluster comes."""
    made = plan(group(replicas=3), observed(a, home=None), NOW)
    assert made.actions == ()
    assert condition(made, "Progressing")["reason"] == "WaitingForCluster"
    assert condition(made, "Degraded")["reason"] == "ClusterNotFound"


def test_a_group_and_its_orphans_are_adopted() -> None:
    """The group by its cluster, Pods with its labels by the group; each with the precondition that its Ref has."""
    made = plan(group(owned=False, replicas=0), observed(orphans=[g.pod("orphan")]), NOW)
    assert deeds(made) == ["adopt orphan", "adopt simple-default"]
    by_group, by_cluster = (each for each in made.actions if isinstance(each, Patch))
    assert (by_group.target.version, by_group.target.uid) == ("7", "uid-2")
    (owner,) = by_group.patch["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("DaskCluster", "uid-1", True)
    assert by_cluster.target.uid == "uid-of-orphan"
    (owner,) = by_cluster.patch["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("DaskWorkerGroup", "uid-2", True)


def test_adoption_keeps_owners_that_do_not_control() -> None:
    """A merge patch replaces the list, so the others are in it."""
    other = {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "uid-of-c"}
    one = group(owned=False, replicas=0, metadata={"ownerReferences": [other]})
    (patch,) = plan(one, observed(), NOW).actions
    assert isinstance(patch, Patch)
    assert [owner["uid"] for owner in patch.patch["metadata"]["ownerReferences"]] == ["uid-of-c", "uid-1"]


# Replacement: a worker that ends at once, again and again, is replaced later and later.


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
    made = plan(group(replicas=0), observed(retiring("b", Drain.UNDER_WAY, since=-10)), NOW)
    assert made.wake_at == later(50)


# Status and conditions.


def condition(made: Plan, wanted: str) -> Manifest:
    """One condition of a plan's status."""
    assert made.status is not None
    (found,) = (each for each in made.status["conditions"] if each["type"] == wanted)
    return dict(found)


def test_the_status_counts_what_is_there() -> None:
    """Pods that are there and not going; what is expected, ended or leaving is not."""
    every = [worker(phase.name, phase) for phase in Phase]
    status = plan(group(replicas=3), observed(*every), NOW).status
    assert status is not None
    assert (status["replicas"], status["readyReplicas"], status["observedGeneration"]) == (3, 1, 1)
    assert status["selector"] == (
        "dask.org/cluster-name=simple,dask.org/component=worker,dask.org/workergroup-name=simple-default"
    )


TROUBLE = Diagnosis(
    cause=Cause.UNSCHEDULABLE, pod="p", sentence="Pod p fits on no node.", mend="Ask for less.", final=False
)
NO_NODE = Home(ref=g.CLUSTER, deleting=False, scheduled=False)

CONDITIONS: list[tuple[str, int, ObservedGroup, str, str, str, str]] = [
    ("all are ready", 1, observed(a), "WorkersReady", "True", "AllReady", "1 of 1 workers are ready."),
    ("none are asked for", 0, observed(), "WorkersReady", "True", "AllReady", "0 of 0"),
    ("some are missing", 2, observed(a), "WorkersReady", "False", "NotAllReady", "1 of 2"),
    (
        "one runs without being ready",
        1,
        observed(worker("r", RUNNING)),
        "WorkersReady",
        "False",
        "NotAllReady",
        "0 of 1",
    ),
    (
        "a ready one that retires is none",
        1,
        observed(retiring("b", Drain.UNDER_WAY)),
        "WorkersReady",
        "False",
        "NotAllReady",
        "0 of 1",
    ),
    ("nothing is going on", 1, observed(a), "Progressing", "False", "Settled", ""),
    ("workers start", 3, observed(a), "Progressing", "True", "Starting", "2 workers are starting."),
    (
        "they wait for the scheduler's node",
        3,
        observed(a, home=NO_NODE),
        "Progressing",
        "True",
        "WaitingForScheduler",
        "has a node",
    ),
    ("some hand over", 1, observed(a, retiring("b", Drain.UNDER_WAY)), "Progressing", "True", "Draining", "1 workers"),
    ("some will", 1, observed(a, b), "Progressing", "True", "Draining", "1 workers"),
    ("nothing is wrong", 1, observed(a), "Degraded", "False", "AsExpected", ""),
    (
        "a Pod is in trouble",
        1,
        observed(worker("p", PENDING, trouble=TROUBLE)),
        "Degraded",
        "True",
        "Unschedulable",
        "no node. Ask for less.",
    ),
    (
        "a drain was refused",
        1,
        observed(a, retiring("b", Drain.REFUSED, refused="it has an actor")),
        "Degraded",
        "True",
        "DrainRefused",
        "Worker b stays for now: it has an actor",
    ),
    (
        "the scheduler is silent and asked",
        1,
        observed(a, b, order=SILENT),
        "Degraded",
        "True",
        "SchedulerSilent",
        "Since 2026-01-31T11:59:30Z: no route",
    ),
    ("its silence harms nobody", 2, observed(a, b, order=SILENT), "Degraded", "False", "AsExpected", ""),
]


@pytest.mark.parametrize(
    ("_fact", "replicas", "there", "kind", "status", "reason", "message"),
    CONDITIONS,
    ids=[row[0] for row in CONDITIONS],
)
def test_conditions(
    _fact: str, replicas: int, there: ObservedGroup, kind: str, status: str, reason: str, message: str
) -> None:
    """What ``kubectl describe`` shows."""
    found = condition(plan(group(replicas=replicas), there, NOW), kind)
    assert (found["status"], found["reason"]) == (status, reason)
    assert message in found["message"]


def test_an_old_script_in_a_shells_text_is_told() -> None:
    """It is left alone there, and would crash on today's Dask."""
    shell = {"containers": [{"name": "worker", "command": ["sh", "-c", "dask-worker"]}]}
    found = condition(plan(group(spec=shell, replicas=0), observed(), NOW), "CommandNotRewritten")
    assert "write 'dask worker'" in found["message"]


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
