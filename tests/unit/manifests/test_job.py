"""What a job makes: the runner's Pod, as the user wrote it and with what a bare ``Client()`` needs, and the cluster."""

from __future__ import annotations

from typing import Any

import pytest

from dask_k8s.kinds.job import Job
from dask_k8s.manifests.job import CONNECT_TIMEOUT, job_cluster, runner_pod
from tests.unit import given as g

SIDECAR = {"name": "sidecar", "image": "busybox", "env": [{"name": "A", "value": "1"}]}
OURS = {
    "DASK_SCHEDULER_ADDRESS": "tcp://simple.default.svc:8786",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": CONNECT_TIMEOUT,
}


def environment(container: dict[str, Any]) -> dict[str, str]:
    """A container's variables."""
    return {each["name"]: each["value"] for each in container["env"]}


def test_every_container_finds_the_cluster() -> None:
    """Whichever of them is the program; names and variables of the user stay."""
    made = runner_pod(g.job(containers=[{"name": "job", "image": "dask"}, SIDECAR]))
    job, sidecar = made["spec"]["containers"]
    assert (job["name"], environment(job)) == ("job", OURS)
    assert (sidecar["name"], environment(sidecar)) == ("sidecar", {**OURS, "A": "1"})


def test_a_users_variable_wins() -> None:
    """Who wants another scheduler, or another time, says so."""
    theirs = [{"name": "DASK_SCHEDULER_ADDRESS", "value": "tcp://elsewhere:1"}]
    (job,) = runner_pod(g.job(containers=[{"name": "job", "image": "dask", "env": theirs}]))["spec"]["containers"]
    assert environment(job)["DASK_SCHEDULER_ADDRESS"] == "tcp://elsewhere:1"


@pytest.mark.parametrize(("pod", "policy"), [({}, "OnFailure"), ({"restartPolicy": "Never"}, "Never")])
def test_the_restart_policy_is_on_failure_unless_set(pod: dict[str, Any], policy: str) -> None:
    """A Pod's own default would be Always, which has no end."""
    assert runner_pod(g.job(**pod))["spec"]["restartPolicy"] == policy


def test_init_containers_and_volumes_pass() -> None:
    """What we do not know is the user's."""
    more: dict[str, Any] = {
        "initContainers": [SIDECAR],
        "volumes": [{"name": "v", "emptyDir": {}}],
        "fieldOfTomorrow": 1,
    }
    made = runner_pod(g.job(**more))["spec"]
    assert {key: made[key] for key in more} == more


def test_the_cluster_is_the_jobs_own() -> None:
    """It bears its name, goes with it, and is served by whom the job names."""
    manifest = g.job_manifest()
    manifest["spec"]["managedBy"] = "example.org/queue"
    made = job_cluster(Job.from_manifest(manifest))
    assert (made["metadata"]["name"], made["metadata"]["ownerReferences"][0]["uid"]) == ("simple", "uid-3")
    assert made["spec"] == {**manifest["spec"]["cluster"]["spec"], "managedBy": "example.org/queue"}
