"""DaskJob: what is asked for, how it ends, and that an end is one."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from dask_k8s.diagnosis import Cause, Diagnosis
from dask_k8s.kinds.job import Job
from dask_k8s.kinds.value import Ref
from dask_k8s.operator.actions import NOTHING, Action, Create, Delete, Plan
from dask_k8s.operator.observed import Phase, Presence, Refusal
from dask_k8s.operator.observed_job import Ending, JobCluster, ObservedJob, Runner
from dask_k8s.operator.plan.job import JobStatus, plan
from tests.unit import crds
from tests.unit import given as g
from tests.unit.given import NOW, job, later
from tests.unit.operator.plan.words import condition, deeds, status_of

ABSENT, EXPECTED, THERE, LEAVING = Presence.ABSENT, Presence.EXPECTED, Presence.THERE, Presence.LEAVING
BEGAN = later(-90)


def runner(phase: Phase = Phase.READY, uid: str = "r1", **fields: Any) -> Runner:
    """A runner that began a minute and a half ago, unless it is still pending."""
    ref = Ref(kind="Pod", namespace="default", name="simple-runner", uid=uid)
    started = None if phase is Phase.PENDING else BEGAN
    return Runner(ref=ref, phase=phase, **{"started": started, **fields})


def ended(ending: Ending, **fields: Any) -> Runner:
    """A runner that has ended."""
    return runner(Phase.ENDED, ending=ending, **{"ended": later(-2), **fields})


def cluster(*, ours: bool = True, leaving: bool = False, **status: Any) -> JobCluster:
    """The job's DaskCluster."""
    ref = Ref(kind="DaskCluster", namespace="default", name="simple", uid="c1", version="5")
    return JobCluster(ref=ref, ours=ours, leaving=leaving, status=status)


def observed(
    pod: Runner | None = None,
    dask: JobCluster | None = None,
    *,
    runner_presence: Presence | None = None,
    cluster_presence: Presence | None = None,
    refusals: Sequence[Refusal] = (),
) -> ObservedJob:
    """What there is of a job; presences follow from what is there."""
    going = Presence.LEAVING if pod is not None and pod.phase is Phase.LEAVING else THERE
    ours = dask is not None and dask.ours
    return ObservedJob(
        runner=pod,
        runner_presence=runner_presence or (ABSENT if pod is None else going),
        cluster=dask,
        cluster_presence=cluster_presence or (THERE if ours else ABSENT),
        refusals=tuple(refusals),
    )


def known(uid: str = "r1", **more: Any) -> dict[str, Any]:
    """A status that remembers a runner."""
    return {"jobStatus": "Running", "runner": {"uid": uid, "seen": "2026-01-31T11:58:00Z", **more}}


def refused(kind: str, retry: float = 5) -> Refusal:
    """A creation that the API server refused."""
    action = Create(manifest={"kind": kind})
    return Refusal(action=action, reason="Forbidden", message="exceeded quota", retry_at=later(retry))


BOTH = ["create DaskCluster", "create Pod"]
DONE = {"jobStatus": "Successful"}
DEEDS: list[tuple[str, dict[str, Any], ObservedJob, list[str]]] = [
    ("cluster and runner in one pass", {}, observed(), BOTH),
    (
        "what was asked for is not asked for again",
        {},
        observed(runner_presence=EXPECTED, cluster_presence=EXPECTED),
        [],
    ),
    ("both are there", {}, observed(runner(), cluster()), []),
    ("a cluster that is lost comes back", {}, observed(runner()), ["create DaskCluster"]),
    ("a runner that was deleted comes back", known(), observed(None, cluster()), ["create Pod"]),
    ("one that is going is waited for", known(), observed(runner(Phase.LEAVING), cluster()), []),
    ("one that was taken away makes room", known(), observed(ended(Ending.LOST), cluster()), ["delete simple-runner"]),
    ("success takes the cluster away", {}, observed(ended(Ending.SUCCEEDED), cluster()), ["delete simple"]),
    ("failure takes the cluster away", {}, observed(ended(Ending.FAILED), cluster()), ["delete simple"]),
    ("once", {}, observed(ended(Ending.SUCCEEDED), cluster(leaving=True)), []),
    ("after the end nothing comes back", DONE, observed(), []),
    ("old news of the runner changes no end", DONE, observed(runner(), cluster()), ["delete simple"]),
    ("a cluster of somebody else is never deleted", DONE, observed(None, cluster(ours=False)), []),
    ("nor worked in", {}, observed(None, cluster(ours=False)), ["create DaskCluster"]),
    ("a refused cluster makes a runner useless", {}, observed(refusals=[refused("DaskCluster")]), []),
    ("a refused runner waits alone", {}, observed(refusals=[refused("Pod")]), ["create DaskCluster"]),
]


