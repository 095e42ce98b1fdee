"""DaskWorkerGroup on a real API server: its Pods and their number."""

from __future__ import annotations

import time
from typing import Literal

import pytest
import yaml
from aiohttp import web

from dask_k8s import names
from dask_k8s.kube.client import Client
from dask_k8s.kube.resources import DASK_CLUSTER, DASK_WORKER_GROUP, POD
from dask_k8s.operator.plan.leavers import DRAINED_GRACE, JUST_DRAINED
from tests.api.operator.conftest import EXAMPLES, Json, Serve, World, cluster_of, quiet, seed_cluster, without
from tests.faults.proxy import Faults, Met, first, only
from tests.unit.scheduler.conftest import Partner


def names_of(pods: list[dict[str, object]]) -> set[str]:
    return {pod["metadata"]["name"] for pod in pods}  # type: ignore[index]


async def test_scaling_keeps_those_that_are_there(world: World, serve: Serve) -> None:
    """From 2 to 5: the two stay, three come."""
    async with serve():
        await world.make(seed_cluster())
        before = names_of(await world.workers(2))
        await world.scale(5)
        assert before < names_of(await world.workers(5))


async def test_those_that_never_ran_go_first_and_unasked(world: World, serve: Serve) -> None:
    """Pending Pods hold nothing: they go although the scheduler answers nobody, and running ones stay."""
    async with serve():
        await world.make(seed_cluster())
        running = await world.workers(2)
        for pod in running:
            await world.runs(pod, ip="127.0.0.2")
        await world.scale(4)
        await world.workers(4)
        await world.scale(2)
        assert names_of(await world.workers(2)) == names_of(running)


async def test_groups_of_one_cluster_keep_to_themselves(world: World, serve: Serve) -> None:
    """Each has its own number: none makes up for another, or takes from it."""
    group = yaml.safe_load((EXAMPLES / "highmemworkers.yaml").read_text())
    async with serve():
        await world.make(seed_cluster())
        await world.workers(2)
        await world.make(group)
        others = names_of(await world.workers(4)) - names_of(await world.workers_of("simple-default"))
        assert len(others) == 2
        await world.scale(0)
        assert names_of(await world.workers(2)) == others


async def test_a_silent_scheduler_costs_nobody(world: World, serve: Serve) -> None:
    """Workers that ran may hold data: while the scheduler is silent none of them goes, and a condition says why."""
    async with serve():
        await world.make(seed_cluster())
        for pod in (*await world.workers(2), *await world.pods("scheduler")):
            await world.runs(pod, ip="127.0.0.2")
        await world.scale(1)
        await world.condition("Degraded", status="True", reason="SchedulerSilent", group="simple-default")
        assert len(await world.pods()) == 2
        await world.scale(2)
        await world.condition("Degraded", status="False", reason="AsExpected", group="simple-default")


async def test_the_clusters_count_flows_only_when_it_changed(world: World, serve: Serve) -> None:
    """``kubectl scale daskworkergroup`` holds until somebody changes the cluster's own count."""
    async with serve():
        await world.make(seed_cluster())
        await world.workers(2)
        await world.scale(3)
        await world.workers(3)
        annotation = {"metadata": {"annotations": {"touched": "yes"}}}
        await world.client.patch(DASK_CLUSTER, world.namespace, "simple", annotation)
        assert len(await world.workers(3)) == 3
        await world.scale(4, "simple", DASK_CLUSTER)
        await world.workers(4)
        assert (await world.group())["spec"]["worker"]["replicas"] == 4


async def test_a_worker_that_failed_is_replaced_at_once(world: World, serve: Serve) -> None:
    """The first time without waiting, and the ended Pod goes."""
    async with serve():
        await world.make(seed_cluster())
        first, second = await world.workers(2)
        await world.ends(first)

        async def replaced() -> bool:
            there = names_of(await world.pods())
            return first["metadata"]["name"] not in there and len(there) == 2

        await world.until(replaced, "a replacement")
        assert second["metadata"]["name"] in names_of(await world.pods())


async def test_workers_that_end_at_once_are_replaced_later_and_later(world: World, serve: Serve) -> None:
    """The second generation in a row that ends early waits, and a condition says until when."""
    async with serve():
        await world.make(seed_cluster())
        await world.workers(2)

        async def ended_again() -> bool:
            for pod in await world.pods():
                if pod["status"]["phase"] != "Failed":
                    await world.ends(pod)
            return bool((await world.group())["status"].get("earlyEnds", {}).get("count", 0) >= 2)

        await world.until(ended_again, "two generations that ended early")
        told = await world.condition("Degraded", status="True", reason="WorkersEnd", group="simple-default")
        assert "times in a row" in told["message"]


