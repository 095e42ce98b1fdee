"""DaskAutoscaler and ``spec.idleTimeout`` with a real API server and a real scheduler."""

from __future__ import annotations

import asyncio
from typing import Any

from dask_k8s.kube.resources import DASK_AUTOSCALER, DASK_CLUSTER, EVENT
from tests.api.operator.conftest import Json, Serve, World, cluster_of, seed_autoscaler, seed_cluster
from tests.unit.scheduler.conftest import Partner


async def ready(world: World) -> None:
    """The scheduler's Pod runs, here."""

    async def there() -> Json | None:
        found = await world.pods("scheduler")
        return found[0] if found else None

    await world.runs(await world.until(there, "the scheduler's Pod"))


async def replicas(world: World) -> int:
    """What the default group asks for."""
    count: int = (await world.group())["spec"]["worker"]["replicas"]
    return count


async def becomes(world: World, count: int) -> None:
    async def there() -> bool:
        return await replicas(world) == count

    await world.until(there, f"{count} replicas")


async def test_the_group_follows_the_target(world: World, serve: Serve, scheduler: Partner) -> None:
    """Up at once, never above the maximum, down after the window; deleted, the count stays."""
    await scheduler.scene("target", workers=7)
    async with serve():
        cluster = await world.make(cluster_of(scheduler))
        await world.make(seed_autoscaler(scaleDown={"stabilizationSeconds": 2}))
        await ready(world)
        await becomes(world, 7)
        await pending_pods_are_capacity(world)
        await scheduler.scene("target", workers=50)
        await becomes(world, 10)
        await world.told(world.autoscaler, "ScalingLimited", "True", "TooManyReplicas")
        await scheduler.scene("target", workers=0)
        await becomes(world, 1)
        found = await world.autoscaler()
        assert (found["status"]["target"], found["status"]["replicas"]) == (0, 1)
        assert found["status"]["lastScaleTime"]
        assert [owner["uid"] for owner in found["metadata"]["ownerReferences"]] == [cluster["metadata"]["uid"]]
        await scheduler.scene("target", workers=4)
        await becomes(world, 4)
        await world.client.delete(DASK_AUTOSCALER, world.namespace, "simple")
        await scheduler.scene("target", workers=9)
        await asyncio.sleep(2.0)
        assert await replicas(world) == 4


async def pending_pods_are_capacity(world: World) -> None:
    """None of the seven runs, and nobody asks for them again."""
    before = (await world.autoscaler())["status"]["lastScaleTime"]
    await asyncio.sleep(1.1)  # times have whole seconds
    for pod in (await world.workers(7))[:2]:
        await world.runs(pod, ip="127.0.0.3")

    async def counted() -> bool:
        return bool((await world.group())["status"].get("readyReplicas") == 2)

    await world.until(counted, "two of seven")
    await asyncio.sleep(1.5)
    assert (await world.autoscaler())["status"]["lastScaleTime"] == before
    assert await replicas(world) == 7


async def test_the_operators_own_limit_holds(world: World, serve: Serve, scheduler: Partner) -> None:
    """A scheduler is a user's program; the operator of these tests allows 20."""
    await scheduler.scene("target", workers=1_000_000)
    async with serve():
        await world.make(cluster_of(scheduler))
        manifest = seed_autoscaler()
        del manifest["spec"]["maximum"]
        await world.make(manifest)
        await ready(world)
        await becomes(world, 20)
        await world.told(world.autoscaler, "ScalingLimited", "True", "OperatorLimit")


async def test_a_silent_scheduler_changes_nothing(world: World, serve: Serve, scheduler: Partner) -> None:
    """Not to zero, not to the minimum; it is told, and when another one is there the count follows again."""
    await scheduler.scene("target", workers=6)
    async with serve():
        await world.make(cluster_of(scheduler))
        await world.make(seed_autoscaler(scaleDown={"stabilizationSeconds": 0}))
        await ready(world)
        await becomes(world, 6)
        (pod,) = await world.pods("scheduler")
        await world.runs(pod, ip="127.0.0.99")  # nobody listens there
        await scheduler.scene("hang_up")
        await world.told(world.autoscaler, "Degraded", "True", "SchedulerSilent")
        await scheduler.scene("target", workers=0)
        assert await replicas(world) == 6
        assert (await world.autoscaler())["status"]["target"] == 6
        await world.runs(pod)
        await becomes(world, 1)


