"""KubeCluster against a real node: with the operator deployed and embedded, sync and async."""

from __future__ import annotations

import asyncio
import threading
import urllib.request
from typing import Any

import psutil
import pytest
import yaml
from distributed import Client

from dask_k8s import CreateMode, KubeCluster, NotFound, StartError, make_cluster_spec
from tests.node.conftest import Kubectl

OPERATORS = ("deployed", "embedded")


def make(kubectl: Kubectl, operator: str, **arguments: Any) -> KubeCluster:
    """A cluster in the test's namespace."""
    return KubeCluster(operator=operator, namespace=kubectl.namespace, quiet=True, resource_timeout=90, **arguments)


@pytest.mark.parametrize("operator", OPERATORS)
def test_from_nothing_to_a_result_and_back(kubectl: Kubectl, deployed: None, operator: str) -> None:
    """Start, compute, scale up, scale down without losing a key, logs, dashboard, close: nothing is left."""
    threads, sockets = set(threading.enumerate()), open_sockets()
    with make(kubectl, operator, n_workers=2) as cluster, Client(cluster) as client:
        assert client.submit(sum, [1, 2]).result(timeout=60) == 3
        cluster.scale(4)
        client.wait_for_workers(4, timeout=60)
        kept = client.scatter(list(range(200)))
        cluster.scale(1)
        kubectl.until(lambda: len(client.scheduler_info(n_workers=-1)["workers"]) == 1, "one worker")
        assert client.gather(kept) == list(range(200))
        assert f"workers={1}" in kubectl.until(lambda: "workers=1" in repr(cluster) and repr(cluster), "the repr")
        logs = cluster.get_logs()
        assert any("Scheduler at" in text for text in logs.values())
        assert cluster.name in cluster._repr_html_()
        with urllib.request.urlopen(cluster.dashboard_link, timeout=20) as page:
            assert page.status == 200
    assert cluster.status.name == "closed"
    kubectl.until(lambda: not kubectl("get", "daskclusters,pods,services", "-o", "name").strip(), "nothing left")
    kubectl.until(lambda: open_sockets() <= sockets, "no socket left")
    # What Dask keeps for the next cluster of this process stays: its event loop's helpers, and its offload thread.
    left = {thread.name for thread in set(threading.enumerate()) - threads}
    assert not [name for name in left if not name.startswith(("Dask-Offload", "asyncio_", "Profile", "IO loop"))]


def open_sockets() -> set[tuple[Any, Any]]:
    """The connections and listeners of this process, by their two ends."""
    connections = psutil.Process().net_connections(kind="tcp")
    return {(each.laddr, each.raddr) for each in connections if each.status in ("LISTEN", "ESTABLISHED")}


async def test_asynchronously(kubectl: Kubectl, deployed: None) -> None:
    """``async with``, and several clusters in one process at a time."""
    arguments: dict[str, Any] = {
        "operator": "embedded",
        "namespace": kubectl.namespace,
        "quiet": True,
        "asynchronous": True,
    }
    async with (
        KubeCluster(n_workers=1, **arguments) as one,
        KubeCluster(n_workers=1, **arguments) as two,
        Client(one, asynchronous=True) as first,
        Client(two, asynchronous=True) as second,
    ):
        results = await asyncio.gather(first.submit(sum, [1, 2]), second.submit(sum, [3, 4]))
        assert list(results) == [3, 7]
        assert one.name != two.name


def test_joining_a_cluster_that_is_there(kubectl: Kubectl, deployed: None) -> None:
    """By name: the second process neither makes nor takes away; a mode that cannot be is refused."""
    with make(kubectl, "deployed", name="shared", n_workers=1):
        by_name = KubeCluster.from_name("shared", namespace=kubectl.namespace, quiet=True)
        with by_name as joined, Client(joined) as client:
            assert client.submit(sum, [1, 2]).result(timeout=60) == 3
        assert "shared" in kubectl("get", "daskclusters")
        with pytest.raises(StartError, match="already"):
            make(kubectl, "deployed", name="shared", create_mode=CreateMode.CREATE_ONLY)
        assert "shared" in kubectl("get", "daskclusters")
    with pytest.raises(NotFound, match="nobody"):
        KubeCluster.from_name("nobody", namespace=kubectl.namespace, quiet=True)


def test_two_on_one_cluster_both_hear_of_its_workers(kubectl: Kubectl, deployed: None) -> None:
    """A scheduler tells one subscriber at a time of its workers, and both objects have to know them."""
    with (
        make(kubectl, "deployed", name="shared", n_workers=1) as first,
        KubeCluster.from_name("shared", namespace=kubectl.namespace, quiet=True) as second,
    ):
        for count in (2, 3, 1):
            second.scale(count)
            for cluster in (first, second):
                kubectl.until(lambda: len(cluster.scheduler_info["workers"]) == count, f"{count} workers")  # noqa: B023


def test_ends_with_its_cluster(kubectl: Kubectl, deployed: None, caplog: pytest.LogCaptureFixture) -> None:
    """A cluster deleted by kubectl closes the object, which leaves a later one of that name alone."""
    cluster = make(kubectl, "deployed", name="again", n_workers=0)
    kubectl("delete", "daskcluster", "again")
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump(make_cluster_spec(name="again", n_workers=0)))
    kubectl.until(lambda: cluster.status.name == "closed", "the object closed")
    assert "The DaskCluster again was deleted" in caplog.text
    cluster.close()
    assert "deletionTimestamp" not in kubectl.json("get", "daskcluster", "again")["metadata"]


def test_a_pod_that_is_deleted_hands_its_data_over(kubectl: Kubectl, deployed: None) -> None:
    """Scattered keys cannot be computed again: all of them are still there after ``kubectl delete pod``."""
    with make(kubectl, "deployed", n_workers=3) as cluster, Client(cluster) as client:
        client.wait_for_workers(3, timeout=60)
        kept = client.scatter(list(range(300)))
        victim = kubectl.pods("dask.org/component=worker")[0]["metadata"]["name"]
        kubectl("delete", "pod", victim)
        assert client.gather(kept) == list(range(300))
        kubectl.until(lambda: len(kubectl.pods("dask.org/component=worker")) == 3, "a replacement")


def test_auto_finds_the_deployed_operator(kubectl: Kubectl, deployed: None) -> None:
    """Its Lease is read, so no operator is embedded, and nobody waits."""
    with make(kubectl, "auto", n_workers=0) as cluster:
        spec = kubectl.json("get", "daskcluster", cluster.name)["spec"]
        assert "managedBy" not in spec
