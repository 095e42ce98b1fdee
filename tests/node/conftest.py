"""A real node: real Pods, a real kubelet, and the operator as administrators install it."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dask_k8s.cluster.spec import default_image
from devcluster import Cluster, up
from tests.elsewhere import elsewhere
from tests.state import WHERE

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
DEADLINE = 90.0

Json = dict[str, Any]


class Kubectl:
    """A person with kubectl, in one namespace.

    Parameters
    ----------
    environment
        ``KUBECONFIG`` and ``PATH``.
    """

    def __init__(self, environment: Mapping[str, str], namespace: str) -> None:
        self.environment = dict(environment)
        self.namespace = namespace

    def __call__(self, *words: str, stdin: str | None = None, check: bool = True) -> str:
        """What a kubectl command prints; its error is the failure's text."""
        argv = ["kubectl", "--namespace", self.namespace, *words]
        done = subprocess.run(argv, env=self.environment, input=stdin, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"{' '.join(argv)}\n{done.stdout}{done.stderr}"
        return done.stdout if check else done.stdout + done.stderr

    def json(self, *words: str) -> Json:
        """What a command prints, read."""
        found: Json = json.loads(self(*words, "-o", "json"))
        return found

    def pods(self, selector: str = "") -> list[Json]:
        """The Pods that are not going."""
        items = self.json("get", "pods", "-l", selector)["items"]
        return [pod for pod in items if "deletionTimestamp" not in pod["metadata"]]

    def until(self, condition: Callable[[], Any], what: str, within: float = DEADLINE) -> Any:
        """Wait for a condition with a deadline; what it gives that is true."""
        deadline = time.monotonic() + within
        while not (found := condition()):
            assert time.monotonic() < deadline, f"not within {within:g} s: {what}"
            time.sleep(0.2)
        return found


@pytest.fixture(scope="session", autouse=True)
def on_a_node_of_ones_own(request: pytest.FixtureRequest) -> None:
    """All of these tests start processes in the cluster's network, or shake a cluster: another's is left alone."""
    if another := elsewhere(request.config):
        pytest.skip(f"Needs a node of one's own, and {another} is asked for.")


@pytest.fixture(scope="session")
def node(request: pytest.FixtureRequest, on_a_node_of_ones_own: None) -> Cluster:
    """The node, and this process's way to it."""
    cluster = up("node")
    os.environ.update(cluster.environment())
    request.config.stash[WHERE] = dict(os.environ)
    return cluster


@pytest.fixture(scope="session")
def image(node: Cluster) -> str:
    """The image that KubeCluster chooses by itself, which the node has."""
    found = default_image()
    assert found in node.images, f"{found} is not among {node.images}"
    return found


@pytest.fixture(scope="session")
def deployed(node: Cluster) -> None:
    """The operator as a Pod, as ``dask k8s install`` makes it.

    One of an earlier session begins anew with today's image.
    """
    administrator = Kubectl({**os.environ, **node.environment()}, "dask-operator")
    administrator("rollout", "restart", "deployment/dask-operator", check=False)
    administrator("scale", "deployment/dask-operator", "--replicas=1", check=False)
    dask_k8s(node, "install")
    administrator("rollout", "status", "deployment/dask-operator", "--timeout=120s")


def dask_k8s(node: Cluster, *words: str) -> str:
    """What the command line prints."""
    argv = [sys.executable, "-m", "dask", "k8s", *words]
    environment = {**os.environ, **node.environment()}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def own_namespace(node: Cluster) -> Iterator[Kubectl]:
    """A person with a namespace that nobody else uses."""
    name = f"test-{secrets.token_hex(4)}"
    person = Kubectl({**os.environ, **node.environment()}, name)
    person("create", "namespace", name)
    person.until(lambda: "default" in person("get", "serviceaccounts", "-o", "name"), "the service account")
    yield person
    person("delete", "namespace", name, "--wait=false")


@pytest.fixture
def kubectl(node: Cluster) -> Iterator[Kubectl]:
    """A namespace of the test's own."""
    with own_namespace(node) as person:
        yield person
