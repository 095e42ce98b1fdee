"""The raw limit, in a process of its own: the same objects POSTed at once, without any operator, to the first result.

The objects come from the same builders, without owners; the way to the scheduler is the same too. Prints one line of
JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterable
from typing import Any

from dask_k8s import make_cluster_spec, names
from dask_k8s.cluster.connection import Connection, Ports
from dask_k8s.cluster.watched import Watched
from dask_k8s.kinds.cluster import Cluster
from dask_k8s.kinds.value import Manifest
from dask_k8s.kinds.worker_group import WorkerGroup
from dask_k8s.kube.client import Client
from dask_k8s.kube.credentials import load
from dask_k8s.kube.resources import POD, SERVICE
from dask_k8s.manifests.scheduler import scheduler_pod
from dask_k8s.manifests.service import scheduler_service
from dask_k8s.manifests.worker import worker_pod
from dask_k8s.manifests.worker_group import default_group


def objects(name: str, namespace: str, image: str, n_workers: int = 2) -> list[dict[str, Any]]:
    """What the operator would make, ready to be POSTed."""
    return objects_of(make_cluster_spec(name, image, n_workers=n_workers), namespace)


def objects_of(manifest: Manifest, namespace: str) -> list[dict[str, Any]]:
    """The Service, the scheduler and the workers of a DaskCluster."""
    cluster = Cluster.from_manifest(_read(manifest, namespace))
    group = WorkerGroup.from_manifest(_read(default_group(cluster), namespace))
    name, count = group.head.ref.name, group.worker.replicas
    workers = [worker_pod(group, names.worker(name, cluster.head.ref.name, index)) for index in range(count)]
    return [_unowned(each) for each in (scheduler_service(cluster), scheduler_pod(cluster), *workers)]


async def measure(namespace: str, image: str) -> dict[str, float]:
    """POST, connect, compute, take away."""
    import distributed

    began = time.perf_counter()
    name = f"raw-{time.time_ns():x}"
    async with Client(await load()) as client, asyncio.TaskGroup() as group:
        watched = Watched(client, namespace, name)
        watching = group.create_task(watched.run())
        made = await asyncio.gather(*(client.create(each) for each in objects(name, namespace, image)))
        ports = Ports(comm=names.SCHEDULER_PORT, dashboard=names.DASHBOARD_PORT)
        way = Connection(client, namespace=namespace, cluster=name, ports=ports, scheduler=watched.scheduler)
        async with way:
            await way.establish(made[0])
            there = time.perf_counter() - began
            async with distributed.Client(way.address, asynchronous=True) as dask:
                assert await dask.submit(sum, [1, 2]) == 3
                first = time.perf_counter() - began
                await dask.wait_for_workers(2)
                both = time.perf_counter() - began
        await _take_away(client, made)
        watching.cancel()
    return {"cluster": there, "first": first, "both": both}


async def _take_away(client: Client, made: Iterable[Manifest]) -> None:
    for each in made:
        resource = SERVICE if each["spec"].get("clusterIP") else POD
        await client.delete(resource, each["metadata"]["namespace"], each["metadata"]["name"])


def _read(manifest: Manifest, namespace: str) -> dict[str, Any]:
    """As the API server would give it back."""
    metadata = {"namespace": namespace, "uid": "0", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {**manifest, "metadata": {**manifest["metadata"], **metadata}}


def _unowned(manifest: dict[str, Any]) -> dict[str, Any]:
    metadata = {key: each for key, each in manifest["metadata"].items() if key != "ownerReferences"}
    return {**manifest, "metadata": metadata}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(*sys.argv[1:]))))