async def test_a_group_waits_for_its_cluster_and_joins_it(world: World, serve: Serve) -> None:
    """The seed's second group, made first: it says what it waits for, and belongs to the cluster once that is there."""
    group = yaml.safe_load((EXAMPLES / "highmemworkers.yaml").read_text())
    async with serve():
        await world.make(group)
        await world.condition("Degraded", status="True", reason="ClusterNotFound", group="simple-highmem")
        cluster = await world.make(seed_cluster())
        await world.workers(4)

        async def owned() -> bool:
            owners = (await world.group("simple-highmem"))["metadata"].get("ownerReferences", [])
            return [owner["uid"] for owner in owners] == [cluster["metadata"]["uid"]]

        await world.until(owned, "the group's owner")


async def test_orphans_with_its_labels_are_adopted(world: World, serve: Serve) -> None:
    """A worker's Pod that lost its owner reference counts again, and no Pod is made beside it."""
    async with serve():
        await world.make(seed_cluster())
        await world.workers(2)
    from dask_k8s.kube.resources import POD

    first, _ = await world.pods()
    orphaned = {"metadata": {"ownerReferences": None}}
    await world.client.patch(POD, world.namespace, first["metadata"]["name"], orphaned)
    async with serve():

        async def adopted() -> bool:
            pod = await world.client.get(POD, world.namespace, first["metadata"]["name"])
            return bool(pod["metadata"].get("ownerReferences"))

        await world.until(adopted, "the adoption")
        assert len(await world.pods()) == 2


@pytest.mark.parametrize("propagation", ["Background", "Foreground"], ids=["gone", "going"])
async def test_a_group_that_only_seems_to_be_there_adopts_no_orphan(
    world: World, serve: Serve, faults: Faults, through: Client, propagation: Literal["Background", "Foreground"]
) -> None:
    """No event has told that it was deleted: what became its own now would be taken away with it."""
    async with serve(client=through):
        await world.make(seed_cluster())
        one = (await world.workers(2))[0]["metadata"]
        await quiet(faults)
        before, faults.lines = len(faults.requests), without("/daskworkergroups")
        await world.client.delete(DASK_WORKER_GROUP, world.namespace, "simple-default", propagation=propagation)
        container = {"name": "worker", "image": "dask"}
        orphan = {"metadata": {"name": "orphan", "labels": one["labels"]}, "spec": {"containers": [container]}}
        await world.make({"apiVersion": "v1", "kind": "Pod", **orphan})
        # Of an orphan no group is told, and a status that had to be written would show that the group is gone.
        await world.client.patch(POD, world.namespace, one["name"], {"metadata": {"labels": {"edited": "1"}}})
        await came(world, faults, before, "/daskworkergroups/simple-default")
        assert "ownerReferences" not in (await world.client.get(POD, world.namespace, "orphan"))["metadata"]


async def test_a_cluster_that_only_seems_to_be_there_adopts_no_group(
    world: World, serve: Serve, faults: Faults, through: Client
) -> None:
    """The same for a group that is made for it."""
    async with serve(client=through):
        await world.make(seed_cluster())
        await world.workers(2)
        await quiet(faults)
        before, faults.lines = len(faults.requests), without("/daskclusters")
        await world.client.delete(DASK_CLUSTER, world.namespace, "simple")
        await world.make(yaml.safe_load((EXAMPLES / "highmemworkers.yaml").read_text()))
        await came(world, faults, before, "/daskclusters/simple")
        assert "ownerReferences" not in (await world.group("simple-highmem"))["metadata"]


async def came(world: World, faults: Faults, before: int, path: str) -> None:
    """Wait until the operator has asked for an object, and for nothing more after that."""

    async def asked() -> bool:
        return any(met.method == "GET" and met.path.endswith(path) for met in faults.requests[before:])

    await world.until(asked, f"GET {path}")
    await quiet(faults, 0.5)


async def test_status_serves_the_scale_subresource(world: World, serve: Serve) -> None:
    """Count and selector are there for an HPA and for ``kubectl scale``."""
    async with serve():
        await world.make(seed_cluster())
        await world.workers(2)

        async def counted() -> bool:
            return bool((await world.group()).get("status", {}).get("replicas") == 2)

        await world.until(counted, "the count")
    scale = await world.client._read(  # the subresource has no verb of its own in the client
        DASK_WORKER_GROUP.path(world.namespace, "simple-default", "scale"), {}, None
    )
    assert scale["status"]["replicas"] == 2
    assert "dask.org/workergroup-name=simple-default" in scale["status"]["selector"]


async def two_have_joined(world: World, scheduler: Partner) -> None:
    """A cluster of two whose Pods run, with a worker in each."""
    await world.make(cluster_of(scheduler))
    workers = await world.workers(2)
    await world.runs(*await world.pods("scheduler"))
    for each in workers:
        await world.runs(each)
        await scheduler.scene("more", count=1, name=each["metadata"]["name"])


