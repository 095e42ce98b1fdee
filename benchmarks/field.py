"""Played nodes with room for ten thousand Pods, on which operators are measured that have much to do.

Who looks on must not cost what is looked at: Pods are counted by the API server, and not by a watch that reads them.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks import peer, serving, usage
from benchmarks.serving import Environment
from benchmarks.start import installed, plain_environment
from dask_k8s import names
from dask_k8s.kinds.value import Manifest
from dask_k8s.kube import credentials
from dask_k8s.kube.client import Client
from dask_k8s.kube.resources import DASK_CLUSTER, DASK_WORKER_GROUP, NAMESPACE, POD, Resource
from devcluster import Cluster, up
from tests.played.playing import Play, manifest, playing

OURS, RAW, PEER = "dask-k8s", "raw", "dask-kubernetes"
LONGEST = 1800.0
LOOK = 0.05
IN_FLIGHT = 64
"""Requests at a time, for raw as for the operator."""


@dataclass(frozen=True)
class Field:
    """Where it is measured, a client with the operator's own settings, and who speaks for schedulers."""

    cluster: Cluster
    environment: Environment
    client: Client
    play: Play

    @asynccontextmanager
    async def namespace(self) -> AsyncIterator[str]:
        """A new one, which is empty before the next measurement begins."""
        name = f"scale-{secrets.token_hex(3)}"
        await self.client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        try:
            yield name
        finally:
            await self.client.delete(NAMESPACE, None, name)
            await self.pods(name, most=0)

    @contextmanager
    def operator(self, subject: str, namespaces: Sequence[str], settle: float = serving.SETTLE) -> Any:
        """One under measurement, in the cluster's network."""
        ours = [*serving.OURS, *(word for name in namespaces for word in ("--namespace", name))]
        argv = ours if subject == OURS else peer.operator(namespaces[0])
        with serving.process(self.cluster.inside(argv), self.environment, settle) as process:
            yield Used(process)

    async def pods(self, namespace: str, *, least: int = 0, most: float = math.inf, within: float = LONGEST) -> float:
        """The moment in which so many Pods were in a namespace."""
        async with asyncio.timeout(within):
            while not least <= await self.count(namespace) <= most:
                await asyncio.sleep(LOOK)
        return time.monotonic()

    async def count(self, namespace: str) -> int:
        """How many Pods there are."""
        listed = await self.client.list(POD, namespace, limit=1)
        return len(listed["items"]) + int(listed["metadata"].get("remainingItemCount", 0))

    async def make(self, namespace: str, clusters: Iterable[Manifest]) -> None:
        """Create clusters."""
        await each(
            lambda one: self.client.create({**one, "metadata": {**one["metadata"], "namespace": namespace}}), clusters
        )

    async def scale(self, namespace: str, clusters: Iterable[str], workers: int) -> None:
        """Write the count of each default group."""
        groups = map(names.default_group, clusters)
        await self.patch(DASK_WORKER_GROUP, namespace, groups, {"spec": {"worker": {"replicas": workers}}})

    async def patch(self, resource: Resource, namespace: str, called: Iterable[str], patch: Manifest) -> None:
        """The same for each."""
        await each(lambda name: self.client.patch(resource, namespace, name, patch), called)

    async def told(self, what: str, least: int) -> None:
        """Wait until schedulers and workers have told so often of something."""
        async with asyncio.timeout(LONGEST):
            while sum(line["what"] == what for line in self.play.lines()) < least:
                await asyncio.sleep(1)

    async def ready(self, namespace: str, clusters: Iterable[str], workers: int) -> float:
        """The moment in which each default group says that so many are ready."""
        async with asyncio.timeout(LONGEST):
            for name in clusters:
                while (await self._status(namespace, name)).get("readyReplicas") != workers:
                    await asyncio.sleep(LOOK * 4)
        return time.monotonic()

    async def remove(self, namespace: str, clusters: Iterable[str]) -> None:
        """Delete clusters."""
        await each(lambda name: self.client.delete(DASK_CLUSTER, namespace, name), clusters)

    async def _status(self, namespace: str, cluster: str) -> Manifest:
        group = await self.client.get(DASK_WORKER_GROUP, namespace, names.default_group(cluster))
        status: Manifest = group.get("status") or {}
        return status


class Used:
    """What an operator's process has used since it was last asked."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.pid = process.pid
        self._before = usage.processor(self.pid)

    def seconds(self) -> float:
        """Of a core."""
        now = usage.processor(self.pid)
        used, self._before = now - self._before, now
        return used

    def memory(self) -> float:
        """MiB."""
        return usage.memory(self.pid)

    def peak(self) -> float:
        """MiB at most until now."""
        return usage.peak(self.pid)


@asynccontextmanager
async def field() -> AsyncIterator[Field]:
    """The nodes, who speaks for their schedulers, and no operator."""
    cluster = up("scale")
    async with AsyncExitStack() as stack:
        stack.enter_context(installed(cluster, serves=False))
        play = stack.enter_context(playing(cluster))
        own = await credentials.from_kubeconfig(str(cluster.kubeconfig))
        client = await stack.enter_async_context(Client(own, in_flight=IN_FLIGHT))
        yield Field(cluster, {**plain_environment(), **cluster.environment()}, client, play)


def clusters(count: int, workers: int) -> list[Manifest]:
    """DaskClusters on played nodes."""
    return [manifest(f"c{number}", workers) for number in range(count)]


async def each(do: Callable[[Any], Awaitable[object]], things: Iterable[Any]) -> None:
    """Do something for each of many, so many at a time as the client allows: none waits there beyond its time."""
    left = iter(things)

    async def some() -> None:
        for thing in left:
            await do(thing)

    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(some())
