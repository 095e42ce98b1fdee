"""Clusters brought up, broken, mended and taken down for real, beside whatever else of this clone runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from devcluster import Cluster, cgroups, down, up
from devcluster.console import Refused
from devcluster.instances import Kind, instance_of
from devcluster.node import cgroup
from devcluster.nodes import nodes
from devcluster.processes import wait_for

NAME = "test"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a node needs root")

MEBIBYTE = 1 << 20
ENDED = ("Succeeded", "Failed")
IMAGE_LIMIT = 400 * MEBIBYTE

FETCH = """
import time, urllib.request
end = time.monotonic() + 20
while True:
    try:
        print(urllib.request.urlopen("{url}", timeout=5).read().decode())
        break
    except OSError:
        if time.monotonic() > end:
            raise
        time.sleep(0.2)
"""
"""Asks again for a while: a Service leads to a Pod soon after that is ready, and not at once."""


class Kubectl:
    """kubectl with a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self.environment = {**os.environ, **cluster.environment()}

    def __call__(self, *words: str) -> str:
        """What a command prints."""
        done = subprocess.run(
            ["kubectl", *words], env=self.environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr}"
        return done.stdout

    def json(self, *words: str) -> Any:
        """The same, read."""
        return json.loads(self(*words, "-o", "json"))

    def run(self, name: str, image: str, *command: str, user: int = 0, node: str = "") -> None:
        """Make a Pod with one container, on a node or wherever."""
        container = {
            "name": "main",
            "image": image,
            "imagePullPolicy": "IfNotPresent",
            "args": list(command),
            "securityContext": {"runAsUser": user},
        }
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {"restartPolicy": "Never", "containers": [container], **({"nodeName": node} if node else {})},
        }
        subprocess.run(
            ["kubectl", "create", "-f", "-"], env=self.environment, input=json.dumps(pod), text=True, check=True
        )

    def output(self, name: str) -> str:
        """What a Pod's container has printed when it has ended well; else what is known of it."""

        def phase() -> str:
            return str(self.json("get", "pod", name)["status"].get("phase"))

        with suppress(Refused):
            wait_for(lambda: phase() in ENDED, 90, f"{name} does not end", every=0.2)
        log = self("logs", name, "--tail=30") if phase() in ENDED else self("describe", "pod", name)
        assert phase() == "Succeeded", f"{name} is {phase()}:\n{log}"
        return self("logs", name)


def brought_up(kind: Kind) -> Iterator[Cluster]:
    down(kind, NAME)
    yield up(kind, NAME)
    down(kind, NAME)


@pytest.fixture
def api() -> Iterator[Cluster]:
    yield from brought_up("api")


@pytest.fixture
def node() -> Iterator[Cluster]:
    yield from brought_up("node")


@pytest.fixture
def two_nodes() -> Iterator[Cluster]:
    yield from brought_up("nodes")


@pytest.mark.timeout(900)
def test_an_api_server_comes_is_mended_and_goes(api: Cluster) -> None:
    """Its objects outlive a crash of both processes; nothing of it outlives ``down``."""
    kubectl = Kubectl(api)
    kubectl("create", "configmap", "kept")
    before = api.components
    assert up("api", NAME) == api
    assert api.components == before, "asked again, nothing is started again"
    for name in before:
        api.kill(name)
    assert up("api", NAME) == api
    assert not any(process.alive for process in before.values())
    assert kubectl.json("get", "configmap", "kept")["metadata"]["name"] == "kept"
    mended = api.components
    down("api", NAME)
    assert not any(process.alive for process in mended.values())
    assert not instance_of("api", NAME).folder.exists()


@needs_root
@pytest.mark.timeout(900)
def test_a_node_runs_pods_is_mended_and_leaves_nothing(node: Cluster) -> None:
    """The whole of it in one go: bringing a node up costs a third of a minute."""
    kubectl = Kubectl(node)
    kubectl.run("server", node.images[0], "python", "-m", "http.server", "8000", "--directory=/opt/dask", user=1234)
    kubectl("expose", "pod", "server", "--port=8000")
    kubectl("wait", "--for=condition=Ready", "pod/server", "--timeout=60s")
    a_service_is_found_by_name(node, kubectl)
    images_are_small_and_refused_as_elsewhere(kubectl)
    killed_components_come_again(node, kubectl)
    nothing_is_left_after_down(node)


