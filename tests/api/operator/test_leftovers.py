"""A name that is still taken by what an earlier one of that name has left: nothing is asked for until it has gone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dask_k8s import metadata, names
from dask_k8s.kube.client import Client
from dask_k8s.kube.resources import POD, SERVICE, Resource
from tests.api.operator.conftest import Serve, World, seed_cluster, seed_job
from tests.faults.proxy import Faults

HELD = {"finalizers": ["example.org/keep"]}
CONTAINER = {"name": "theirs", "image": "x"}


def of_an_earlier(kind: str, owner: str, name: str, labels: dict[str, str], spec: Any, **meta: Any) -> dict[str, Any]:
    """What a cluster or a job of the same name made, which is gone itself."""
    api_version = names.API_VERSION
    reference = {"apiVersion": api_version, "kind": kind, "name": owner, "uid": "an-earlier-one", "controller": True}
    return {
        "apiVersion": "v1",
        "metadata": {"name": name, "labels": labels, "ownerReferences": [reference], **meta},
        "spec": spec,
    }


def asked_for(faults: Faults, plural: str) -> int:
    """How often the operator has asked for an object of a kind, or for what has its name."""
    return sum(met.method == "POST" and met.path.endswith(f"/{plural}") for met in faults.requests)


async def leaves(world: World, resource: Resource, manifest: dict[str, Any]) -> dict[str, Any]:
    """Made and told to go; it stays until somebody lets it."""
    made = await world.make({**manifest, "kind": resource.kind})
    await world.client.delete(resource, world.namespace, made["metadata"]["name"])
    return made


async def comes(world: World, resource: Resource, before: dict[str, Any]) -> None:
    """Wait until another one has its name."""

    async def another() -> bool:
        found = await world.client.get(resource, world.namespace, before["metadata"]["name"])
        return bool(found["metadata"]["uid"] != before["metadata"]["uid"])

    await world.until(another, f"another {resource.kind}", within=5.0)


async def test_an_earlier_schedulers_pod_that_hangs_is_waited_for(
    world: World, serve: Serve, faults: Faults, through: Client
) -> None:
    """Its node is away: no request is repeated, the condition names Pod and node, and its end is enough of a call."""
    spec = {"nodeName": "away", "containers": [CONTAINER]}
    labels = metadata.scheduler_labels("simple")
    hangs = await leaves(world, POD, of_an_earlier(names.CLUSTER, "simple", "simple-scheduler", labels, spec))
    async with serve(client=through):
        await world.make(seed_cluster())
        told = await world.condition("SchedulerReady", status="False", reason="StillLeaving")
        assert "Pod simple-scheduler on node away is being deleted since" in told["message"]
        await asyncio.sleep(2.5)
        asked = [met.path for met in faults.requests if met.path.endswith("/simple-scheduler")]
        assert (asked_for(faults, "pods"), asked) == (0, [])
        await world.removed(hangs)
        await comes(world, POD, hangs)
        await world.workers(2)
        assert asked_for(faults, "pods") == 3


async def test_an_earlier_service_that_is_held_is_waited_for(
    world: World, serve: Serve, faults: Faults, through: Client
) -> None:
    """The scheduler and its workers do not wait for it."""
    labels = metadata.scheduler_labels("simple")
    spec = {"ports": [{"port": 80}]}
    held = await leaves(world, SERVICE, of_an_earlier(names.CLUSTER, "simple", "simple", labels, spec, **HELD))
    async with serve(client=through):
        await world.make(seed_cluster())
        await world.workers(2)
        told = await world.condition("Degraded", status="True", reason="StillLeaving")
        assert "example.org/keep" in told["message"]
        assert asked_for(faults, "services") == 0
        await world.client.patch(SERVICE, world.namespace, "simple", {"metadata": {"finalizers": None}})
        await comes(world, SERVICE, held)


@pytest.mark.parametrize("labelled", [True, False], ids=["seen", "unseen"])
async def test_an_earlier_runner_that_hangs_is_waited_for(
    world: World, serve: Serve, faults: Faults, through: Client, labelled: bool
) -> None:
    """One that no cache shows is asked for once a second at most: nothing tells when it is gone."""
    labels = metadata.job_runner_labels("simple-job") if labelled else {}
    spec = {"nodeName": "away", "containers": [CONTAINER]}
    hangs = await leaves(world, POD, of_an_earlier(names.JOB, "simple-job", "simple-job-runner", labels, spec))
    async with serve(client=through):
        await world.make(seed_job())
        if labelled:
            await world.told(world.job, "Progressing", "True", "StillLeaving")
        await world.workers(2)
        await asyncio.sleep(2.5)
        assert (asked_for(faults, "pods") == 3) is labelled, "the scheduler's and two workers'"
        await world.removed(hangs)
        await comes(world, POD, hangs)
