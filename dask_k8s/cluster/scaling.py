"""What is written for a cluster's workers: groups that come and go, and how many workers each has.

The default group's number is set by hand or left to a DaskAutoscaler, and each of the two ends the other.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Coroutine, Generator
from contextlib import suppress
from typing import Any, Self

from dask_k8s import metadata, names
from dask_k8s.cluster import groups
from dask_k8s.cluster.groups import Order
from dask_k8s.cluster.options import checked_n_workers
from dask_k8s.cluster.progress import Progress
from dask_k8s.errors import AlreadyExists, Conflict, Forbidden, InvalidResource, Missing, Unavailable, Unreachable
from dask_k8s.kinds.autoscaler import seniority
from dask_k8s.kinds.cluster import Cluster
from dask_k8s.kinds.value import Manifest
from dask_k8s.kinds.worker_group import WorkerGroup
from dask_k8s.kube.client import Client
from dask_k8s.kube.resources import DASK_AUTOSCALER, DASK_CLUSTER, DASK_WORKER_GROUP

logger = logging.getLogger(__name__)

LOOK_AT_GROUP = 0.3
"""Seconds between two looks at a group whose workers leave."""

DRAINS_BEGIN = 10
"""Seconds beside a group's ``drainTimeout``, which begins when the operator has marked the workers."""

SETTLE = 0.2
"""Seconds until an operator has seen that an autoscaler is gone: it watches autoscalers and groups side by side."""


class Adaptivity:
    """What holds while the number of workers follows the scheduler: ``minimum`` and ``maximum``, None for no limit.

    JupyterLab's extension for Dask reads these two, right after ``adapt`` and without waiting for it.
    """

    def __init__(self, minimum: int, maximum: int | None, written: asyncio.Future[None] | None = None) -> None:
        self.minimum = minimum
        self.maximum = maximum
        self._written = written

    def __await__(self) -> Generator[Any, None, Self]:
        """Until the DaskAutoscaler is there; what went wrong is raised."""
        if self._written is not None:
            yield from self._written
        return self

    def __str__(self) -> str:
        return f"adaptive, {self.minimum} to {'any number' if self.maximum is None else self.maximum}"

    def __repr__(self) -> str:
        return f"Adaptivity(minimum={self.minimum}, maximum={self.maximum})"


def checked_range(minimum: object, maximum: object) -> tuple[int, int | None]:
    """The limits of ``adapt``, or an error that names the argument."""
    lowest = checked_n_workers(0 if minimum is None else minimum, "minimum")
    highest = None if maximum is None or maximum == math.inf else checked_n_workers(maximum, "maximum")
    if highest is not None and highest < lowest:
        raise InvalidResource("maximum", f"must be at least minimum, which is {lowest}, not {highest}")
    return lowest, highest