@needs_root
@pytest.mark.timeout(900)
def test_two_nodes_share_a_network(two_nodes: Cluster) -> None:
    """Each finds the other's Pods by their Service and has logs; one that is drained leaves the other's alone."""
    kubectl = Kubectl(two_nodes)
    each = [node.name for node in nodes("nodes")]
    assert sorted(found["metadata"]["name"] for found in kubectl.json("get", "nodes")["items"]) == each
    for name in each:
        server = ("python", "-m", "http.server", "8000", "--directory=/opt/dask")
        kubectl.run(f"at-{name}", two_nodes.images[0], *server, user=1234, node=name)
        kubectl("expose", "pod", f"at-{name}", "--port=8000")
    kubectl("wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
    for name in each:
        fetches = "".join(FETCH.format(url=f"http://at-{other}:8000/pyvenv.cfg") for other in each)
        kubectl.run(f"from-{name}", two_nodes.images[0], "python", "-c", fetches, node=name)
        assert kubectl.output(f"from-{name}").count("home = /opt/python/bin") == len(each)
    kubectl("drain", each[1], "--force", "--timeout=60s")
    assert {pod["spec"]["nodeName"] for pod in kubectl.json("get", "pods")["items"]} == {each[0]}
    kubectl("uncordon", each[1])
    nothing_is_left_after_down(two_nodes)


def a_service_is_found_by_name(node: Cluster, kubectl: Kubectl) -> None:
    """By a Pod, and by a process of this machine inside the cluster's network; not from outside of it."""
    fetch = FETCH.format(url="http://server:8000/pyvenv.cfg")
    kubectl.run("client", node.images[1], "python", "-c", f"import bokeh, dask_k8s, distributed, numpy\n{fetch}")
    assert "home = /opt/python/bin" in kubectl.output("client")
    command = [sys.executable, "-c", fetch]
    inside = subprocess.run(node.inside(command), capture_output=True, text=True, check=False)
    assert "home = /opt/python/bin" in inside.stdout, inside.stderr
    once = [sys.executable, "-c", "import urllib.request; urllib.request.urlopen('http://server:8000/', timeout=5)"]
    assert subprocess.run(once, capture_output=True, check=False).returncode != 0
    kubectl.run("operator", node.images[2], "dask", "--version")
    assert "version" in kubectl.output("operator")


def images_are_small_and_refused_as_elsewhere(kubectl: Kubectl) -> None:
    """An image that a registry does not have is told apart from a registry that cannot be reached, both soon."""
    found = kubectl.json("get", "node", "node")["status"]["images"]
    assert max(each["sizeBytes"] for each in found) <= IMAGE_LIMIT
    expected = {"wrong": ("ghcr.io/no/such:1", "not found"), "far": ("registry.invalid/no/such:1", "no such host")}
    for name, (image, _) in expected.items():
        kubectl.run(name, image)

    def told(name: str) -> str:
        statuses = kubectl.json("get", "pod", name)["status"].get("containerStatuses", [])
        return " ".join(status["state"].get("waiting", {}).get("message", "") for status in statuses)

    for name, (_, message) in expected.items():
        wait_for(lambda name=name, message=message: message in told(name), 10, f"{name}: {told(name)}")  # type: ignore[misc]


def killed_components_come_again(node: Cluster, kubectl: Kubectl) -> None:
    """And the Pods that ran meanwhile run on."""
    before = kubectl.json("get", "pod", "server")["status"]["containerStatuses"][0]["containerID"]
    for name in ("etcd", "kube-apiserver", "containerd", "kubelet", "coredns"):
        node.kill(name)
    assert up("node", NAME) == node
    kubectl.run("later", node.images[0], "python", "-c", "import socket; print(socket.gethostbyname('server'))")
    assert kubectl.output("later").startswith("10.96.")
    after = kubectl.json("get", "pod", "server")["status"]["containerStatuses"][0]
    assert (after["containerID"], after["restartCount"]) == (before, 0)


def nothing_is_left_after_down(node: Cluster) -> None:
    """No process, mount, network, cgroup or file."""
    record = node.instance.record
    assert record is not None
    processes = node.components
    names = [cgroup(node.instance, each) for each in nodes(node.kind)]
    own = [hierarchy / name for hierarchy in cgroups.hierarchies() for name in names]
    interface = Path("/sys/class/net", record.interface)
    assert interface.exists()
    assert any(folder.exists() for folder in own)
    down(node.kind, NAME)
    assert not any(process.alive for process in processes.values())
    assert not interface.exists()
    assert not any(folder.exists() for folder in own), "a cgroup goes only when no process is in it"
    assert node.instance.name not in Path("/proc/self/mounts").read_text()
    assert not node.instance.folder.exists()
