"""Workers whose Pods others take away: nodes that go, the kubelet's own need, and what a budget forbids."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from distributed import Client

from dask_k8s import make_cluster_spec
from devcluster import down, up
from devcluster.nodes import FIRST, SECOND
from tests.node.conftest import Kubectl, dask_k8s, own_namespace
from tests.node.test_groups import workers
from tests.node.test_kubecluster import make
from tests.node.test_scale_down import until_only

NUMBERS = list(range(200))
KEY = "kubernetes.io/hostname"


@pytest.fixture
def spread(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kubectl]:
    """A namespace in a cluster of two real nodes, whose operator serves; it is gone after the test."""
    two = up("nodes")
    try:
        for name, text in two.environment().items():
            monkeypatch.setenv(name, text)
        dask_k8s(two, "install")
        with own_namespace(two) as person:
            yield person
    finally:
        down("nodes")


@pytest.mark.timeout(400)
def test_a_node_that_is_about_to_go_is_left_early(spread: Kubectl) -> None:
    """Its workers hand over, and others come elsewhere, before anybody evicts them."""
    kubectl, second = spread, SECOND.name
    spec = make_cluster_spec(name="spot", n_workers=0)
    spec["spec"]["scheduler"]["spec"]["nodeSelector"] = {KEY: FIRST.name}
    evenly = {"maxSkew": 1, "topologyKey": KEY, "whenUnsatisfiable": "ScheduleAnyway"}
    selector = {"matchLabels": {"dask.org/cluster-name": "spot", "dask.org/component": "worker"}}
    spec["spec"]["worker"]["spec"]["topologySpreadConstraints"] = [{**evenly, "labelSelector": selector}]
    with make(kubectl, "deployed", custom_cluster_spec=spec) as cluster, Client(cluster) as client:
        cluster.scale(4)
        until_only(kubectl, client, 4)
        there = {pod["metadata"]["uid"] for pod in kubectl.pods("dask.org/component=worker") if on(pod, second)}
        assert there
        kept = client.scatter(NUMBERS)
        kubectl("taint", "node", second, "ToBeDeletedByClusterAutoscaler=1:NoSchedule")

        def left() -> bool:
            pods = kubectl.pods("dask.org/component=worker")
            return len(pods) == 4 and not any(on(pod, second) for pod in pods)

        kubectl.until(left, "they have left the node")
        until_only(kubectl, client, 4)
        assert client.gather(kept) == NUMBERS
        events = kubectl("get", "events", "-o", "jsonpath={.items[*].message}")
        assert f"Node {second} is about to go: the cluster autoscaler takes it away" in events


def on(pod: dict[str, dict[str, str]], node: str) -> bool:
    """Whether a Pod is on a node."""
    return pod["spec"].get("nodeName") == node


def test_a_budget_keeps_the_scheduler_where_it_is(kubectl: Kubectl, deployed: None) -> None:
    """On request; it goes when it is not wanted any more, and with its cluster."""
    spec = make_cluster_spec(name="kept", n_workers=0)
    spec["spec"]["scheduler"]["podDisruptionBudget"] = True
    kubectl("apply", "-f", "-", stdin=json.dumps(spec))
    kubectl("wait", "--for=condition=SchedulerReady", "daskcluster/kept", "--timeout=90s")
    selector = "--pod-selector=dask.org/cluster-name=kept"
    drained = kubectl("drain", FIRST.name, selector, "--force", "--timeout=10s", check=False)
    kubectl("uncordon", FIRST.name)
    assert "violate the pod's disruption budget" in drained
    assert "Running" in kubectl("get", "pod", "kept-scheduler")
    unwanted = '{"spec": {"scheduler": {"podDisruptionBudget": false}}}'
    kubectl("patch", "daskcluster", "kept", "--type=merge", "-p", unwanted)
    kubectl.until(lambda: not kubectl("get", "poddisruptionbudgets", "-o", "name"), "its end")


def test_what_the_kubelet_takes_away_for_its_own_need_is_kept(kubectl: Kubectl, deployed: None) -> None:
    """It gives a second or two, whatever the grace period: here a worker fills more disk than it may."""
    spec = make_cluster_spec(name="full", n_workers=2)
    pod = spec["spec"]["worker"]["spec"]
    pod["volumes"] = [{"name": "data", "emptyDir": {"sizeLimit": "1Mi"}}]
    pod["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    with make(kubectl, "deployed", custom_cluster_spec=spec) as cluster, Client(cluster) as client:
        full, _ = until_only(kubectl, client, 2)
        kept = client.scatter(NUMBERS)
        assert client.has_what()[full]

        def fill() -> None:
            from pathlib import Path

            Path("/data/full").write_bytes(bytes(1 << 22))

        client.run(fill, workers=[full])
        kubectl.until(lambda: full not in workers(client), "the eviction", within=180)
        assert client.gather(kept) == NUMBERS
        until_only(kubectl, client, 2)


def test_the_only_worker_hands_over_to_the_one_that_comes_in_its_place(kubectl: Kubectl, deployed: None) -> None:
    """While it is evicted there is nobody else: it waits for the Pod that the operator makes."""
    with make(kubectl, "deployed", n_workers=1) as cluster, Client(cluster) as client:
        (only,) = until_only(kubectl, client, 1)
        kept = client.scatter(NUMBERS)
        kubectl("delete", "pods", "-l", "dask.org/component=worker", "--wait=false")
        kubectl.until(lambda: only not in workers(client), "it has left", within=120)
        until_only(kubectl, client, 1)
        assert client.gather(kept) == NUMBERS