async def test_another_autoscaler_of_the_cluster_does_nothing(world: World, serve: Serve, scheduler: Partner) -> None:
    """It says which one serves the cluster; when that one goes, it follows."""
    await scheduler.scene("target", workers=5)
    async with serve():
        await world.make(cluster_of(scheduler))
        await world.make(seed_autoscaler("first", maximum=5))
        await asyncio.sleep(1.1)  # ages have whole seconds
        await world.make(seed_autoscaler("another", maximum=8, minimum=8))
        await ready(world)
        await becomes(world, 5)
        told = await world.told(lambda: world.autoscaler("another"), "Degraded", "True", "AnotherAutoscaler")
        assert "first" in told["message"]
        await world.client.delete(DASK_AUTOSCALER, world.namespace, "first")
        await becomes(world, 8)


async def test_it_waits_for_its_cluster(world: World, serve: Serve) -> None:
    """A condition says what is missing; then it belongs to the cluster."""
    async with serve():
        await world.make(seed_autoscaler())
        await world.told(world.autoscaler, "Degraded", "True", "ClusterNotFound")
        await world.make(seed_cluster())
        await world.told(world.autoscaler, "Degraded", "False", "AsExpected")

        async def owned() -> bool:
            return bool((await world.autoscaler())["metadata"].get("ownerReferences"))

        await world.until(owned, "its owner")


async def test_the_clusters_own_count_waits_while_it_scales(world: World, serve: Serve, scheduler: Partner) -> None:
    """Edited under an autoscaler, the count of the cluster is remembered and not written."""
    await scheduler.scene("target", workers=3)
    async with serve():
        await world.make(cluster_of(scheduler))
        await world.make(seed_autoscaler())
        await ready(world)
        await becomes(world, 3)
        await world.scale(9, "simple", DASK_CLUSTER)

        async def remembered() -> bool:
            annotations = (await world.group())["metadata"]["annotations"]
            return bool(annotations["dask.org/replicas-from-cluster"] == "9")

        await world.until(remembered, "the annotation")
        assert await replicas(world) == 3
        await world.client.delete(DASK_AUTOSCALER, world.namespace, "simple")
        await asyncio.sleep(0.5)
        assert await replicas(world) == 3


async def test_a_cluster_without_work_goes(world: World, serve: Serve, scheduler: Partner) -> None:
    """It says so first, in an Event that outlives it."""
    async with serve():
        await world.make(cluster_of(scheduler, idleTimeout=4))
        await ready(world)
        await world.condition("Idle", status="True", reason="IdleTimeoutSoon")
        await world.is_gone(DASK_CLUSTER, "simple")

        async def told() -> bool:
            events = await world.client.list(EVENT, world.namespace)
            return {"IdleTimeoutSoon", "IdleTimeout"} <= {event["reason"] for event in events["items"]}

        await world.until(told, "both Events")


async def test_a_rest_outlives_the_operator(world: World, serve: Serve, scheduler: Partner) -> None:
    """Another process goes on counting from the same moment."""
    async with serve():
        await world.make(cluster_of(scheduler, idleTimeout=600))
        await ready(world)

        async def rests() -> Any:
            return (await world.cluster()).get("status", {}).get("idleSince")

        since = await world.until(rests, "idleSince")
    await asyncio.sleep(1.5)
    async with serve():
        await asyncio.sleep(7.0)
        assert (await world.cluster())["status"]["idleSince"] == since
        await scheduler.scene("begin", count=1)
        (worker,) = (await scheduler.workers()).values()
        await scheduler.scene("submit", task="work", key="key", path="/dev/null", seconds=60, worker=worker)

        async def works() -> bool:
            return "idleSince" not in (await world.cluster())["status"]

        await world.until(works, "no rest while a task runs")
