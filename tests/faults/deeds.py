"""What users, kubelets and clouds do to clusters, at random, straight at the API server."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from dask_k8s import names
from dask_k8s.errors import ApiError, Conflict, Invalid, Missing
from dask_k8s.kinds.value import Manifest
from dask_k8s.kube.client import Client
from dask_k8s.kube.resources import DASK_CLUSTER, DASK_WORKER_GROUP, NODE, POD, Resource
from tests.faults.checker import Checker
from tests.played.playing import manifest

MOST_CLUSTERS = 8
MOST_WORKERS = 12
AWAY = (10.0, 30.0)
"""Seconds until a node that was lost or was to go is there again."""

SPOT = {"key": "cloud.google.com/impending-node-termination", "effect": "NoSchedule"}


class Deeds:
    """One after the other, with pauses.

    Attributes
    ----------
    done
        How often what was done.
    ended
        Pods that went by that, or have to go.
    """

    def __init__(self, client: Client, namespaces: tuple[str, ...], checker: Checker, seed: int) -> None:
        self.done: Counter[str] = Counter()
        self.ended = 0
        self._client = client
        self._namespaces = namespaces
        self._checker = checker
        self._random = random.Random(seed)
        self._number = 0
        self._weights: dict[Callable[[], Awaitable[None]], int] = {
            self.create_cluster: 3,
            self.delete_cluster: 2,
            self.scale: 14,
            self.scale_cluster: 3,
            self.add_group: 2,
            self.delete_group: 1,
            self.edit: 3,
            self.edit_group: 3,
            self.kill_pod: 6,
            self.lose_node: 1,
            self.node_is_to_go: 1,
        }

    async def run(self, pause: tuple[float, float] = (0.1, 1.5)) -> None:
        """Until it is cancelled; nodes that are away come back."""
        async with asyncio.TaskGroup() as group:
            self._background = group
            for _ in range(MOST_CLUSTERS // 2):
                await self.create_cluster()
            while True:
                (deed,) = self._random.choices(list(self._weights), weights=list(self._weights.values()))
                try:
                    await deed()
                except (Missing, Conflict, Invalid):
                    continue  # somebody was faster
                self.done[deed.__name__] += 1
                await asyncio.sleep(self._random.uniform(*pause))

    async def create_cluster(self) -> None:
        if len(self._clusters()) >= MOST_CLUSTERS:
            return
        self._number += 1
        made = manifest(f"c{self._number}", self._workers())
        for part in ("worker", "scheduler"):  # they tolerate played nodes, and not that these are about to go
            made["spec"][part]["spec"]["tolerations"] = [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}]
        namespace = self._random.choice(self._namespaces)
        await self._client.create({**made, "metadata": {**made["metadata"], "namespace": namespace}})

    async def delete_cluster(self) -> None:
        if len(self._clusters()) > MOST_CLUSTERS // 2:
            await self._delete(DASK_CLUSTER, self._random.choice(self._clusters()))

    async def scale(self) -> None:
        if groups := self._checker.all_groups():
            await self._patch(DASK_WORKER_GROUP, self._random.choice(groups), _replicas(self._workers()))

    async def scale_cluster(self) -> None:
        await self._patch(DASK_CLUSTER, self._random.choice(self._clusters()), _replicas(self._workers()))

    async def add_group(self) -> None:
        cluster = self._random.choice(self._clusters())
        self._number += 1
        worker = {**cluster["spec"]["worker"], "replicas": self._workers()}
        await self._client.create(
            {
                "apiVersion": names.API_VERSION,
                "kind": names.WORKER_GROUP,
                "metadata": {"name": f"g{self._number}", "namespace": cluster["metadata"]["namespace"]},
                "spec": {"cluster": cluster["metadata"]["name"], "worker": worker},
            }
        )

    async def delete_group(self) -> None:
        more = [group for group in self._checker.all_groups() if group["metadata"]["name"].startswith("g")]
        if more:
            await self._delete(DASK_WORKER_GROUP, self._random.choice(more))

    async def edit(self) -> None:
        self._number += 1
        labels = {"metadata": {"labels": {"edited": str(self._number)}}}
        await self._patch(DASK_CLUSTER, self._random.choice(self._clusters()), labels)

    async def edit_group(self) -> None:
        """Another template, for Pods that are made from then on, and another time for drains that begin then."""
        if groups := self._checker.all_groups():
            group = self._random.choice(groups)
            self._number += 1
            spec = group["spec"]["worker"]["spec"]
            first, *others = spec["containers"]
            edited = {**first, "env": [{"name": "EDITED", "value": str(self._number)}]}
            worker = {"spec": {**spec, "containers": [edited, *others]}, "drainTimeout": self._random.randint(1, 60)}
            await self._patch(DASK_WORKER_GROUP, group, {"spec": {"worker": worker}})

    async def kill_pod(self) -> None:
        """As with ``kubectl delete --force``, or with a grace."""
        if pods := [pod for informer in self._checker.pods for pod in informer.values()]:
            pod = self._random.choice(pods)
            meta = pod["metadata"]
            await self._client.delete(POD, meta["namespace"], meta["name"], grace=self._random.choice([0, None]))
            self.ended += 1

    async def lose_node(self) -> None:
        """Its object goes, and with it, in a while, its Pods."""
        node = self._a_node()
        self.ended += self._checker.on_node(node["metadata"]["name"])
        await self._client.delete(NODE, None, node["metadata"]["name"])
        self._background.create_task(self._comes_back(node))

    async def node_is_to_go(self) -> None:
        node = self._a_node()
        before = node["spec"].get("taints") or []
        self.ended += self._checker.on_node(node["metadata"]["name"])
        await self._client.patch(NODE, None, node["metadata"]["name"], {"spec": {"taints": [*before, SPOT]}})
        self._background.create_task(self._stays_after_all(node["metadata"]["name"], before))

    async def _comes_back(self, node: Manifest) -> None:
        try:
            await asyncio.sleep(self._random.uniform(*AWAY))
        finally:
            kept = {key: node["metadata"][key] for key in ("name", "labels", "annotations")}
            await asyncio.shield(self._client.create({**node, "metadata": kept}))

    async def _stays_after_all(self, name: str, taints: list[Any]) -> None:
        try:
            await asyncio.sleep(self._random.uniform(*AWAY))
        finally:
            with contextlib.suppress(ApiError):  # it was lost meanwhile
                await asyncio.shield(self._client.patch(NODE, None, name, {"spec": {"taints": taints}}))

    def _a_node(self) -> Manifest:
        nodes = self._checker.nodes.values()
        played = [node for node in nodes if node["metadata"]["labels"].get("type") == "kwok"]
        calm = [node for node in played if not any(each == SPOT for each in node["spec"].get("taints") or ())]
        if len(calm) < 4:
            raise Missing(404, "", "too few nodes are left")
        return self._random.choice(calm)

    def _clusters(self) -> list[Manifest]:
        there = [cluster for informer in self._checker.clusters for cluster in informer.values()]
        return [cluster for cluster in there if "deletionTimestamp" not in cluster["metadata"]]

    def _workers(self) -> int:
        return self._random.randint(0, MOST_WORKERS)

    async def _patch(self, resource: Resource, item: Manifest, patch: Manifest) -> None:
        await self._client.patch(resource, item["metadata"]["namespace"], item["metadata"]["name"], patch)

    async def _delete(self, resource: Resource, item: Manifest) -> None:
        await self._client.delete(resource, item["metadata"]["namespace"], item["metadata"]["name"])


def _replicas(count: int) -> Manifest:
    return {"spec": {"worker": {"replicas": count}}}
