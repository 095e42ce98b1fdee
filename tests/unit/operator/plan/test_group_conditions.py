"""What a worker group's status and conditions say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dask_k8s.diagnosis import Cause, Diagnosis
from dask_k8s.operator.observed import Drain, Drained, Home, ObservedGroup, Phase, Silent
from dask_k8s.operator.plan.worker_group import plan
from tests.unit import given as g
from tests.unit.given import NOW, group, later, observed, worker
from tests.unit.operator.plan.words import SILENT, condition, final, order, retiring, status_of

PENDING, RUNNING = Phase.PENDING, Phase.RUNNING
a, b = worker("a"), worker("b")


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
NO_NODE = Home(ref=g.CLUSTER, deleting=False, scheduled=False, ready=False)

UNHEARD = Drained(state=Drain.UNDER_WAY, silent=Silent(since=later(-20), why="no route"))
WAITS = Drained(state=Drain.UNDER_WAY, waits=True)
STILL = Drained(state=Drain.UNDER_WAY, left=1 << 30, moved=later(-59))
LEFT = {"b": 1 << 30, "c": 1 << 29, "d": None}

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
    (
        "some will",
        1,
        observed(a, b),
        "Progressing",
        "True",
        "Draining",
        "1 workers have to go, once it is known which.",
    ),
    (
        "and more than those",
        0,
        observed(retiring("b", Drain.UNDER_WAY), a, worker("c")),
        "Progressing",
        "True",
        "Draining",
        "1 workers hand over their data before they go. 2 more have to go, once it is known which.",
    ),
    (
        "one that was refused stays, and another one goes",
        1,
        observed(retiring("b", Drain.REFUSED), a, order=order("a")),
        "Progressing",
        "True",
        "Draining",
        "1 workers hand over",
    ),
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
        observed(a, retiring("b", drained=Drained(state=Drain.REFUSED, why="it has an actor"))),
        "Degraded",
        "True",
        "DrainRefused",
        "Worker b stays for now: it has an actor",
    ),
    (
        "it stays one while it is about to be tried again",
        1,
        observed(a, retiring("b", refused=Drained(state=Drain.REFUSED, why="it has an actor"))),
        "Degraded",
        "True",
        "DrainRefused",
        "Worker b stays for now: it has an actor",
    ),
    (
        "also where that worker has to be chosen anew",
        0,
        observed(worker("b", refused=Drained(state=Drain.REFUSED, why="it has an actor")), order=order("b")),
        "Degraded",
        "True",
        "DrainRefused",
        "Worker b stays for now: it has an actor",
    ),
    (
        "and while nothing has come of the next attempt",
        1,
        observed(
            a,
            retiring(
                "b",
                drained=Drained(state=Drain.UNDER_WAY),
                refused=Drained(state=Drain.STUCK, why="There is no room."),
            ),
        ),
        "Degraded",
        "True",
        "WorkerStuck",
        "There is no room. Its scheduler keeps it out of service",
    ),
    (
        "but not once it is empty",
        1,
        observed(a, retiring("b", drain=Drain.EMPTY, refused=Drained(state=Drain.REFUSED, why="it has an actor"))),
        "Degraded",
        "False",
        "AsExpected",
        "",
    ),
    (
        "one that was refused and taken back is no trouble",
        2,
        observed(a, worker("b", drain=Drain.REFUSED)),
        "Degraded",
        "False",
        "AsExpected",
        "",
    ),
    (
        "but it is while it is one too many",
        0,
        observed(worker("b", drain=Drain.REFUSED)),
        "Degraded",
        "True",
        "DrainRefused",
        "Worker b stays for now: It has no room.",
    ),
    (
        "a drain left its worker out of service",
        1,
        observed(a, retiring("b", drained=Drained(state=Drain.STUCK, why="There is no room."))),
        "Degraded",
        "True",
        "WorkerStuck",
        "There is no room. Its scheduler keeps it out of service",
    ),
    (
        "the scheduler is silent in the middle of a drain",
        1,
        observed(a, retiring("b", drained=UNHEARD)),
        "Degraded",
        "True",
        "SchedulerSilent",
        "Worker b stays until the scheduler answers: no route",
    ),
    (
        "and 0 are asked for: then it goes all the same, and that is said",
        0,
        final(observed(retiring("b", drained=UNHEARD, since=-40))),
        "Degraded",
        "True",
        "SchedulerSilent",
        "the scheduler answers: no route Since 0 workers are asked for, it goes at 2026-01-31T12:00:40Z all the same.",
    ),
    (
        "a drain that takes long tells how far it has come",
        1,
        observed(a, *(retiring(n, drained=Drained(state=Drain.UNDER_WAY, left=left)) for n, left in LEFT.items())),
        "Progressing",
        "True",
        "Draining",
        "3 workers hand over their data before they go. 1.50 GiB are still to be moved.",
    ),
    (
        "some of them wait for others of their cluster, or of their namespace",
        1,
        observed(a, retiring("b", Drain.UNDER_WAY), *(retiring(n, drained=WAITS) for n in "cd")),
        "Progressing",
        "True",
        "Draining",
        "3 workers hand over their data before they go. 2 of them wait for their turn, since others are drained",
    ),
    (
        "a move stands still",
        1,
        observed(a, retiring("b", drained=replace(STILL, moved=later(-60)))),
        "Degraded",
        "True",
        "DrainStalled",
        "Worker b stays until its data has moved: 1.00 GiB are left, and nothing has moved since 2026-01-31T11:59:00Z.",
    ),
    (
        "and one is empty, whose tasks still run",
        1,
        observed(a, retiring("b", drained=replace(STILL, left=0, moved=later(-600)))),
        "Degraded",
        "False",
        "AsExpected",
        "",
    ),
    ("and not a second before", 1, observed(a, retiring("b", drained=STILL)), "Degraded", "False", "AsExpected", ""),
    (
        "a node is about to go",
        1,
        observed(a, retiring("b", Drain.UNDER_WAY, node_leaves="Node n is about to go (spot).")),
        "Progressing",
        "True",
        "Draining",
        "before they go. Node n is about to go (spot).",
    ),
    (
        "tasks may run on those alone that have left",
        1,
        observed(a, stranded=["x-1", "x-2"]),
        "TasksStranded",
        "True",
        "WorkersHaveLeft",
        "2 tasks may run on workers alone that have left, and wait: x-1.",
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


@pytest.mark.parametrize("worker", [{}, {"args": ["dask", "cuda", "worker"]}, {"command": ["/start.sh"]}])
def test_a_worker_that_is_started_in_another_way_is_told_to_hand_over_nothing(worker: dict[str, Any]) -> None:
    """Its data is lost when its Pod is evicted, and nothing else would say so."""
    found = condition(
        plan(group(spec={"containers": [{"name": "w", **worker}]}, replicas=0), observed(), NOW), "CommandNotRewritten"
    )
    assert (found["status"], found["reason"]) == ("True", "StartNotRecognised")
    spec = {"containers": [{"name": "p", "command": ["/proxy"]}, {"name": "w", "args": ["dask", "worker"]}]}
    conditions = status_of(plan(group(spec=spec, replicas=0), observed(), NOW))["conditions"]
    assert all(each["type"] != "CommandNotRewritten" for each in conditions)
