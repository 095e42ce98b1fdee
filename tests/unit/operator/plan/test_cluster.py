"""What a cluster's plan is, row by row: its three parts, the count that flows, and what its status says."""

from __future__ import annotations

from typing import Any

import pytest

from dask_k8s.diagnosis import Cause, Diagnosis
from dask_k8s.kinds.value import Ref
from dask_k8s.operator.actions import NOTHING, Create, Delete, Patch, Plan
from dask_k8s.operator.observed import (
    DefaultGroup,
    Known,
    ObservedCluster,
    Phase,
    Presence,
    Refusal,
    SchedulerPod,
    Silent,
    Unasked,
)
from dask_k8s.operator.plan.cluster import plan
from tests.unit import given as g
from tests.unit.given import NOW, cluster, later
from tests.unit.operator.plan.words import condition, status_of

GROUP_REF = g.group().head.ref
THERE, ABSENT, EXPECTED, LEAVING = Presence.THERE, Presence.ABSENT, Presence.EXPECTED, Presence.LEAVING


def scheduler(phase: Phase = Phase.READY, *, uid: str = "uid-of-s", restarts: int = 0, **fields: Any) -> SchedulerPod:
    """The scheduler's Pod."""
    ref = g.pod("simple-scheduler")
    known = {"scheduled": True, "address": "10.0.0.1", "trouble": None}
    return SchedulerPod(
        ref=type(ref)(kind="Pod", namespace="default", name="simple-scheduler", uid=uid),
        phase=phase,
        restarts=restarts,
        **{**known, **fields},
    )


def default(replicas: int = 3, flowed: int | None = 3, **status: Any) -> DefaultGroup:
    """The default group as its cluster sees it."""
    return DefaultGroup(ref=GROUP_REF, replicas=replicas, flowed=flowed, status=status)


UNASKED = Unasked()
BUDGET = Ref(kind="PodDisruptionBudget", namespace="default", name="simple-scheduler", uid="uid-5")


def observed(
    pod: SchedulerPod | None = None,
    presence: Presence = THERE,
    *,
    service: Presence = THERE,
    group: DefaultGroup | None = None,
    group_presence: Presence = THERE,
    budget: Presence | None = ABSENT,
    refusals: tuple[Refusal, ...] = (),
    autoscaled: bool = False,
    idle: Unasked | Silent | Known[str | None] = UNASKED,
) -> ObservedCluster:
    """What there is of a cluster: everything, but for what a row says."""
    return ObservedCluster(
        scheduler=pod or (scheduler() if presence is THERE else None),
        scheduler_presence=presence,
        service=service,
        group=group or (default() if group_presence is THERE else None),
        group_presence=group_presence,
        budget=BUDGET if budget is THERE else None,
        budget_presence=budget,
        autoscaled=autoscaled,
        idle=idle,
        refusals=refusals,
    )


NONE = observed(presence=ABSENT, service=ABSENT, group_presence=ABSENT)


def deeds(made: Plan) -> list[str]:
    """A plan's actions in short words."""
    words = {Create: "create", Patch: "patch", Delete: "delete"}
    return [
        f"{words[type(each)]} {each.manifest['kind'] if isinstance(each, Create) else each.target.kind}"
        for each in made.actions
        if isinstance(each, Create | Patch | Delete)
    ]


PARTS = [
    ("all at once", NONE, ["create Pod", "create Service", "create DaskWorkerGroup"]),
    ("nothing is lacking", observed(), []),
    ("the scheduler's Pod was lost", observed(presence=ABSENT), ["create Pod"]),
    ("the Service was lost", observed(service=ABSENT), ["create Service"]),
    ("the default group was lost", observed(group_presence=ABSENT), ["create DaskWorkerGroup"]),
    ("what is expected is not made twice", observed(presence=EXPECTED, service=EXPECTED, group_presence=EXPECTED), []),
    (
        "what is going is waited for",
        observed(scheduler(Phase.LEAVING), LEAVING, service=LEAVING, group_presence=LEAVING),
        [],
    ),
    ("a scheduler that ended makes room", observed(scheduler(Phase.ENDED)), ["delete Pod"]),
    ("one that crashes is the kubelet's affair", observed(scheduler(Phase.RUNNING, restarts=7)), []),
]


@pytest.mark.parametrize(("_fact", "there", "expected"), PARTS, ids=[row[0] for row in PARTS])
def test_parts(_fact: str, there: ObservedCluster, expected: list[str]) -> None:
    """What is missing is made, what has ended is taken away."""
    assert deeds(plan(cluster(), there, NOW)) == expected


BUDGETS = [
    ("nobody asked for one", False, ABSENT, []),
    ("one is asked for", True, ABSENT, ["create PodDisruptionBudget"]),
    ("it is there", True, THERE, []),
    ("it is not wanted any more", False, THERE, ["delete PodDisruptionBudget"]),
    ("it goes already", False, LEAVING, []),
    ("this operator may not look at such", True, None, []),
]


