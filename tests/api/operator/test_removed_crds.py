"""The definitions of Dask's kinds are removed under a running operator, on an API server that no other test uses."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import yaml

from dask_k8s.kinds.value import Manifest
from dask_k8s.kube.resources import CUSTOM_RESOURCE_DEFINITION
from devcluster import down, up
from tests.api.conftest import CRDS, ApiServer, install
from tests.api.operator.conftest import Serve, World, is_missed, seed_cluster

INSTANCE = "removed"
DEFINITIONS: list[Manifest] = [yaml.safe_load(path.read_text()) for path in sorted(CRDS.glob("*.yaml"))]


@pytest.fixture(scope="module")
def apiserver() -> Iterator[ApiServer]:
    """In the place of the one that all share."""
    cluster = up("api", INSTANCE)
    yield ApiServer(kubeconfig=str(cluster.kubeconfig), bin=cluster.bin)
    down("api", INSTANCE)


@pytest.fixture(scope="module")
def crds(apiserver: ApiServer) -> None:
    """Installed and served."""
    asyncio.run(install(apiserver, DEFINITIONS))


async def test_definitions_that_are_removed_and_applied_again(world: World, serve: Serve, apiserver: ApiServer) -> None:
    """Dask's resources go with them, and with a group its Pods; what is made once they are back is served again."""
    async with serve() as operator:
        await world.make(seed_cluster())
        await world.workers(2)
        for definition in DEFINITIONS:
            await world.client.delete(CUSTOM_RESOURCE_DEFINITION, None, definition["metadata"]["name"])
        await world.workers(0)
        await world.until(lambda: is_missed(operator.caches.troubles()), "the trouble is known")
        await install(apiserver, DEFINITIONS)
        cluster = seed_cluster()
        await world.make({**cluster, "metadata": {**cluster["metadata"], "name": "again"}})
        await world.workers(2)
