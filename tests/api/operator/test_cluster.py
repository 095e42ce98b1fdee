"""DaskCluster on a real API server: what is made, made again, and said."""

from __future__ import annotations

import asyncio

from dask_k8s import names
from dask_k8s.kube.resources import DASK_CLUSTER, DASK_WORKER_GROUP, EVENT, POD, SERVICE
from tests.api.operator.conftest import Serve, World, seed_cluster


async def test_the_seeds_cluster_is_made_whole(world: World, serve: Serve) -> None:
    """Scheduler Pod, Service, default group and two workers, named and labelled as the seed says."""
    async with serve():
        await world.make(seed_cluster())
        workers = await world.workers(2)
    service = await world.client.get(SERVICE, world.namespace, "simple")
    listed = await world.client.list(SERVICE, world.namespace, labels=f"{names.CLUSTER_NAME}=simple")
    scheduler = await world.client.get(POD, world.namespace, "simple-scheduler")
    assert [item["metadata"]["name"] for item in listed["items"]] == ["simple"]
    assert service["spec"]["type"] == "NodePort"
    assert scheduler["spec"]["containers"][0]["args"] == ["dask", "scheduler"]
    assert all(pod["metadata"]["name"].startswith("simple-default-worker-") for pod in workers)
    assert {len(pod["metadata"]["name"].rpartition("-")[2]) for pod in workers} == {10}


async def test_status_follows_the_pods(world: World, serve: Serve) -> None:
    """Counts, phase and conditions say what the kubelet says."""
    async with serve():
        await world.make(seed_cluster())
        for pod in await world.workers(2):
            await world.runs(pod)
        (scheduler,) = await world.pods("scheduler")
        await world.runs(scheduler)
        await world.condition("WorkersReady", status="True", reason="AllReady")
        await world.condition("SchedulerReady", status="True", reason="Ready")
        await world.condition("Progressing", status="False", reason="Settled")
    status = (await world.cluster())["status"]
    assert (status["phase"], status["replicas"], status["readyReplicas"]) == ("Running", 2, 2)
    assert status["schedulerAddress"] == f"tcp://simple.{world.namespace}.svc:8786"
    assert (await world.group())["status"]["readyReplicas"] == 2


async def test_each_part_is_made_again(world: World, serve: Serve) -> None:
    """A scheduler Pod, a Service and a default group that somebody deletes come back."""
    async with serve():
        await world.make(seed_cluster())
        await world.workers(2)
        for resource, name in (
            (POD, "simple-scheduler"),
            (SERVICE, "simple"),
            (DASK_WORKER_GROUP, "simple-default"),
        ):
            before = await world.client.get(resource, world.namespace, name)
            grace = 0 if resource is POD else None
            await world.client.delete(resource, world.namespace, name, grace=grace)

            async def again(resource=resource, name=name, uid=before["metadata"]["uid"]) -> bool:  # type: ignore[no-untyped-def]
                found = await world.client.list(resource, world.namespace, fields=f"metadata.name={name}")
                return any(item["metadata"]["uid"] != uid for item in found["items"])

            await world.until(again, f"another {resource.kind} {name}")


async def test_a_lost_scheduler_is_told(world: World, serve: Serve) -> None:
    """A scheduler that began anew has lost its state, and a condition says so."""
    async with serve():
        await world.make(seed_cluster())
        await world.workers(2)
        (scheduler,) = await world.pods("scheduler")
        await world.runs(scheduler)
        await world.condition("SchedulerReady", status="True", reason="Ready")
        await world.removed(scheduler)

        async def another() -> bool:
            found = await world.pods("scheduler")
            return bool(found) and found[0]["metadata"]["uid"] != scheduler["metadata"]["uid"]

        await world.until(another, "another scheduler")
        (scheduler,) = await world.pods("scheduler")
        await world.runs(scheduler)
        await world.condition("SchedulerStateLost", status="True", reason="SchedulerRestarted")


async def test_a_taken_name_is_said_and_nothing_of_others_is_touched(world: World, serve: Serve) -> None:
    """A Service of somebody else under the cluster's name: a condition, and the Service stays as it is."""
    theirs = await world.make(
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "simple"}, "spec": {"ports": [{"port": 80}]}}
    )
    async with serve():
        await world.make(seed_cluster())
        told = await world.condition("Degraded", status="True", reason="NameTaken")
        await world.workers(2)
    assert "simple" in told["message"]
    now = await world.client.get(SERVICE, world.namespace, "simple")
    assert now["metadata"]["resourceVersion"] == theirs["metadata"]["resourceVersion"]


async def test_what_the_api_server_refuses_is_said_in_its_words(world: World, serve: Serve) -> None:
    """A Pod template that is not valid: the API server's sentence, one Event, no hot loop; mended, it goes on."""
    manifest = seed_cluster()
    manifest["spec"]["worker"]["spec"]["containers"][0]["imagePullPolicy"] = "Sometimes"
    async with serve() as operator:
        await world.make(manifest)
        told = await world.condition("Degraded", status="True", reason="Invalid", group="simple-default")
        assert "imagePullPolicy" in told["message"]
        passes = operator.loop.passes
        await asyncio.sleep(1.5)
        assert operator.loop.passes - passes < 12
        events = await world.client.list(EVENT, world.namespace, fields="reason=Invalid")
        about = [item for item in events["items"] if item["involvedObject"]["kind"] == names.WORKER_GROUP]
        assert [item.get("series") for item in about] == [None]
        good = {"spec": {"worker": {"spec": seed_cluster()["spec"]["worker"]["spec"]}}}
        await world.client.patch(DASK_WORKER_GROUP, world.namespace, "simple-default", good)
        await world.workers(2)
        await world.condition("Degraded", status="False", reason="AsExpected", group="simple-default")


async def test_a_dying_cluster_gets_nothing_new(world: World, serve: Serve) -> None:
    """While a finalizer of somebody else holds a cluster that is being deleted, nothing is made for it again."""
    manifest = seed_cluster()
    manifest["metadata"]["finalizers"] = ["example.org/keep"]
    async with serve():
        await world.make(manifest)
        workers = await world.workers(2)
        await world.client.delete(DASK_CLUSTER, world.namespace, "simple")
        for pod in (*workers, *await world.pods("scheduler")):
            await world.removed(pod)
        await asyncio.sleep(1.0)
        assert not await world.pods()
        assert not await world.pods("scheduler")
    await world.client.patch(DASK_CLUSTER, world.namespace, "simple", {"metadata": {"finalizers": None}})