@pytest.mark.parametrize(("_fact", "status", "there", "expected"), DEEDS, ids=[row[0] for row in DEEDS])
def test_deeds(_fact: str, status: dict[str, Any], there: ObservedJob, expected: list[str]) -> None:
    """What is made, and what goes."""
    assert deeds(plan(job(status=status), there, NOW)) == expected


def test_the_cluster_is_asked_for_first() -> None:
    """Deeds of one plan stop at the first refusal: no program comes to work in a cluster that is not there."""
    first, second = plan(job(), observed(), NOW).actions
    assert isinstance(first, Create)
    assert isinstance(second, Create)
    assert [each.manifest["kind"] for each in (first, second)] == ["DaskCluster", "Pod"]


WORDS: list[tuple[str, str | None, ObservedJob, str]] = [
    ("nothing is there yet", None, observed(), "JobCreated"),
    ("the cluster is there", "JobCreated", observed(runner(Phase.PENDING), cluster()), "ClusterCreated"),
    ("the program began", "ClusterCreated", observed(runner(), cluster()), "Running"),
    ("it succeeded", "Running", observed(ended(Ending.SUCCEEDED), cluster()), "Successful"),
    ("it failed", "Running", observed(ended(Ending.FAILED), cluster()), "Failed"),
    ("it succeeded before we looked", None, observed(ended(Ending.SUCCEEDED)), "Successful"),
    ("it was taken away", "Running", observed(ended(Ending.LOST), cluster()), "Running"),
    ("it is made again", "Running", observed(runner(Phase.PENDING, "r2"), cluster()), "Running"),
    ("everything is gone", "Running", observed(), "Running"),
    ("it is told to end, and exits with 0", "Running", observed(runner(Phase.LEAVING), cluster()), "Running"),
    ("old news after an end", "Successful", observed(runner(), cluster()), "Successful"),
    ("other news after an end", "Failed", observed(ended(Ending.SUCCEEDED)), "Failed"),
    ("a word that is none of ours", "Sleeping", observed(runner(), cluster()), "Running"),
]


@pytest.mark.parametrize(("_fact", "before", "there", "expected"), WORDS, ids=[row[0] for row in WORDS])
def test_the_word_goes_forward_and_ends(_fact: str, before: str | None, there: ObservedJob, expected: str) -> None:
    """Never back, and nothing after an end."""
    made = plan(job(status={"jobStatus": before} if before else {}), there, NOW)
    assert status_of(made)["jobStatus"] == expected
    assert made.urgent or expected == before


def test_the_end_is_told_with_its_time_and_reason() -> None:
    """In status, in a condition, in an Event that warns where it is a failure."""
    why = "Container job ended with exit code 3 (Error): no data"
    made = plan(job(status=known()), observed(ended(Ending.FAILED, why=why), cluster()), NOW)
    status = status_of(made)
    assert (status["startTime"], status["endTime"]) == ("2026-01-31T11:58:30Z", "2026-01-31T11:59:58Z")
    assert condition(made, "Failed")["message"] == f"The runner simple-runner failed: {why}"
    assert ("RunnerFailed", True) in [(each.reason, each.warning) for each in made.events]
    later_pass = plan(job(status=status), observed(), later(60))
    assert status_of(later_pass)["endTime"] == status["endTime"]
    assert condition(later_pass, "Failed") == condition(made, "Failed")
    assert condition(later_pass, "Progressing")["reason"] == "Finished"