@pytest.mark.parametrize(("_fact", "wanted", "budget", "expected"), BUDGETS, ids=[row[0] for row in BUDGETS])
def test_the_schedulers_budget(_fact: str, wanted: bool, budget: Presence | None, expected: list[str]) -> None:
    """Made and taken away as it is asked for; where that cannot be, a condition says so."""
    scheduler_spec = {**g.cluster_manifest()["spec"]["scheduler"], "podDisruptionBudget": wanted}
    made = plan(cluster(scheduler=scheduler_spec), observed(budget=budget), NOW)
    assert deeds(made) == expected
    assert ("BudgetMissing" in {each["type"] for each in status_of(made)["conditions"]}) is (budget is None)


def test_nothing_is_made_for_what_is_going() -> None:
    """Nobody recreates children of an owner that is being deleted."""
    assert plan(cluster(metadata={"deletionTimestamp": g.CREATED}), NONE, NOW) == NOTHING


def test_a_refused_part_waits_and_the_others_do_not() -> None:
    """The condition has the API server's own words; the plan looks again when the deed may be tried again."""
    refusal = Refusal(
        action=Create(manifest={"kind": "Pod"}), reason="Forbidden", message="exceeded quota", retry_at=later(5)
    )
    there = observed(presence=ABSENT, service=ABSENT, refusals=(refusal,))
    made = plan(cluster(), there, NOW)
    assert (deeds(made), made.wake_at) == (["create Service"], later(5))
    assert condition(made, "Degraded")["message"] == "exceeded quota"
    again = plan(cluster(), there, later(5))
    assert (deeds(again), again.wake_at) == (["create Pod", "create Service"], None)


FLOW = [
    ("the count stands still", 3, default(3, 3), None),
    ("it changed, and flows", 5, default(3, 3), 5),
    ("kubectl scale of the group holds", 3, default(9, 3), None),
    ("a later change of the cluster wins", 5, default(9, 3), 5),
    ("also back to what the group has", 9, default(9, 3), 9),
    ("a lost annotation makes the cluster's count the truth", 3, default(9, None), 3),
    ("to none", 0, default(3, 3), 0),
]


@pytest.mark.parametrize(("_fact", "replicas", "group", "flows"), FLOW, ids=[row[0] for row in FLOW])
def test_flow(_fact: str, replicas: int, group: DefaultGroup, flows: int | None) -> None:
    """The cluster's count goes to its default group only when it changed since it last went there."""
    worker = {**g.cluster_manifest()["spec"]["worker"], "replicas": replicas}
    patches = plan(cluster(worker=worker), observed(group=group), NOW).actions
    if flows is None:
        assert patches == ()
    else:
        patch = {
            "metadata": {"annotations": {"dask.org/replicas-from-cluster": str(flows)}},
            "spec": {"worker": {"replicas": flows}},
        }
        assert patches == (Patch(target=GROUP_REF, patch=patch),)
        assert GROUP_REF.version == "7"


# Status.

NO_IMAGE = Diagnosis(cause=Cause.IMAGE_NOT_FOUND, pod="s", sentence="The image is not there.", mend="Look.", final=True)
NO_NODE = Diagnosis(cause=Cause.UNSCHEDULABLE, pod="s", sentence="No node fits.", mend="Ask for less.", final=False)

PHASES = [
    (NONE, "Created"),
    (observed(scheduler(Phase.PENDING)), "Pending"),
    (observed(scheduler(Phase.RUNNING)), "Pending"),
    (observed(scheduler(Phase.READY)), "Running"),
    (observed(scheduler(Phase.ENDED)), "Pending"),
    (observed(scheduler(Phase.LEAVING)), "Pending"),
    (observed(scheduler(Phase.PENDING, trouble=NO_NODE)), "Pending"),
    (observed(scheduler(Phase.PENDING, trouble=NO_IMAGE)), "Error"),
]


@pytest.mark.parametrize(("there", "phase"), PHASES, ids=range(len(PHASES)))
def test_phases(there: ObservedCluster, phase: str) -> None:
    """The peer's four words."""
    assert status_of(plan(cluster(), there, NOW))["phase"] == phase


def test_counts_and_selector_are_the_default_groups() -> None:
    """What ``kubectl scale daskcluster`` and an autoscaler look at."""
    made = status_of(plan(cluster(), observed(group=default(replicas=4, readyReplicas=2)), NOW))
    assert (made["replicas"], made["readyReplicas"]) == (0, 2)
    made = status_of(
        plan(cluster(), observed(group=DefaultGroup(ref=GROUP_REF, replicas=9, flowed=3, status={"replicas": 4})), NOW)
    )
    assert (made["replicas"], made["readyReplicas"]) == (4, 0)
    assert made["selector"].endswith("dask.org/workergroup-name=simple-default")


