"""An API server that is away for minutes while people go on: its return is caught up with, and the log stays calm."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from dask_k8s import names
from dask_k8s.kube import credentials
from dask_k8s.kube.client import Client
from dask_k8s.kube.resources import DASK_CLUSTER, DASK_WORKER_GROUP
from tests.api.processes import asked as asked_of
from tests.api.processes import free_port
from tests.faults.checker import Checker
from tests.faults.namespaces import own_namespaces
from tests.faults.operators import Candidate, candidate
from tests.faults.proxy import abort, says
from tests.played.playing import manifest

Json = dict[str, Any]

CLUSTERS, WORKERS, MORE = 5, 4, 7
BEGINS_WITHIN = 120.0
CAUGHT_UP_WITHIN = 30.0
"""Seconds: it asks every 5 to 8 while it is away, and then Pods start and drains take a few."""

MOST_LINES = 20
"""Of the log, however long it is away: one for each cache, for the Lease, and for the leadership that is lost."""


PROBES = {"/livez": 200, "/readyz": 503}
"""What the kubelet is told meanwhile: a restart would not help."""


@dataclass(frozen=True)
class Options:
    """For how many seconds, and where the log goes."""

    seconds: float
    folder: str


async def away(options: Options) -> Json:
    """Figures; it stands in the cluster's network."""
    async with AsyncExitStack() as stack:
        own = await credentials.load()
        client = await stack.enter_async_context(Client(own))
        namespaces = await stack.enter_async_context(own_namespaces(client, "away", 1))
        port = free_port()
        arguments = ["--namespace", namespaces[0], f"--probes-port={port}"]
        place = await stack.enter_async_context(candidate(own, Path(options.folder), "operator", arguments, {}))
        checker = Checker(client, namespaces, place.beliefs)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        watching = group.create_task(checker.run())
        await checker.synced()
        figures = await _played(options, client, namespaces[0], place, checker, port)
        watching.cancel()
        return figures


async def _played(
    options: Options, client: Client, namespace: str, place: Candidate, checker: Checker, port: int
) -> Json:
    async def nobody(request: web.Request) -> web.StreamResponse:
        abort(request)
        return web.Response(status=502)

    await place.start()
    for number in range(CLUSTERS):
        await _make(client, namespace, number)
    _, complaints = await _well(checker, BEGINS_WITHIN)
    lines, met = _lines(place), len(place.faults.requests)
    place.faults.trouble = nobody
    place.faults.cut()
    began = time.monotonic()
    await asyncio.sleep(options.seconds / 2)
    await _people_go_on(client, namespace)
    place.faults.trouble = says(503, b"no healthy upstream", times=sys.maxsize)  # by what stands before it
    await asyncio.sleep(max(0.0, options.seconds / 2))
    said, asked = _lines(place)[len(lines) :], len(place.faults.requests) - met
    for path, wanted in PROBES.items():
        found, text = await asked_of(f"http://127.0.0.1:{port}{path}")
        complaints += [] if found == wanted else [f"{path} says {found}: {text}"]
    place.faults.trouble = None
    was_away = time.monotonic() - began
    took, late = await _well(checker, CAUGHT_UP_WITHIN)
    complaints += [*late, *checker.surplus]
    place.signal(signal.SIGTERM)
    if ended := await place.ended():
        complaints.append(f"the operator ended with {ended}")
    if len(said) > MOST_LINES:
        complaints.append(f"{len(said)} lines in the log while it was away")
    return {
        "complaints": complaints,
        "away, s": round(was_away, 1),
        "caught up after, s": round(took, 1),
        "lines while it was away": said,
        "requests while it was away": asked,
    }


async def _people_go_on(client: Client, namespace: str) -> None:
    """More and fewer workers, a cluster that goes, and one that comes."""
    for number, count in ((0, MORE), (1, 1)):
        patch = {"spec": {"worker": {"replicas": count}}}
        await client.patch(DASK_WORKER_GROUP, namespace, names.default_group(f"c{number}"), patch)
    await client.delete(DASK_CLUSTER, namespace, "c2")
    await _make(client, namespace, CLUSTERS)


async def _make(client: Client, namespace: str, number: int) -> None:
    made = manifest(f"c{number}", WORKERS)
    await client.create({**made, "metadata": {**made["metadata"], "namespace": namespace}})


async def _well(checker: Checker, within: float) -> tuple[float, list[str]]:
    """Seconds until there is nothing to complain of, and what there is where that takes too long."""
    began = time.monotonic()
    complaints = ["nothing was looked at"]
    while complaints and time.monotonic() - began < within:
        await asyncio.sleep(0.5)
        complaints = await checker.complaints()
    return time.monotonic() - began, complaints


def _lines(place: Candidate) -> list[str]:
    return [json.loads(line)["message"] for line in place.log.read_text().splitlines()]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(away(Options(**json.loads(sys.argv[1]))))))
