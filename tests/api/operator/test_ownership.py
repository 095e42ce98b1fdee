"""Several operators beside each other: each cluster has one, and nothing is made twice."""

from __future__ import annotations

import asyncio

import pytest

from dask_k8s import names
from dask_k8s.kube.resources import LEASE
from tests.api.operator.conftest import A_TENTH, Serve, World, seed_cluster

ME = "embedded-0123456789"


async def test_a_deployed_operator_leaves_an_embedded_ones_cluster_alone_while_it_lives(
    world: World, serve: Serve
) -> None:
    """Both see the cluster; only the embedded one serves it."""
    lease = names.embedded_lease(ME)
    async with serve(), serve(me=ME, lease=lease, cluster="simple"):
        await world.make(seed_cluster(managedBy=names.managed_by(ME)))
        await world.workers(2)
        await asyncio.sleep(1.0)
        assert len(await world.pods()) == 2
        spec = (await world.client.get(LEASE, world.namespace, lease))["spec"]
        assert spec["holderIdentity"] != names.DEPLOYED


async def test_a_cluster_whose_embedded_operator_died_is_taken_over_once(world: World, serve: Serve) -> None:
    """Its Lease runs out, the deployed operator takes it for good, and the Pods that are there stay."""
    lease = names.embedded_lease(ME)
    async with serve():
        async with serve(me=ME, lease=lease, cluster="simple", duration=2.0) as embedded:
            await world.make(seed_cluster(managedBy=names.managed_by(ME)))
            before = {pod["metadata"]["name"] for pod in await world.workers(2)}
            embedded._election.fence.drop()  # as a killed process: it gives nothing back

        async def taken() -> bool:
            found = await world.client.get(LEASE, world.namespace, lease)
            return bool(found["spec"]["holderIdentity"] == names.DEPLOYED)

        await world.until(taken, "the takeover")
        await world.scale(3)
        assert before < {pod["metadata"]["name"] for pod in await world.workers(3)}


async def test_a_lease_that_somebody_deletes_is_still_the_embedded_operators(world: World, serve: Serve) -> None:
    """It may not have noticed yet; only when its time is over the deployed one serves, with its cluster's groups."""
    lease, lasts = names.embedded_lease(ME), 6.0
    loop = asyncio.get_running_loop()
    async with serve():
        spec = {"holderIdentity": ME, "leaseDurationSeconds": int(lasts), "renewTime": "2026-01-01T00:00:00.000000Z"}
        metadata = {"name": lease, "labels": {names.LEASE_FOR: "simple"}}
        renewed = loop.time()
        await world.make({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec})
        await world.make(seed_cluster(managedBy=names.managed_by(ME)))
        await asyncio.sleep(A_TENTH.lease_may_come)
        await world.client.delete(LEASE, world.namespace, lease)
        while loop.time() - renewed < lasts - 0.5:
            assert not await world.pods("scheduler")
            await asyncio.sleep(0.2)
        await world.workers(2)


async def test_the_deployed_operators_cluster_is_not_the_embedded_ones(world: World, serve: Serve) -> None:
    """An embedded operator serves only what names it."""
    async with serve(me=ME, lease=names.embedded_lease(ME), cluster="simple"):
        await world.make(seed_cluster())
        await asyncio.sleep(1.0)
        assert not await world.pods("scheduler")


async def test_of_two_replicas_one_leads_and_the_other_follows_it(world: World, serve: Serve) -> None:
    """The second serves when the first has gone, and makes nothing twice."""
    loop = asyncio.get_running_loop()
    async with serve() as first:
        await world.make(seed_cluster())
        before = {pod["metadata"]["name"] for pod in await world.workers(2)}
        assert first.serving.is_set()
    began = loop.time()
    async with serve():
        assert loop.time() - began < 4, "a released Lease need not be waited for"
        await world.scale(3)
        assert before < {pod["metadata"]["name"] for pod in await world.workers(3)}


async def test_a_cluster_that_somebody_else_manages_costs_nothing(world: World, serve: Serve) -> None:
    """Another controller's name in ``spec.managedBy``: it is left alone, without a loop around it."""
    async with serve() as operator:
        manifest = seed_cluster(managedBy="example.org/another")
        await world.make(manifest)
        await asyncio.sleep(0.5)
        before = operator.loop.passes
        await asyncio.sleep(1.0)
        assert operator.loop.passes - before < 3
        assert not await world.pods("scheduler")


async def test_a_lease_that_was_taken_for_good_is_not_taken_back(world: World, serve: Serve) -> None:
    """An embedded operator that wakes up after the takeover writes nothing any more, however old the Lease is."""
    lease = names.embedded_lease(ME)
    taken = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": lease, "labels": {names.LEASE_FOR: "simple"}},
        "spec": {
            "holderIdentity": names.DEPLOYED,
            "leaseDurationSeconds": 1,
            "renewTime": "2026-01-01T00:00:00.000000Z",
        },
    }
    await world.make(taken)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(4), serve(me=ME, lease=lease, cluster="simple"):
            pass
    spec = (await world.client.get(LEASE, world.namespace, lease))["spec"]
    assert spec["holderIdentity"] == names.DEPLOYED
