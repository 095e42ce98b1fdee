"""What has a name that is needed and still has to go: nothing is made before, and people are told what they can do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dask_k8s import names
from dask_k8s.operator.leftovers import Leftover, left_over
from dask_k8s.operator.observed import Presence
from dask_k8s.operator.plan import cluster as cluster_plan
from dask_k8s.operator.plan import job as job_plan
from tests.unit import given as g
from tests.unit.given import NOW, later
from tests.unit.operator.plan import test_cluster, test_job
from tests.unit.operator.plan.words import condition, deeds


def going(kind: str = "Pod", name: str = "simple-scheduler", *, spec: Any = None, **meta: Any) -> Leftover:
    """An object whose deletion was asked for half a minute ago, with so much time to end."""
    told = {"deletionTimestamp": "2026-01-31T12:00:00Z", "deletionGracePeriodSeconds": 30, **meta}
    return left_over({"metadata": {"name": name, "namespace": "default", **told}, "spec": spec or {}}, kind)


ON_A_NODE = going(spec={"nodeName": "n1"})
SINCE = "Pod simple-scheduler on node n1 is being deleted since 2026-01-31T11:59:30Z"
MENDS = [
    (
        "the kubelet is to end it",
        ON_A_NODE,
        "If it is gone for good, delete the node, or force the Pod: kubectl delete",
    ),
    ("a finalizer holds it", going(finalizers=["example.org/keep"]), "It is held by its finalizers (example.org/keep)"),
    (
        "the garbage collector is at it",
        going("DaskWorkerGroup", "simple-default", finalizers=["foregroundDeletion"]),
        "It goes when all that belongs to it has gone.",
    ),
    (
        "nobody knows",
        going("Service", "simple"),
        "Look at what holds it: kubectl get -o yaml -n default service simple",
    ),
]


@pytest.mark.parametrize(("_fact", "leftover", "mend"), MENDS, ids=[row[0] for row in MENDS])
def test_what_should_have_gone_is_trouble(_fact: str, leftover: Leftover, mend: str) -> None:
    """From ten seconds after its time on: the plan looks again just then, and the sentence says what to do."""
    there = replace(test_cluster.NONE, leftovers=(leftover,))
    before = cluster_plan.plan(g.cluster(), there, later(9))
    assert (condition(before, "Degraded")["status"], before.wake_at) == ("False", later(10))
    after = cluster_plan.plan(g.cluster(), there, later(10))
    told = condition(after, "Degraded")
    assert (told["status"], told["reason"], after.wake_at) == ("True", "StillLeaving", None)
    assert told["message"].startswith(f"{leftover.ref.kind} {leftover.ref.name}")
    assert mend in told["message"]


def test_a_scheduler_whose_name_is_not_free_says_who_has_it() -> None:
    """At once: which Pod, on which node, and since when."""
    there = replace(test_cluster.observed(presence=Presence.LEAVING), leftovers=(ON_A_NODE,))
    made = cluster_plan.plan(g.cluster(), there, NOW)
    told = condition(made, "SchedulerReady")
    assert (told["status"], told["reason"]) == ("False", "StillLeaving")
    assert SINCE in told["message"]
    assert made.actions == ()


WAITS = [
    (
        "another's runner goes",
        test_job.observed(None, test_job.cluster(), runner_presence=Presence.LEAVING),
        going(name="simple-runner"),
        "StillLeaving",
    ),
    (
        "another's cluster goes",
        test_job.observed(None, test_job.cluster(ours=False), cluster_presence=Presence.LEAVING),
        going(names.CLUSTER, "simple"),
        "StillLeaving",
    ),
]


@pytest.mark.parametrize(("_fact", "there", "leftover", "reason"), WAITS, ids=[row[0] for row in WAITS])
def test_a_job_waits_too(_fact: str, there: Any, leftover: Leftover, reason: str) -> None:
    """Nothing is made, its progress says what it waits for, and what is late is its trouble."""
    there = replace(there, leftovers=(leftover,))
    made = job_plan.plan(g.job(), there, NOW)
    assert (deeds(made), made.wake_at) == ([], later(10))
    told = condition(made, "Progressing")
    assert told["reason"] == reason
    assert f"{leftover.ref.kind} {leftover.ref.name} is being deleted" in told["message"]
    assert condition(job_plan.plan(g.job(), there, later(10)), "Degraded")["reason"] == reason


def test_a_job_works_on_while_its_own_cluster_goes() -> None:
    """That is made again; the runner is there, and its progress is its own."""
    leaving = test_job.cluster(leaving=True)
    there = test_job.observed(test_job.runner(), leaving, cluster_presence=Presence.LEAVING)
    made = job_plan.plan(g.job(), replace(there, leftovers=(going(names.CLUSTER, "simple"),)), NOW)
    assert condition(made, "Progressing")["reason"] == "RunnerRuns"
