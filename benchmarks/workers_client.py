"""One change of the number of real workers, seen from a client.

Run as ``python -m benchmarks.workers_client NAMESPACE SERVICE WORK MEANS`` in the cluster's network, beside a cluster
``workers``. Prints one line of JSON. Where workers leave: seconds until the scheduler knew those alone that stay, until
the last Pod was asked to go, had ended, and was gone from the API, how many did not end in time and were killed, and
how many values were lost. Where others come: seconds until the last of their Pods existed, and until all had joined.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import distributed

from benchmarks import start_raw
from dask_k8s import names
from dask_k8s.kinds.value import Manifest
from dask_k8s.kube.client import Client
from dask_k8s.kube.credentials import load
from dask_k8s.kube.resources import DASK_WORKER_GROUP, POD

CLUSTER = "workers"
WORKERS = f"{names.COMPONENT}=worker"
LOOK = 0.005
REST = 8.0
"""Seconds without a change after which a cluster is at rest."""
LONGEST = 120.0
KILLED = 128 + signal.SIGKILL
GRACE = 1
"""Seconds for workers that are closing already, in the raw limit."""


@dataclass(frozen=True)
class Work:
    """How many workers a cluster has, how many it is to have, and the values on those that it has."""

    workers: int
    wanted: int
    values: int = 0
    size: int = 0


WORKS = {"idle": Work(6, 2, 300, 100), "data": Work(4, 2, 400, 10_000_000), "more": Work(2, 6)}


async def main(namespace: str, service: str, work: Work, means: str) -> dict[str, float]:
    """From a cluster at rest to a smaller or a larger one."""
    address = f"tcp://{service}.{namespace}.svc:{names.SCHEDULER_PORT}"
    async with (
        Client(await load()) as api,
        distributed.Client(address, asynchronous=True, timeout=LONGEST) as dask,
        asyncio.timeout(4 * LONGEST),
    ):
        await at_rest(api, dask, namespace, work.workers)
        if work.wanted > work.workers:
            return await grown(api, dask, namespace, work, means)
        values = await fill(dask, work)
        return {**await shrunk(api, dask, namespace, work, means), "lost": await lost(dask, values, work)}


async def at_rest(api: Client, dask: Any, namespace: str, workers: int) -> None:
    """Wait until so many have joined, have a Pod, and nothing has changed for a while."""
    since = time.monotonic()
    while time.monotonic() - since < REST:
        pods = (await api.list(POD, namespace, labels=WORKERS))["items"]
        if not len(pods) == len(await dask.scheduler.ncores()) == workers:
            since = time.monotonic()
        await asyncio.sleep(0.5)


async def fill(dask: Any, work: Work) -> list[Any]:
    """The same number of values on each worker, from tasks that say each time that they run."""
    workers = list(await dask.scheduler.ncores())
    share = [work.size] * (work.values // len(workers))
    values = [each for worker in workers for each in dask.map(make, share, workers=[worker], pure=False)]
    await distributed.wait(values)
    await asyncio.sleep(REST / 2)
    return values


def make(size: int) -> bytes:
    """What no compression makes smaller."""
    distributed.get_worker().log_event("made", size)
    return os.urandom(size)


async def shrunk(api: Client, dask: Any, namespace: str, work: Work, means: str) -> dict[str, float]:
    """Do it, and look at scheduler and API meanwhile."""
    listed = await api.list(POD, namespace, labels=WORKERS)
    version = listed["metadata"]["resourceVersion"]
    async with asyncio.timeout(LONGEST), asyncio.TaskGroup() as group:
        scheduler = group.create_task(left_scheduler(dask, work.wanted))
        pods = group.create_task(left_api(api, namespace, version, work.workers - work.wanted))
        await asyncio.sleep(1)
        began = time.monotonic()
        await MEANS[means](api, dask, namespace, work)
    times, killed = pods.result()
    times["scheduler"] = scheduler.result()
    return {**{name: round(at - began, 3) for name, at in times.items()}, "killed": killed}


async def grown(api: Client, dask: Any, namespace: str, work: Work, means: str) -> dict[str, float]:
    """Do it, and look at API and scheduler meanwhile."""
    version = (await api.list(POD, namespace, labels=WORKERS))["metadata"]["resourceVersion"]
    async with asyncio.timeout(LONGEST), asyncio.TaskGroup() as group:
        pods = group.create_task(came_to_api(api, namespace, version, work.wanted - work.workers))
        scheduler = group.create_task(came_to_scheduler(dask, work.wanted))
        await asyncio.sleep(1)
        began = time.monotonic()
        await MEANS[means](api, dask, namespace, work)
    return {"made": round(pods.result() - began, 3), "joined": round(scheduler.result() - began, 3)}


async def came_to_api(api: Client, namespace: str, version: str, newcomers: int) -> float:
    """When the last of the new Pods existed."""
    async with api.watch(POD, namespace, version=version, labels=WORKERS) as events:
        async for kind, _ in events:
            newcomers -= kind == "ADDED"
            if not newcomers:
                return time.monotonic()
    raise RuntimeError("The watch has ended")


async def came_to_scheduler(dask: Any, wanted: int) -> float:
    """When the scheduler knew all workers."""
    while len(await dask.scheduler.ncores()) < wanted:
        await asyncio.sleep(LOOK)
    return time.monotonic()


async def left_scheduler(dask: Any, stay: int) -> float:
    """When the scheduler knew no more than those that stay."""
    while len(await dask.scheduler.ncores()) > stay:
        await asyncio.sleep(LOOK)
    return time.monotonic()


async def left_api(api: Client, namespace: str, version: str, leavers: int) -> tuple[dict[str, float], int]:
    """When the last of the Pods was asked to go, had ended, and was gone; and how many were killed."""
    killed = set[str]()
    first: dict[str, dict[str, float]] = {"asked": {}, "ended": {}, "api": {}}
    async with api.watch(POD, namespace, version=version, labels=WORKERS) as events:
        async for kind, pod in events:
            reached = {
                "asked": "deletionTimestamp" in pod["metadata"],
                "ended": "deletionTimestamp" in pod["metadata"] and None not in exit_codes(pod),
                "api": kind == "DELETED",
            }
            if KILLED in exit_codes(pod):
                killed.add(pod["metadata"]["name"])
            for step in (name for name, holds in reached.items() if holds):
                first[step].setdefault(pod["metadata"]["name"], time.monotonic())
            if len(first["api"]) == leavers:
                return {step: max(times.values()) for step, times in first.items()}, len(killed)
    raise RuntimeError("The watch has ended")


def exit_codes(pod: Manifest) -> list[int | None]:
    """Of its containers, as far as the kubelet has told; None of those that run."""
    statuses = pod["status"].get("containerStatuses") or []
    return [(status["state"].get("terminated") or {}).get("exitCode") for status in statuses]


async def lost(dask: Any, values: list[Any], work: Work) -> int:
    """How many values nobody holds any more, or were made again; the others are looked at where they are."""
    held = await dask.scheduler.who_has(keys=[each.key for each in values])
    made = len(await dask.get_events("made"))
    gone = sum(not holders for holders in held.values()) + made - work.values
    if not gone:
        sizes = await dask.gather(dask.map(len, values, pure=False))
        assert sum(sizes) == work.values * work.size
    return gone


async def by_count(api: Client, dask: Any, namespace: str, work: Work) -> None:
    """What ``kubectl scale`` does: the rest is the operator's."""
    count = {"spec": {"worker": {"replicas": work.wanted}}}
    await api.patch(DASK_WORKER_GROUP, namespace, names.default_group(CLUSTER), count)


async def by_hand(api: Client, dask: Any, namespace: str, work: Work) -> None:
    """The raw limit: one call to the scheduler, and their Pods are deleted; or the same Pods are POSTed at once."""
    if work.wanted > work.workers:
        (image,) = {pod["spec"]["containers"][0]["image"] for pod in (await api.list(POD, namespace))["items"]}
        pods = start_raw.objects(CLUSTER, namespace, image, work.wanted)[2 + work.workers :]
        await asyncio.gather(*map(api.create, pods))
        return
    retired = await dask.retire_workers(n=work.workers - work.wanted)
    await asyncio.gather(*(api.delete(POD, namespace, each["name"], grace=GRACE) for each in retired.values()))


MEANS: Mapping[str, Callable[[Client, Any, str, Work], Awaitable[None]]] = {"count": by_count, "hand": by_hand}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], sys.argv[2], WORKS[sys.argv[3]], sys.argv[4]))))
