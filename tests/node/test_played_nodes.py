"""What no machine of a developer has room for, on a node that KWOK plays."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from devcluster import Cluster, up
from devcluster.components import FAKE_NODES
from tests.node.conftest import Kubectl
from tests.node.test_jobs import LONG, condition, create, job, runner_of
from tests.node.test_seed import apply, running


@pytest.fixture
def played(node: Cluster, deployed: None) -> Iterator[str]:
    """A node of 32 GiB and more that takes every Pod; it is gone after the test."""
    cluster = up("scale")
    administrator = Kubectl(cluster.environment(), "default")
    try:
        name = administrator.json("get", "nodes", "-l", "type=kwok")["items"][0]["metadata"]["name"]
        yield name
    finally:
        up("node")


def test_a_runner_that_is_lost_with_its_node_is_made_again(kubectl: Kubectl, played: str) -> None:
    """Its end was not seen: no success, under Never too; Kubernetes takes the Pod away, and another one waits."""
    manifest = job("lost", LONG, restartPolicy="Never", nodeSelector={"kubernetes.io/hostname": played})
    manifest["spec"]["job"]["spec"]["tolerations"] = [{"operator": "Exists"}]
    create(kubectl, manifest)
    first = kubectl.until(lambda: runner_of(kubectl, "lost"), "the runner")
    kubectl("delete", "node", played)
    kubectl.until(lambda: condition(kubectl, "lost", "RunnerReplaced"), "the condition", within=180)

    def another() -> bool:
        pods = kubectl.pods("dask.org/component=job-runner")
        return [pod["metadata"]["uid"] for pod in pods] not in ([], [first["metadata"]["uid"]])

    kubectl.until(another, "another runner")
    assert kubectl.json("get", "daskjob", "lost")["status"]["jobStatus"] == "Running"


def test_the_seeds_own_group_runs_where_there_is_room(kubectl: Kubectl, played: str) -> None:
    """``highmemworkers.yaml`` unchanged: two workers of 32 Gi each, beside the cluster's own."""
    apply(kubectl, "cluster.yaml")
    running(kubectl, 3)
    kubectl("taint", "node", played, f"{FAKE_NODES.partition('=')[0]}:NoSchedule-")
    created = apply(kubectl, "highmemworkers.yaml")
    assert created == "daskworkergroup.kubernetes.dask.org/simple-highmem created\n"
    running(kubectl, 5)
    pods = kubectl.pods("dask.org/workergroup-name=simple-highmem")
    assert [pod["spec"]["nodeName"] for pod in pods] == [played] * 2
    assert {pod["spec"]["containers"][0]["resources"]["requests"]["memory"] for pod in pods} == {"32Gi"}
