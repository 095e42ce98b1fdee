"""What KubeCluster writes for worker groups, on a real API server where nobody serves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dask_k8s import InvalidResource, NotFound, make_cluster_spec
from dask_k8s.cluster import scaling
from dask_k8s.cluster.groups import Order
from dask_k8s.cluster.scaling import Scaling
from dask_k8s.errors import Conflict, Missing
from dask_k8s.kube.client import Client
from dask_k8s.kube.resources import DASK_AUTOSCALER, DASK_CLUSTER, DASK_WORKER_GROUP
from tests.faults.proxy import Faults, first, only, says

Json = dict[str, Any]


@pytest.fixture
async def cluster(client: Client, namespace: str, crds: None) -> Json:
    """A cluster ``simple`` whose workers have no time to drain."""
    manifest = make_cluster_spec("simple", image="dask")
    manifest["metadata"] |= {"namespace": namespace, "labels": {"team": "blue"}}
    manifest["spec"]["worker"]["drainTimeout"] = 0
    return await client.create(manifest)


@pytest.fixture
def writes(client: Client, namespace: str, cluster: Json) -> Scaling:
    """What KubeCluster writes through."""
    return Scaling(client, namespace, "simple")


async def group(client: Client, namespace: str, name: str) -> Json:
    return await client.get(DASK_WORKER_GROUP, namespace, name)


async def test_an_added_group_is_the_clusters(client: Client, namespace: str, writes: Scaling, cluster: Json) -> None:
    """The API server accepts it; labels and owner are the cluster's, and a second one of its name is refused."""
    await writes.add(Order(name="big", n_workers=1, env={"A": "1"}))
    made = await group(client, namespace, "simple-big")
    assert made["metadata"]["labels"]["team"] == "blue"
    assert [owner["uid"] for owner in made["metadata"]["ownerReferences"]] == [cluster["metadata"]["uid"]]
    assert made["spec"]["worker"]["spec"]["containers"][0]["env"] == [{"name": "A", "value": "1"}]
    with pytest.raises(InvalidResource, match="there is a group 'big' already"):
        await writes.add(Order(name="big"))
    await client.delete(DASK_CLUSTER, namespace, "simple")
    with pytest.raises(Missing, match="simple"):
        await writes.add(Order(name="more"))


async def test_scaling_another_group_leaves_the_autoscaler(client: Client, namespace: str, writes: Scaling) -> None:
    """It serves the default group alone; that one's count ends it, by either name."""
    await writes.adapt(1, 5)
    await writes.add(Order(name="big"))
    await writes.scale(4, "big")
    assert (await group(client, namespace, "simple-big"))["spec"]["worker"]["replicas"] == 4
    assert len((await client.list(DASK_AUTOSCALER, namespace))["items"]) == 1
    await writes.scale(2, "simple-default")
    assert (await client.list(DASK_AUTOSCALER, namespace))["items"] == []
    # Nobody serves here, so there is no default group: the count waits for it in the cluster.
    assert (await client.get(DASK_CLUSTER, namespace, "simple"))["spec"]["worker"]["replicas"] == 2


async def test_only_the_clusters_own_groups_are_found(client: Client, namespace: str, writes: Scaling) -> None:
    """One that was made with kubectl by its full name; never one of a cluster whose name begins alike."""
    await writes.add(Order(name="big"))
    spec = (await group(client, namespace, "simple-big"))["spec"]
    head = {"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskWorkerGroup"}
    for name, cluster in (("gpus", "simple"), ("simple-more-big", "simple-more")):
        metadata = {"name": name, "namespace": namespace}
        await client.create({**head, "metadata": metadata, "spec": {**spec, "cluster": cluster}})
    await writes.scale(0, "gpus")
    assert (await group(client, namespace, "gpus"))["spec"]["worker"]["replicas"] == 0
    for verb in (writes.scale(0, "more-big"), writes.delete("more-big", quiet=True)):
        with pytest.raises(NotFound, match="It has: big, default, gpus"):
            await verb
    with pytest.raises(InvalidResource, match="belongs to the cluster simple-more"):
        await writes.add(Order(name="more-big"))


async def left(client: Client, namespace: str, replicas: int) -> None:
    """What an operator says of the group as it is now."""
    there = await group(client, namespace, "simple-big")
    status = {"observedGeneration": there["metadata"]["generation"], "replicas": replicas}
    await client.patch(DASK_WORKER_GROUP, namespace, "simple-big", {"status": status}, subresource="status")


async def test_a_group_is_deleted_when_its_workers_have_left(client: Client, namespace: str, writes: Scaling) -> None:
    """It is scaled to 0, and stays for as long as the operator sees workers."""
    await writes.add(Order(name="big", n_workers=2))
    await left(client, namespace, 2)
    deletion = asyncio.create_task(writes.delete("big", quiet=True))
    async with asyncio.timeout(20):
        while (await group(client, namespace, "simple-big"))["spec"]["worker"]["replicas"]:
            await asyncio.sleep(0.05)
    await left(client, namespace, 1)
    done, _ = await asyncio.wait((deletion,), timeout=3 * scaling.LOOK_AT_GROUP)
    assert not done
    await left(client, namespace, 0)
    async with asyncio.timeout(20):
        await deletion
    with pytest.raises(Missing):
        await group(client, namespace, "simple-big")


async def test_a_group_that_nobody_serves_is_deleted_all_the_same(
    client: Client, namespace: str, writes: Scaling, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After its time to drain, and it is said that workers were left."""
    monkeypatch.setattr(scaling, "DRAINS_BEGIN", 1)
    await writes.add(Order(name="big", n_workers=2))
    await writes.delete("big", quiet=True)
    assert "simple-big is deleted though workers are left: nothing moved for 1 s" in caplog.text
    with pytest.raises(Missing):
        await group(client, namespace, "simple-big")


@pytest.mark.parametrize("answers", [True, False], ids=["503", "no answer"])
async def test_an_api_server_that_stumbles_ends_no_deletion(
    client: Client, faults: Faults, through: Client, namespace: str, writes: Scaling, *, answers: bool
) -> None:
    """It is looked at again: a group that was left at 0 workers would be half deleted."""
    await writes.add(Order(name="big", n_workers=2))
    stumbles = first(3, says(503, times=3) if answers else faults.loses_reply)
    faults.trouble = only(lambda request: (request.method, request.path[-11:]) == ("GET", "/simple-big"), stumbles)
    deletion = asyncio.create_task(Scaling(through, namespace, "simple").delete("big", quiet=True))
    async with asyncio.timeout(20):
        while (await group(client, namespace, "simple-big"))["spec"]["worker"]["replicas"]:
            await asyncio.sleep(0.05)
        await left(client, namespace, 0)
        await deletion
    with pytest.raises(Missing):
        await group(client, namespace, "simple-big")


async def test_a_group_that_is_asked_for_again_is_kept(client: Client, namespace: str, writes: Scaling) -> None:
    """Whoever scales it meanwhile is not deleted under."""
    await writes.add(Order(name="big", n_workers=2))
    deletion = asyncio.create_task(writes.delete("big", quiet=True))
    async with asyncio.timeout(20):
        while (await group(client, namespace, "simple-big"))["spec"]["worker"]["replicas"]:
            await asyncio.sleep(0.05)
    await writes.scale(3, "big")
    with pytest.raises(Conflict, match="simple-big is not deleted: somebody has asked for workers again"):
        await deletion
    assert (await group(client, namespace, "simple-big"))["spec"]["worker"]["replicas"] == 3