def test_success_is_a_condition_to_wait_for() -> None:
    """``kubectl wait --for=condition=Complete``, as for a Job of Kubernetes' own."""
    made = plan(job(), observed(ended(Ending.SUCCEEDED), cluster()), NOW)
    assert (condition(made, "Complete")["status"], condition(made, "Progressing")["reason"]) == ("True", "CleaningUp")


def test_restarts_are_told_with_their_count_and_cause() -> None:
    """The kubelet starts a program again that failed, under OnFailure."""
    why = "Container job ended with exit code 1 (Error)."
    made = plan(job(status=known()), observed(runner(restarts=3, why=why), cluster()), NOW)
    told = condition(made, "RunnerRestarted")["message"]
    assert told == f"The kubelet started containers of the runner again, 3 times so far. {why}"
    kept = plan(job(status=status_of(made)), observed(ended(Ending.SUCCEEDED, restarts=3), cluster()), NOW)
    assert condition(kept, "RunnerRestarted")["message"] == told, "a kubelet forgets the ends before the last"
    assert condition(plan(job(status=status_of(kept)), observed(), NOW), "RunnerRestarted")["status"] == "True"


def test_a_lost_runner_is_counted_once_and_told() -> None:
    """Why it was lost is written while it is still there, and told when the next one is made."""
    evicted = ended(Ending.LOST, why="Evicted: The node was low on memory.")
    first = plan(job(status=known()), observed(evicted, cluster()), NOW)
    assert status_of(first)["runner"]["why"] == "Evicted: The node was low on memory."
    assert condition(first, "Progressing")["reason"] == "RunnerLeaving"
    second = plan(job(status=status_of(first)), observed(None, cluster()), NOW)
    assert deeds(second) == ["create Pod"]
    assert "The node was low on memory" in condition(second, "RunnerReplaced")["message"]
    third = plan(job(status=status_of(second)), observed(runner(Phase.PENDING, "r2"), cluster()), NOW)
    assert status_of(third)["runner"]["uid"] == "r2"
    assert condition(third, "RunnerReplaced") == condition(second, "RunnerReplaced")


@pytest.mark.parametrize("before", [known("r0"), {}], ids=["another one was there", "none was"])
def test_a_runner_that_is_first_seen_when_it_is_lost_is_told_with_its_reason(before: dict[str, Any]) -> None:
    """Nobody may have looked for the second that it lived."""
    evicted = ended(Ending.LOST, why="Evicted: The node was low on memory.")
    first = plan(job(status=before), observed(evicted, cluster()), NOW)
    second = plan(job(status=status_of(first)), observed(None, cluster()), later(2))
    assert "The node was low on memory" in condition(second, "RunnerReplaced")["message"]


def test_another_runner_in_its_place_was_a_loss() -> None:
    """Whoever took the first one away, and though nobody saw it go."""
    made = plan(job(status=known("r1")), observed(runner(Phase.PENDING, "r2"), cluster()), NOW)
    assert status_of(made)["runner"]["uid"] == "r2"
    assert "It was deleted before its end was seen" in condition(made, "RunnerReplaced")["message"]


@pytest.mark.parametrize(("early", "due"), [(0, None), (1, 10), (2, 20), (3, 40), (30, 300)])
def test_runners_that_are_lost_at_once_come_later_and_later(early: int, due: float | None) -> None:
    """The first one that is lost is made again at once; no hot loop after that."""
    status = {"runner": {"uid": "r1", "seen": later(-3).strftime("%Y-%m-%dT%H:%M:%SZ"), "early": early}}
    made = plan(job(status=status), observed(None, cluster()), NOW)
    assert status_of(made)["runner"]["early"] == early + 1
    assert deeds(made) == (["create Pod"] if due is None else [])
    assert made.wake_at == (None if due is None else later(due))
    if due is not None:
        assert condition(made, "Degraded")["reason"] == "RunnersLost"


def test_a_runner_that_lasted_begins_the_count_anew() -> None:
    """A long job that loses its node now and then is not made to wait."""
    made = plan(job(status=known(early=5, lost="2026-01-31T11:57:59Z")), observed(runner(), cluster()), NOW)
    assert "early" not in status_of(made)["runner"]