class Scaling:
    """The writes for one cluster, one after the other in the order in which they were asked for.

    In an asynchronous cluster a write begins whether somebody waits for it or not: neither distributed's buttons nor
    JupyterLab's extension do.
    """

    def __init__(self, client: Client, namespace: str, cluster: str) -> None:
        self._client = client
        self._namespace = namespace
        self._cluster = cluster
        self._turn = asyncio.Lock()
        self._begun: set[asyncio.Future[None]] = set()

    def begin(self, write: Coroutine[Any, Any, None]) -> asyncio.Future[None]:
        """Begin a write; it can be awaited, and what goes wrong is said in the log as well."""
        begun = asyncio.ensure_future(write)
        self._begun.add(begun)
        begun.add_done_callback(self._ended)
        return begun

    async def finish(self) -> None:
        """Until everything that was begun has ended."""
        await asyncio.gather(*self._begun, return_exceptions=True)

    def _ended(self, write: asyncio.Future[None]) -> None:
        self._begun.discard(write)
        if not write.cancelled() and (error := write.exception()) is not None:
            logger.warning("The workers of %s were not changed: %s", self._cluster, error)

    async def scale(self, n: int, group: str) -> None:
        """Set a group's count; no autoscaler writes that of the default one any more."""
        async with self._turn:
            if groups.is_default(self._cluster, group):
                await self._end_adapting()
                await self._set_default_count(n)
            else:
                await self._set_count(n, group)

    async def _set_count(self, n: int, group: str) -> Manifest:
        """The group as it is then; the uid makes sure that it is the one that was found."""
        there = (await self._client.list(DASK_WORKER_GROUP, self._namespace))["items"]
        meta = groups.called(group, there, self._cluster)["metadata"]
        patch = {"metadata": {"uid": meta["uid"]}, **_count(n)}
        return await self._client.patch(DASK_WORKER_GROUP, self._namespace, meta["name"], patch)

    async def _set_default_count(self, n: int) -> None:
        patch = _count(n)
        try:
            await self._client.patch(DASK_WORKER_GROUP, self._namespace, names.default_group(self._cluster), patch)
        except Missing:
            # The operator has not made the group yet: the cluster's own count will flow into it.
            await self._client.patch(DASK_CLUSTER, self._namespace, self._cluster, patch)

    async def add(self, order: Order) -> None:
        """Make a group; what the order does not say is as the cluster's own workers are now."""
        async with self._turn:
            cluster = Cluster.from_manifest(await self._client.get(DASK_CLUSTER, self._namespace, self._cluster))
            group = groups.ordered(order, cluster)
            try:
                await self._client.create(group)
            except AlreadyExists as error:
                there = await self._client.get(DASK_WORKER_GROUP, self._namespace, group["metadata"]["name"])
                raise groups.taken(order.name, there, self._cluster) from error

    async def delete(self, name: str, *, quiet: bool) -> None:
        """Delete a group whose workers have left; whoever scales meanwhile need not wait for that."""
        async with self._turn:
            group = await self._set_count(0, name)
        meta = group["metadata"]
        limit = WorkerGroup.from_manifest(group).worker.drain_timeout + DRAINS_BEGIN
        with Progress(f"Worker group {meta['name']}", quiet=quiet) as progress:
            progress.begin("Workers hand over their data")
            try:
                async with asyncio.timeout(limit) as within:
                    await self._workers_left(group, progress, within, limit)
            except TimeoutError:
                logger.warning(
                    "The worker group %s is deleted though workers are left: nothing moved for %d s.",
                    meta["name"],
                    limit,
                )
        with suppress(Missing, Conflict):  # it is gone; a conflict says that another one has its name
            await self._client.delete(DASK_WORKER_GROUP, self._namespace, meta["name"], uid=meta["uid"])

    async def _workers_left(self, group: Manifest, progress: Progress, within: asyncio.Timeout, seconds: float) -> None:
        """Until the operator says that no worker is there, of the group as it is now; what moves, renews the time."""
        meta, before = group["metadata"], ""
        while True:
            try:
                there = await self._client.get(DASK_WORKER_GROUP, self._namespace, meta["name"])
            except Missing:
                return
            except (Unavailable, Unreachable) as error:
                progress.tell(str(error))
                await asyncio.sleep(LOOK_AT_GROUP)
                continue
            status = there.get("status") or {}
            if there["metadata"]["uid"] != meta["uid"]:
                return
            if there["spec"]["worker"].get("replicas"):
                raise Conflict(409, "Scaled", f"{meta['name']} is not deleted: somebody has asked for workers again.")
            if status.get("observedGeneration", 0) >= meta["generation"]:
                if not status.get("replicas"):
                    return
                draining = [each["message"] for each in status.get("conditions", ()) if each["type"] == "Progressing"]
                told = " ".join([f"{status['replicas']} of them are left.", *draining]).strip()
                if told != before:
                    before = told
                    within.reschedule(asyncio.get_running_loop().time() + seconds)
                progress.tell(told)
            await asyncio.sleep(LOOK_AT_GROUP)

    async def adapt(self, minimum: int, maximum: int | None) -> None:
        """Make an autoscaler, or change the one that there is."""
        async with self._turn:
            await self._write_autoscaler({"minimum": minimum, "maximum": maximum})

    async def _write_autoscaler(self, spec: Manifest) -> None:
        there = await self._autoscalers()
        try:
            if not there:
                await self._client.create(self._manifest(spec))
                return
        except AlreadyExists:
            there = await self._autoscalers()  # made by somebody else in the meantime, or for another cluster
            if not there:
                raise
        await self._client.patch(DASK_AUTOSCALER, self._namespace, there[0]["metadata"]["name"], {"spec": spec})

    async def _end_adapting(self) -> None:
        try:
            there = await self._autoscalers()
        except Missing:
            return  # definitions from before there were autoscalers
        except Forbidden as error:
            logger.warning("Whether an autoscaler writes the number of workers, too, cannot be seen: %s", error)
            return
        for each in there:
            try:
                meta = each["metadata"]
                await self._client.delete(DASK_AUTOSCALER, self._namespace, meta["name"], uid=meta["uid"])
            except (Missing, Conflict):
                continue
        if there:
            await asyncio.sleep(SETTLE)

    async def _autoscalers(self) -> list[Manifest]:
        """Those of the cluster, the one that serves it first."""
        found = (await self._client.list(DASK_AUTOSCALER, self._namespace))["items"]
        return sorted((each for each in found if each["spec"]["cluster"] == self._cluster), key=seniority)

    def _manifest(self, spec: Manifest) -> Manifest:
        return {
            "apiVersion": names.API_VERSION,
            "kind": names.AUTOSCALER,
            "metadata": {
                "name": self._cluster,
                "namespace": self._namespace,
                "labels": metadata.autoscaler_labels(self._cluster),
            },
            "spec": {"cluster": self._cluster, **{key: each for key, each in spec.items() if each is not None}},
        }


def _count(n: int) -> dict[str, Any]:
    return {"spec": {"worker": {"replicas": n}}}
