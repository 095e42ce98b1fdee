"""A cluster for the documentation's pages, and a namespace for each of them."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from devcluster import up
from tests.state import WHERE

DEADLINE = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a page is followed.

    Parameters
    ----------
    environment
        With ``KUBECONFIG``, and ``kubectl`` and ``dask`` on the ``PATH``.
    own
        Whether the cluster is the tests' own, and has the operator's image.
    """

    environment: Mapping[str, str]
    own: bool

    def run(self, *argv: str) -> str:
        """What a command prints; its error is the failure's text."""
        done = subprocess.run(argv, env=dict(self.environment), capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(argv)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def within(self, namespace: str, folder: Path) -> Place:
        """The same, where nobody has to name the namespace."""
        path = folder / "kubeconfig"
        config = yaml.safe_load(self.run("kubectl", "config", "view", "--raw", "--minify", "--flatten"))
        config["contexts"][0]["context"]["namespace"] = namespace
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(config))
        return Place(environment={**self.environment, "KUBECONFIG": str(path)}, own=self.own)


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Where pages are followed; a failure shows what went on there."""
    found = _found(request, tmp_path_factory)
    request.config.stash[WHERE] = found.environment
    return found


def _found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The cluster that the command line names, or the node of this machine."""
    ours = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    if context := request.config.getoption("--kubecontext"):
        theirs = Place(environment={**os.environ, "PATH": ours}, own=False)
        return _only(context, theirs, tmp_path_factory.mktemp("kubeconfig"))
    if request.config.getoption("--kind"):
        path = str(request.getfixturevalue("kind_cluster").kubeconfig_path)
        return Place(environment={**os.environ, "PATH": ours, "KUBECONFIG": path}, own=False)
    node = up("node")
    found = {**node.environment(), "PATH": f"{node.bin}{os.pathsep}{ours}"}
    place = Place(environment={**os.environ, **found}, own=True)
    # One of an earlier session begins anew with today's image.
    restart = ["kubectl", "-n", "dask-operator", "rollout", "restart", "deployment/dask-operator"]
    subprocess.run(restart, env=dict(place.environment), capture_output=True, check=False)
    return place


def _only(context: str, theirs: Place, folder: Path) -> Place:
    """The user's kubeconfig with this one context in it, so that nothing reaches another."""
    path = folder / "kubeconfig"
    path.touch(mode=0o600)
    path.write_text(theirs.run("kubectl", "config", "view", "--raw", "--minify", "--flatten", "--context", context))
    return Place(environment={**theirs.environment, "KUBECONFIG": str(path)}, own=theirs.own)


@pytest.fixture
def place(cluster: Place, tmp_path: Path) -> Iterator[Place]:
    """A namespace of the page's own, in which it leaves nothing."""
    namespace = f"docs-{secrets.token_hex(4)}"
    cluster.run("kubectl", "create", "namespace", namespace)
    here = cluster.within(namespace, tmp_path)
    _until_there(here)
    yield here
    cluster.run("kubectl", "delete", "namespace", namespace, "--wait=false")


def _until_there(place: Place) -> None:
    """The account that Pods run under comes a moment after its namespace."""
    deadline = time.monotonic() + DEADLINE
    while "serviceaccount/default" not in place.run("kubectl", "get", "serviceaccounts", "-o", "name"):
        assert time.monotonic() < deadline, "no service account"
        time.sleep(0.1)
