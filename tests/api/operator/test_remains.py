"""The Pods of a worker group that is gone. No garbage collector runs here: what goes, the operator has taken away."""

from __future__ import annotations

import json

from aiohttp import web

from dask_k8s.kube.client import Client
from dask_k8s.kube.resources import DASK_CLUSTER, DASK_WORKER_GROUP, POD
from tests.api.operator.conftest import Serve, World, quiet, seed_cluster, without
from tests.faults.proxy import Faults, Met, first, only, says


async def test_they_go_with_their_group(world: World, serve: Serve) -> None:
    """And those of another group stay."""
    async with serve():
        await world.make(seed_cluster())
        await world.workers(2)
        await world.client.create(another(world.namespace, replicas=3))
        await world.workers(5)
        await world.client.delete(DASK_WORKER_GROUP, world.namespace, "another")
        left = await world.workers(2)
        assert left == await world.workers_of("simple-default")


async def test_they_go_with_their_group_though_one_deletion_fails(
    world: World, serve: Serve, faults: Faults, through: Client
) -> None:
    """It is tried again."""
    async with serve(client=through):
        await world.make(seed_cluster())
        await world.workers(2)
        faults.trouble = only(lambda request: request.method == "DELETE", first(1, says(503)))
        await world.client.delete(DASK_CLUSTER, world.namespace, "simple")
        await world.client.delete(DASK_WORKER_GROUP, world.namespace, "simple-default")
        await world.workers(0)


async def test_a_group_that_only_seems_to_be_gone_keeps_its_pods(
    world: World, serve: Serve, faults: Faults, through: Client
) -> None:
    """A cache is told of a deletion that was none, as one is that is behind: the API server itself is asked first."""
    async with serve(client=through):
        await world.make(seed_cluster())
        pods = await world.workers(2)
        told = False

        def deleted(request: web.Request, line: bytes) -> list[bytes]:
            nonlocal told
            event = json.loads(line)
            if not request.path.endswith("/daskworkergroups") or event["type"] != "MODIFIED":
                return [line]
            told = True
            return [json.dumps({**event, "type": "DELETED"}).encode()]

        async def asked() -> bool:
            return told and any(met.method == "GET" and "/daskworkergroups/" in met.path for met in faults.requests)

        faults.lines = deleted
        await world.client.patch(
            DASK_WORKER_GROUP, world.namespace, "simple-default", {"metadata": {"labels": {"edited": "1"}}}
        )
        await world.until(asked, "the question whether it is gone")
        faults.lines = None
        await world.scale(3)
        now = {pod["metadata"]["uid"] for pod in await world.workers(3)}
        assert {pod["metadata"]["uid"] for pod in pods} < now
        assert not [met for met in faults.requests if met.method == "DELETE"]


async def test_pods_that_have_lost_their_owner_stay(
    world: World, serve: Serve, faults: Faults, through: Client
) -> None:
    """As with ``--cascade=orphan``, though the operator learns of the deletion before it learns of that."""
    async with serve(client=through):
        await world.make(seed_cluster())
        await world.workers(2)
        await world.client.create(another(world.namespace, replicas=3))
        await world.workers(5)
        await quiet(faults)
        faults.lines = without("/pods")
        for pod in await world.workers_of("another"):
            orphan = {"metadata": {"ownerReferences": None}}
            await world.client.patch(POD, world.namespace, pod["metadata"]["name"], orphan)
        before = len(faults.requests)
        await world.client.delete(DASK_WORKER_GROUP, world.namespace, "another")
        await world.until(lambda: three_refused(faults.requests[before:]), "three attempts")
        assert len(await world.pods()) == 5


async def test_a_group_that_took_anothers_name_does_not_wait_for_the_pods_of_that(
    world: World, serve: Serve, faults: Faults, through: Client
) -> None:
    """It was deleted and made again while nobody heard of it, nor of its Pods: what was asked for was for the other."""
    async with serve(client=through):
        await world.make(seed_cluster())
        await world.workers(2)
        await quiet(faults)
        faults.lines = without("/pods")
        await world.client.create(another(world.namespace, replicas=3))
        before = {pod["metadata"]["uid"] for pod in await world.workers(5)}
        for watch in faults.watches():
            if watch.path.endswith("/daskworkergroups"):
                faults.mute(watch)
        await world.client.delete(DASK_WORKER_GROUP, world.namespace, "another")
        await world.client.create(another(world.namespace, replicas=3))
        for watch in faults.watches():
            if watch.path.endswith("/daskworkergroups"):
                faults.cut(watch)

        async def three_more() -> bool:
            return len([pod for pod in await world.pods() if pod["metadata"]["uid"] not in before]) == 3

        await world.until(three_more, "three of its own", within=5.0)


async def three_refused(requests: list[Met]) -> bool:
    return sum(met.method == "DELETE" and "/pods/" in met.path for met in requests) >= 3


def another(namespace: str, replicas: int) -> dict[str, object]:
    worker = {**seed_cluster()["spec"]["worker"], "replicas": replicas}
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskWorkerGroup",
        "metadata": {"name": "another", "namespace": namespace},
        "spec": {"cluster": "simple", "worker": worker},
    }
