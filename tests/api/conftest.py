"""A real API server, a client of it, and a namespace for each test."""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import yaml

from dask_k8s.errors import AlreadyExists, Missing, Unavailable
from dask_k8s.kinds.value import Manifest, value
from dask_k8s.kube import credentials
from dask_k8s.kube.client import Client
from dask_k8s.kube.resources import CUSTOM_RESOURCE_DEFINITION, NAMESPACE, named
from tests.faults.proxy import Faults

CRDS = Path(__file__).parents[2] / "crds"


@value
class ApiServer:
    """Where the API server is, and what its components were built into.

    Parameters
    ----------
    context
        Of the kubeconfig; None for its current one, where the kubeconfig is the tests' own.
    bin
        Where kubectl of the same version is; None where that is the user's matter.
    """

    kubeconfig: str
    context: str | None = None
    bin: Path | None = None

    async def log_in(self) -> credentials.Credentials:
        """As its administrator."""
        return await credentials.from_kubeconfig(self.kubeconfig, self.context)


@pytest.fixture(scope="session")
def apiserver(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ApiServer:
    """The API server that the command line names, or one of the tests' own."""
    if context := request.config.getoption("--kubecontext"):
        return ApiServer(kubeconfig=os.environ.get("KUBECONFIG") or "~/.kube/config", context=context)
    if request.config.getoption("--kind"):
        return ApiServer(kubeconfig=str(request.getfixturevalue("kind_cluster").kubeconfig_path))
    from devcluster import up

    with alone(tmp_path_factory.getbasetemp().parent / "devcluster.lock"):
        cluster = up("api")
    return ApiServer(kubeconfig=str(cluster.kubeconfig), bin=cluster.bin)


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """One process at a time: each worker of pytest-xdist has a session of its own."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture
async def client(apiserver: ApiServer) -> AsyncIterator[Client]:
    """A client with all rights."""
    async with Client(await apiserver.log_in()) as client:
        yield client


@pytest.fixture
async def faults(apiserver: ApiServer) -> AsyncIterator[Faults]:
    """A proxy in front of the API server, for what a network and a busy server do."""
    async with Faults(await apiserver.log_in()) as faults:
        yield faults


@pytest.fixture
async def through(faults: Faults) -> AsyncIterator[Client]:
    """A client on the far side of the proxy."""
    async with Client(faults.credentials()) as client:
        yield client


@pytest.fixture
async def namespace(client: Client) -> AsyncIterator[str]:
    """A namespace that no other test uses."""
    async with own_namespace(client) as name:
        yield name


@asynccontextmanager
async def own_namespace(client: Client) -> AsyncIterator[str]:
    """A new namespace, until the block ends."""
    name = f"test-{secrets.token_hex(4)}"
    await client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    await provide_service_account(client, name)
    yield name
    await client.delete(NAMESPACE, None, name)


async def provide_service_account(client: Client, namespace: str) -> None:
    """The account that a Pod runs under: an API server without a controller manager makes none, and refuses the Pod."""
    metadata = {"name": "default", "namespace": namespace}
    try:
        await client.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    except AlreadyExists:
        return


@pytest.fixture(scope="session")
def crds(apiserver: ApiServer) -> None:
    """The CRDs of this checkout, installed and served."""
    asyncio.run(install(apiserver, [yaml.safe_load(path.read_text()) for path in sorted(CRDS.glob("*.yaml"))]))


async def install(apiserver: ApiServer, manifests: list[Manifest]) -> None:
    """Applies CRDs, and waits until the API server serves them."""
    async with Client(await apiserver.log_in()) as client, asyncio.timeout(30):
        for manifest in manifests:
            await client.apply(manifest, manager="tests")
        for manifest in manifests:
            while not await served(client, manifest["metadata"]["name"]):
                await asyncio.sleep(0.05)


async def served(client: Client, crd: str) -> bool:
    """Whether its objects can be listed: an established CRD's storage may still be made."""
    try:
        manifest = await client.get(CUSTOM_RESOURCE_DEFINITION, None, crd)
        await client.list(named(manifest["spec"]["names"]["kind"]), limit=1)
    except (Missing, Unavailable):
        return False
    return True
