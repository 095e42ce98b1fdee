"""Workers whose Pods others take away: nodes that go, the kubelet's own need, and what a budget forbids."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client

from dask_k8s import make_cluster_spec
from devcluster import down, up
from devcluster.nodes import FIRST, SECOND
from tests.environments import OLDEST, uv
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


def test_a_users_own_pre_stop_comes_first(kubectl: Kubectl, deployed: None, tmp_path: Path) -> None:
    """It runs, and within the same grace period the worker hands over after it."""
    spec = make_cluster_spec(name="saves", n_workers=2)
    pod = spec["spec"]["worker"]["spec"]
    pod["volumes"] = [{"name": "here", "hostPath": {"path": str(tmp_path)}}]
    (worker,) = pod["containers"]
    worker["volumeMounts"] = [{"name": "here", "mountPath": "/here"}]
    save = "sleep 2; touch /here/$DASK_WORKER_NAME"
    worker["lifecycle"] = {"preStop": {"exec": {"command": ["sh", "-c", save]}}}
    with make(kubectl, "deployed", custom_cluster_spec=spec) as cluster, Client(cluster) as client:
        until_only(kubectl, client, 2)
        kept = client.scatter(NUMBERS)
        evicted = kubectl.pods("dask.org/component=worker")[0]["metadata"]["name"]
        kubectl("delete", "pod", evicted, "--timeout=60s")
        assert [path.name for path in tmp_path.iterdir()] == [evicted]
        until_only(kubectl, client, 2)
        assert client.gather(kept) == NUMBERS


BEGIN = """\
from distributed import Client, __version__
client = Client("tcp://127.0.0.1:8786")
client.wait_for_workers(3)
client.publish_dataset(kept=client.scatter(list(range(200))))
assert all(client.has_what().values())
print(__version__)
"""
END = """\
from distributed import Client
client = Client("tcp://127.0.0.1:8786")
print(sum(client.gather(client.get_dataset("kept"))), len(client.scheduler_info()["workers"]))
"""


def test_nothing_is_lost_with_the_oldest_dask_in_the_image(kubectl: Kubectl, deployed: None, tmp_path: Path) -> None:
    """Neither on the way down nor by an eviction; the client is as old."""
    releases = [f"{each}=={OLDEST}" for each in ("dask", "distributed")]
    uv("pip", "install", "--python", sys.executable, "--target", tmp_path, *releases, environment=tmp_path)
    spec = make_cluster_spec(name="old", n_workers=3, env={"PYTHONPATH": "/old"})
    for section in ("scheduler", "worker"):
        pod = spec["spec"][section]["spec"]
        pod["volumes"] = [{"name": "old", "hostPath": {"path": str(tmp_path)}}]
        pod["containers"][0]["volumeMounts"] = [{"name": "old", "mountPath": "/old"}]
    kubectl("apply", "-f", "-", stdin=json.dumps(spec))
    kubectl("wait", "--for=condition=WorkersReady", "daskcluster/old", "--timeout=120s")
    python = ("exec", "old-scheduler", "--", "python", "-W", "ignore", "-c")
    assert kubectl(*python, BEGIN).strip() == OLDEST
    kubectl("scale", "daskworkergroup/old-default", "--replicas=2")
    kubectl.until(lambda: len(kubectl.pods("dask.org/component=worker")) == 2, "one has left", within=120)
    evicted = kubectl.pods("dask.org/component=worker")[0]["metadata"]["name"]
    kubectl("delete", "pod", evicted, "--timeout=60s")
    kubectl.until(lambda: kubectl(*python, END).split() == [str(sum(range(200))), "2"], "all are there", within=120)