def test_addresses_are_the_services() -> None:
    """As Pods of the cluster network reach them."""
    made = status_of(plan(cluster(), NONE, NOW))
    assert made["schedulerAddress"] == "tcp://simple.default.svc:8786"
    assert made["dashboardAddress"] == "http://simple.default.svc:8787"


def test_the_start_time_is_when_the_scheduler_was_ready_first() -> None:
    """It is written once and kept, also when the scheduler is lost."""
    assert "startTime" not in status_of(plan(cluster(), observed(scheduler(Phase.RUNNING)), NOW))
    first = status_of(plan(cluster(), observed(), NOW))
    assert first["startTime"] == "2026-01-31T12:00:00Z"
    for there in (NONE, observed()):
        assert status_of(plan(cluster(status=first), there, later(100)))["startTime"] == first["startTime"]


READY = status_of(plan(cluster(), observed(), NOW))


@pytest.mark.parametrize(
    ("now", "lost"),
    [
        (scheduler(), False),
        (scheduler(restarts=1), True),
        (scheduler(Phase.RUNNING, restarts=1), True),
        (scheduler(uid="another"), True),
        (scheduler(Phase.PENDING, uid="another"), False),
        (None, False),
    ],
    ids=["the same", "its container began anew", "it runs", "another Pod", "another that does not run yet", "none"],
)
def test_a_scheduler_that_began_anew_lost_its_state(now: SchedulerPod | None, lost: bool) -> None:
    """Told once the new process runs, with a warning Event; and told again for nobody after that."""
    there = observed(now) if now else observed(presence=ABSENT)
    made = plan(cluster(status=READY), there, later(60))
    told = [each for each in status_of(made)["conditions"] if each["type"] == "SchedulerStateLost"]
    assert bool(told) is lost
    assert [event.reason for event in made.events if event.warning] == (["SchedulerRestarted"] if lost else [])
    again = plan(cluster(status=status_of(made)), there, later(61))
    assert again.status == made.status
    assert again.events == ()


def test_what_the_default_group_suffers_the_cluster_suffers() -> None:
    """A user looks at the cluster first."""
    trouble = {"type": "Degraded", "status": "True", "reason": "WorkersEnd", "message": "They end."}
    found = condition(plan(cluster(), observed(group=default(conditions=[trouble])), NOW), "Degraded")
    assert (found["status"], found["reason"], found["message"]) == ("True", "WorkersEnd", "They end.")


CONDITIONS = [
    (NONE, "SchedulerReady", "False", "Missing"),
    (observed(scheduler(Phase.PENDING)), "SchedulerReady", "False", "Starting"),
    (observed(scheduler(Phase.RUNNING)), "SchedulerReady", "False", "NotReady"),
    (observed(), "SchedulerReady", "True", "Ready"),
    (observed(scheduler(Phase.ENDED)), "SchedulerReady", "False", "Ended"),
    (observed(scheduler(Phase.LEAVING)), "SchedulerReady", "False", "Leaving"),
    (NONE, "WorkersReady", "False", "NotAllReady"),
    (observed(group=default(2, readyReplicas=2)), "WorkersReady", "True", "AllReady"),
    (observed(group=default(2, readyReplicas=1)), "WorkersReady", "False", "NotAllReady"),
    (observed(group=default(0)), "WorkersReady", "True", "AllReady"),
    (NONE, "Progressing", "True", "SchedulerStarting"),
    (observed(), "Progressing", "True", "WorkersStarting"),
    (
        observed(group=default(conditions=[{"type": "Progressing", "status": "False", "reason": "Settled"}])),
        "Progressing",
        "False",
        "Settled",
    ),
    (
        observed(group=default(conditions=[{"type": "Progressing", "status": "True", "reason": "Draining"}])),
        "Progressing",
        "True",
        "Draining",
    ),
    (observed(), "Degraded", "False", "AsExpected"),
    (observed(scheduler(Phase.PENDING, trouble=NO_NODE)), "Degraded", "True", "Unschedulable"),
]


@pytest.mark.parametrize(("there", "kind", "status", "reason"), CONDITIONS, ids=range(len(CONDITIONS)))
def test_conditions(there: ObservedCluster, kind: str, status: str, reason: str) -> None:
    """What ``kubectl describe`` shows."""
    found = condition(plan(cluster(), there, NOW), kind)
    assert (found["status"], found["reason"]) == (status, reason)


def test_an_old_script_in_a_shells_text_is_told() -> None:
    """It is left alone there, and would crash on today's Dask."""
    spec = {"containers": [{"name": "scheduler", "command": ["sh", "-c", "dask-scheduler"]}]}
    made = plan(cluster(scheduler={"spec": spec, "service": {}}), observed(), NOW)
    assert "write 'dask scheduler'" in condition(made, "CommandNotRewritten")["message"]


def test_a_settled_cluster_does_not_want_to_be_woken() -> None:
    """Nothing would be another plan by time alone."""
    made = plan(cluster(status=READY), observed(), later(60))
    assert (made.actions, made.wake_at, made.events, made.status) == ((), None, (), READY)
