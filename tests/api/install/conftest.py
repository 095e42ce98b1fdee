"""Installations on a real API server, one after the other.

An operator's ClusterRole is there once, and the command looks at all namespaces. A lock keeps others out: pytest-xdist
3.8 takes no notice of its groups under pytest 9.2. Where Kubernetes' controllers would act, a helper plays them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import pytest

from dask_k8s import names
from dask_k8s.cli.install import Wish, install
from dask_k8s.cli.uninstall import uninstall
from dask_k8s.errors import Missing
from dask_k8s.kinds.value import Manifest
from dask_k8s.kube.client import Client
from dask_k8s.kube.resources import (
    DEPLOYMENT,
    POD,
)
from tests.api.conftest import alone

WITHIN = 30.0


class Said(list[str]):
    """What a command said, line by line."""

    def __call__(self, line: str) -> None:
        self.append(line)

    def about(self, kind: str) -> list[str]:
        """What became of the objects of a kind."""
        return [line.rpartition(": ")[2] for line in self if line.startswith(f"{kind} ")]


@pytest.fixture
def one_at_a_time(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No other test of this file runs meanwhile, in whatever worker."""
    with alone(tmp_path_factory.getbasetemp().parent / "install.lock"):
        yield


@pytest.fixture
def said() -> Said:
    """Listens to a command."""
    return Said()


@pytest.fixture
async def wish(one_at_a_time: None, client: Client, namespace: str) -> AsyncIterator[Wish]:
    """An installation into the test's namespace, which is taken away again."""
    yield Wish(namespace=namespace, timeout=WITHIN)
    await uninstall(client, namespace, Said())


async def the_deployment(client: Client, namespace: str) -> Manifest:
    """The operator's, once it is there."""
    async with asyncio.timeout(WITHIN):
        while True:
            with suppress(Missing):
                return await client.get(DEPLOYMENT, namespace, names.OPERATOR)
            await asyncio.sleep(0.05)


async def report(client: Client, namespace: str, **status: object) -> None:
    """Plays the Deployment's controller."""
    deployment = await the_deployment(client, namespace)
    observed = {"observedGeneration": deployment["metadata"]["generation"], **status}
    await client.patch(DEPLOYMENT, namespace, names.OPERATOR, {"status": observed}, subresource="status")


async def report_available(client: Client, namespace: str) -> None:
    await report(client, namespace, replicas=1, updatedReplicas=1, readyReplicas=1, availableReplicas=1)


async def a_pod_that(client: Client, namespace: str, waiting: Manifest) -> None:
    """Plays controller and kubelet: a Pod of the operator whose container waits for a reason."""
    template = (await the_deployment(client, namespace))["spec"]["template"]
    metadata = {**template["metadata"], "name": "operator-pod", "namespace": namespace}
    await client.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
    image = template["spec"]["containers"][0]["image"]
    container = {"name": "operator", "image": image, "imageID": "", "ready": False, "restartCount": 0}
    status = {"phase": "Pending", "containerStatuses": [{**container, "state": {"waiting": waiting}}]}
    await client.patch(POD, namespace, "operator-pod", {"status": status}, subresource="status")
    await report(client, namespace, replicas=1, updatedReplicas=1)


async def installed(client: Client, wish: Wish) -> None:
    """An installation that came to its good end."""
    async with asyncio.TaskGroup() as group:
        group.create_task(install(client, wish, Said()))
        await report_available(client, wish.namespace)
