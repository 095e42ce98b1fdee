"""Where client and operator stand: inside and outside of the cluster network, in a Pod, a shell, a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager

from distributed import Client

from dask_k8s import KubeCluster, names
from devcluster import Cluster
from tests.node.conftest import Kubectl

SCRIPT = """
    import sys
    from dask_k8s import KubeCluster
    operator, namespace = sys.argv[1:]
    with KubeCluster(n_workers=1, operator=operator, namespace=namespace, quiet=True) as cluster:
        client = cluster.get_client()
        print(cluster.scheduler_address, client.submit(sum, [1, 2]).result())
"""


def test_a_client_inside_the_cluster_network_connects_straight(kubectl: Kubectl, deployed: None, node: Cluster) -> None:
    """No port-forward: the address is the Service's."""
    for operator in ("deployed", "embedded"):
        argv = node.inside([sys.executable, "-c", textwrap.dedent(SCRIPT), operator, kubectl.namespace])
        done = subprocess.run(argv, env=kubectl.environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        address, result = done.stdout.split()
        assert address.startswith("tcp://10.")
        assert result == "3"


@contextmanager
def operator_in_a_shell(kubectl: Kubectl) -> Iterator[subprocess.Popen[str]]:
    """``python -m dask_k8s.operator`` on this machine, outside of the cluster network."""
    argv = [sys.executable, "-m", "dask_k8s.operator", "--namespace", kubectl.namespace, "--probes-port", "0"]
    with subprocess.Popen(argv, env=kubectl.environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()
            assert process.wait(20) == 0


def test_an_operator_in_a_shell_drains_through_port_forwards(kubectl: Kubectl, node: Cluster, deployed: None) -> None:
    """It stands where no scheduler can be reached, and loses nothing all the same."""
    administrator = Kubectl(kubectl.environment, "dask-operator")
    administrator("scale", "deployment/dask-operator", "--replicas=0")
    administrator.until(lambda: not administrator.pods(), "no deployed operator")
    try:
        with (
            operator_in_a_shell(kubectl),
            KubeCluster(operator="deployed", namespace=kubectl.namespace, n_workers=3, quiet=True) as cluster,
            Client(cluster) as client,
        ):
            client.wait_for_workers(3, timeout=60)
            kept = client.scatter(list(range(100)))
            began = time.monotonic()
            cluster.scale(1)
            kubectl.until(lambda: len(kubectl.pods("dask.org/component=worker")) == 1, "one worker")
            assert time.monotonic() - began < 30
            assert client.gather(kept) == list(range(100))
    finally:
        administrator("scale", "deployment/dask-operator", "--replicas=1")
        administrator("rollout", "status", "deployment/dask-operator", "--timeout=60s")


def test_a_cluster_outlives_the_process_that_embedded_its_operator(
    kubectl: Kubectl, deployed: None, node: Cluster
) -> None:
    """SIGKILL: the cluster stays, nothing is made twice, and the deployed operator takes it over after the Lease."""
    script = """
        import sys, time
        from dask_k8s import KubeCluster
        cluster = KubeCluster(name="orphan", n_workers=2, operator="embedded", namespace=sys.argv[1], quiet=True)
        cluster.get_client().wait_for_workers(2)
        print("there", flush=True)
        time.sleep(600)
    """
    argv = [sys.executable, "-c", textwrap.dedent(script), kubectl.namespace]
    environment = {**kubectl.environment, "DASK_KUBERNETES__LEASE_DURATION": "5s"}
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        before = {pod["metadata"]["name"] for pod in kubectl.pods()}
        os.kill(process.pid, signal.SIGKILL)
    kubectl("scale", "--replicas=3", "daskworkergroup", "orphan-default")

    def taken_over() -> bool:
        (lease,) = kubectl.json("get", "leases", "-l", names.LEASE_FOR)["items"]
        return bool(lease["spec"]["holderIdentity"] == names.DEPLOYED)

    kubectl.until(taken_over, "the takeover")
    kubectl.until(lambda: len(kubectl.pods("dask.org/component=worker")) == 3, "a third worker")
    assert before < {pod["metadata"]["name"] for pod in kubectl.pods()}
    kubectl("delete", "daskcluster", "orphan")
    kubectl.until(lambda: not kubectl("get", "leases,pods", "-o", "name").strip(), "nothing left")