async def test_a_worker_that_joined_before_its_kubelet_told_is_drained(
    world: World, serve: Serve, scheduler: Partner
) -> None:
    """Its Pod looks as if no container ran; it would go at once, with what it holds."""
    manifest = cluster_of(scheduler)
    manifest["spec"]["worker"]["spec"]["nodeName"] = "node"
    manifest["spec"]["scheduler"]["spec"]["hostNetwork"] = True  # all processes of this test have one address
    async with serve():
        await world.make(manifest)
        workers = await world.workers(2)
        await world.runs(*await world.pods("scheduler"))
        for each in workers:
            await scheduler.scene("more", count=1, name=each["metadata"]["name"])
        await scheduler.scene("scatter", count=4)
        await scheduler.scene("slow", what="retire_workers", seconds=0.0)  # which counts them
        await world.scale(1)
        (stays,) = await world.workers(1)
        assert await scheduler.scene("calls", what="retire_workers") == 2, "moved, and removed"
        (left,) = await scheduler.workers()
        assert left.startswith(stays["metadata"]["name"])
        assert await scheduler.scene("gather") == {f"key-{n}": n for n in range(4)}


@pytest.mark.parametrize("mark", ["now", "", "9999-12-31T23:59:59Z"])
async def test_a_mark_that_is_no_time_is_a_mark_all_the_same(
    world: World, serve: Serve, scheduler: Partner, mark: str
) -> None:
    """Whoever wrote it: another worker comes, the marked one is drained before it goes, and the group goes on."""
    async with serve():
        await two_have_joined(world, scheduler)
        await scheduler.scene("slow", what="retire_workers", seconds=0.0)  # which counts them
        chosen, stays = sorted(names_of(await world.pods()))
        annotation = {"metadata": {"annotations": {names.RETIRING_SINCE: mark}}}
        await world.client.patch(POD, world.namespace, chosen, annotation)
        await world.is_gone(POD, chosen)
        assert await scheduler.scene("calls", what="retire_workers") == 2, "moved, and removed"
        assert stays in names_of(await world.workers(2))
        await world.condition("Degraded", status="False", reason="AsExpected", group="simple-default")


async def test_a_drained_worker_that_was_started_again_unseen_is_drained_once_more(
    world: World, serve: Serve, scheduler: Partner, faults: Faults, through: Client
) -> None:
    """Its deletion was on its way when the kubelet started its container anew, and no event has told of that."""
    refused: list[str] = []

    async def is_refused() -> bool:
        return bool(refused)

    async def starts_again(request: web.Request) -> None:
        faults.lines = without("/pods")
        await world.runs(await world.client.get(POD, world.namespace, request.path.rpartition("/")[2]), restarts=1)

    def seen(met: Met, body: bytes, status: int) -> None:
        if met.method == "DELETE" and status == 409:
            refused.append(met.path)

    faults.passed = seen
    async with serve(client=through):
        await two_have_joined(world, scheduler)
        await scheduler.scene("slow", what="retire_workers", seconds=0.0)  # which counts them
        faults.trouble = only(
            lambda request: request.method == "DELETE" and "/pods/" in request.path, first(1, starts_again)
        )
        await world.scale(1)
        await world.until(is_refused, "the deletion was refused")
        (left,) = (await scheduler.workers()).keys()
        (leaver,) = [name for pod in await world.pods() if (name := pod["metadata"]["name"]) not in left]
        await scheduler.scene("more", count=1, name=leaver)
        before = await scheduler.scene("calls", what="retire_workers")
        faults.lines = None
        faults.cut()
        await world.workers(1)
        assert await scheduler.scene("calls", what="retire_workers") - before == 2, "moved, and removed"
        assert (await scheduler.workers()).keys() == {left}


async def test_a_drained_worker_whose_deletion_had_to_wait_has_its_own_grace(
    world: World, serve: Serve, scheduler: Partner, faults: Faults, through: Client
) -> None:
    """While the API server is away, no kubelet can tell that the container was started again and has joined."""
    asked: list[tuple[float, Json]] = []

    async def is_away(request: web.Request) -> web.StreamResponse | None:
        asked.append((time.monotonic(), await request.json()))
        return web.Response(status=503) if asked[-1][0] - asked[0][0] < JUST_DRAINED.total_seconds() else None

    async with serve(client=through):
        await two_have_joined(world, scheduler)
        faults.trouble = only(lambda request: request.method == "DELETE" and "/pods/" in request.path, is_away)
        await world.scale(1)
        await world.workers(1)
    (first_asked, at_first), (last_asked, at_last) = asked[0], asked[-1]
    assert last_asked - first_asked >= JUST_DRAINED.total_seconds()
    assert at_first["gracePeriodSeconds"] == DRAINED_GRACE
    assert "gracePeriodSeconds" not in at_last
    assert at_last["preconditions"].keys() == {"uid", "resourceVersion"}