def test_losses_are_counted_by_one_clock() -> None:
    """The API server's may differ from ours: a Pod that is refused at once, again and again, is no long life."""
    made = plan(job(), observed(), NOW)
    for number in range(4):
        there = observed(runner(Phase.PENDING, f"r{number}"))
        made = plan(job(status=status_of(made)), there, NOW)
        made = plan(job(status=status_of(made)), observed(None, cluster()), later(2))
    assert status_of(made)["runner"]["early"] == 4
    assert made.wake_at == later(2 + 40)


def test_each_loss_is_an_event() -> None:
    """Its condition turns at the first one alone."""
    status = status_of(plan(job(status=known()), observed(None, cluster()), NOW))
    again = plan(job(status={**status, **known("r2", lost="2026-01-31T11:59:00Z")}), observed(None, cluster()), NOW)
    assert [each.reason for each in again.events if each.reason == "RunnerLost"] == ["RunnerLost"]


def test_an_edit_that_the_api_server_overlooks_starts_no_other_program() -> None:
    """What runs goes on; what is lost is not made again from the edit, and a condition says what to do."""
    status = status_of(plan(job(), observed(runner(), cluster()), NOW))
    edited = [{"name": "job", "image": "dask", "command": ["rm", "-rf", "/"]}]
    runs = plan(job(status=status, containers=edited), observed(runner(), cluster()), NOW)
    assert (runs.actions, condition(runs, "Degraded")["reason"]) == ((), "SpecChanged")
    lost = plan(job(status=status, containers=edited), observed(None, None), NOW)
    assert lost.actions == ()
    undone = plan(job(status=status_of(lost)), observed(None, None), NOW)
    assert deeds(undone) == BOTH
    ends = plan(job(status=status, containers=edited), observed(ended(Ending.SUCCEEDED), cluster()), NOW)
    assert deeds(ends) == ["delete simple"]


def test_what_a_finished_job_was_refused_is_past() -> None:
    """Nothing is made any more: it would stay degraded for ever."""
    made = plan(job(status=DONE), observed(refusals=[refused("Pod")]), NOW)
    assert condition(made, "Degraded")["status"] == "False"


NO_NODE = Diagnosis(cause=Cause.UNSCHEDULABLE, pod="p", sentence="No node fits.", mend="Ask for less.", final=False)
TROUBLES = [{"type": "Degraded", "status": "True", "reason": "ImageNotFound", "message": "no image"}]

CONDITIONS: list[tuple[ObservedJob, str, str, str]] = [
    (observed(), "Progressing", "True", "RunnerStarting"),
    (observed(runner(), cluster()), "Progressing", "True", "RunnerRuns"),
    (observed(runner(waits_for=("proxy",)), cluster()), "Progressing", "True", "WaitingForSidecars"),
    (observed(runner(), cluster()), "Degraded", "False", "AsExpected"),
    (observed(runner(Phase.PENDING, trouble=NO_NODE), cluster()), "Degraded", "True", "Unschedulable"),
    (observed(runner(), cluster(conditions=TROUBLES)), "Degraded", "True", "ImageNotFound"),
    (observed(runner(), cluster(ours=False, conditions=TROUBLES)), "Degraded", "False", "AsExpected"),
    (observed(refusals=[refused("Pod")]), "Degraded", "True", "Forbidden"),
]


@pytest.mark.parametrize(("there", "kind", "status", "reason"), CONDITIONS, ids=range(len(CONDITIONS)))
def test_conditions(there: ObservedJob, kind: str, status: str, reason: str) -> None:
    """What ``kubectl describe`` shows."""
    found = condition(plan(job(), there, NOW), kind)
    assert (found["status"], found["reason"]) == (status, reason)


def test_nothing_is_made_for_a_job_that_goes() -> None:
    """The garbage collector does the rest."""
    going = job(metadata={"deletionTimestamp": g.CREATED})
    assert plan(going, observed(ended(Ending.SUCCEEDED), cluster()), NOW) == NOTHING


