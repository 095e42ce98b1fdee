"""Plays every Dask scheduler whose Pod KWOK plays, and prints a line of JSON for whatever happens, until it is ended.

It stands in the network of a cluster at scale: ``cluster.inside([python, "-m", "tests.played"])``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import Any

from dask_k8s import names
from dask_k8s.kinds.value import Manifest
from dask_k8s.kube import credentials
from dask_k8s.kube.client import Client
from dask_k8s.kube.informer import Informer
from dask_k8s.kube.resources import POD
from tests.played.server import COUNT, serving
from tests.played.stage import Stage

PLAYED = f"{names.CLUSTER_NAME},{names.COMPONENT} in ({names.Component.SCHEDULER},{names.Component.WORKER})"


async def main() -> None:
    """Follow the Pods, and listen."""
    stage = Stage(tell)
    async with Client(await credentials.load()) as client:
        pods = Informer(client, POD, labels=PLAYED, slim=_slim)
        pods.on(stage.on_pod)
        async with serving(stage, "0.0.0.0", names.SCHEDULER_PORT, tell), asyncio.TaskGroup() as group:
            group.create_task(pods.run())
            group.create_task(_count(stage))


async def _count(stage: Stage) -> None:
    """Say now and then how many questions there were."""
    while True:
        tell("asked", "", total=stage.asked)
        await asyncio.sleep(COUNT)


def tell(what: str, cluster: str, **details: Any) -> None:
    """Say what happened."""
    print(json.dumps({"at": time.time(), "what": what, "cluster": cluster, **details}), flush=True)


def _slim(pod: Manifest) -> Manifest:
    kept = ("name", "namespace", "uid", "resourceVersion", "labels", "annotations", "deletionTimestamp")
    metadata = {field: pod["metadata"][field] for field in kept if field in pod["metadata"]}
    status = pod.get("status", {})
    return {"metadata": metadata, "status": {field: status.get(field) for field in ("phase", "podIP")}}


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(name)s %(message)s", level=logging.INFO)
    asyncio.run(main())