@dataclass
class JobWorld:
    """A job, its cluster and its runner; what happens to them is decided by the test."""

    status: dict[str, Any] = field(default_factory=dict)
    runner: Runner | None = None
    cluster: JobCluster | None = None
    runners: int = 0
    now: datetime = NOW
    words: list[str] = field(default_factory=list)
    succeeded: bool = False

    def resource(self) -> Job:
        """The job as it is read."""
        return job(status=self.status)

    def observe(self) -> ObservedJob:
        """What a plan gets to see."""
        return observed(self.runner, self.cluster)

    def apply(self, made: Plan, actions: Sequence[Action]) -> None:
        """Write a plan's status and carry out some of its actions."""
        assert made.status is not None
        self.status = dict(made.status)
        self.words.append(self.status["jobStatus"])
        for action in actions:
            match action:
                case Create(manifest={"kind": "Pod"}):
                    assert self.runner is None, "two runners at a time"
                    self.runners += 1
                    self.runner = runner(Phase.PENDING, f"r{self.runners}")
                case Create():
                    assert self.cluster is None
                    self.cluster = cluster()
                case Delete(target=target) if target.kind == "Pod":
                    assert self.runner is not None
                    assert self.runner.ending is Ending.LOST, "a runner is deleted that was not lost"
                    self.runner = None
                case Delete():
                    self.cluster = None
                case _:
                    raise AssertionError(action)

    def suffers(self, what: str) -> None:
        """Something that happens to a runner or a cluster by itself, or by somebody."""
        self.now += timedelta(seconds=20)
        if what == "cluster deleted":
            self.cluster = None
        if self.runner is None:
            return
        alive = self.runner.phase in (Phase.PENDING, Phase.RUNNING, Phase.READY)
        if what == "starts" and self.runner.phase is Phase.PENDING:
            self.runner = replace(self.runner, phase=Phase.READY, started=self.now)
        elif what == "succeeds" and self.runner.phase is Phase.READY:
            self.runner = replace(self.runner, phase=Phase.ENDED, ending=Ending.SUCCEEDED, ended=self.now)
            self.succeeded = True
        elif what == "evicted" and alive:
            self.runner = replace(self.runner, phase=Phase.ENDED, ending=Ending.LOST, ended=self.now, why="Evicted")
        elif what == "told to go" and alive:
            self.runner = replace(self.runner, phase=Phase.LEAVING)
        elif what == "vanishes":
            self.runner = None


SUFFERED = ["starts", "succeeds", "evicted", "told to go", "vanishes", "cluster deleted", "nothing"]


@given(st.lists(st.tuples(st.sampled_from(SUFFERED), st.booleans()), max_size=14), st.data())
def test_a_job_comes_to_one_end_by_whatever_way(lives: list[tuple[str, bool]], data: st.DataObject) -> None:
    """Any part of a plan may happen, passes may be lost: one runner at a time, one end, words in their order."""
    world = JobWorld()
    for what, passes in lives:
        world.suffers(what)
        if passes:
            before = pickle.dumps(world.observe())
            made = plan(world.resource(), world.observe(), world.now)
            assert pickle.dumps(world.observe()) == before
            assert crds.problems(made.status, "daskjobs", "status") == []
            done = [action for action in made.actions if data.draw(st.booleans())]
            world.apply(made, done)
    for what in ("told to go", "vanishes") if world.runner and world.runner.phase is Phase.LEAVING else ():
        world.suffers(what)
    for _ in range(40):
        made = plan(world.resource(), world.observe(), world.now)
        world.apply(made, made.actions)
        if not made.actions and world.words[-1] in ("Successful", "Failed"):
            break
        world.now = max(world.now, made.wake_at or world.now)
        world.suffers("starts")
        world.suffers("succeeds")
    order = [each.value for each in JobStatus]
    positions = [order.index(word) for word in world.words]
    assert positions == sorted(positions), world.words
    assert (world.words[-1], world.succeeded, world.cluster) == ("Successful", True, None)
    assert plan(world.resource(), world.observe(), later(10_000)).actions == ()
    event(f"{min(world.runners, 5)} runners")
