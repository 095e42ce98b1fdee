"""What this process sees of its cluster: the resource, its Pods and what Kubernetes says about them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from dask_k8s import diagnosis, names
from dask_k8s.cluster import groups
from dask_k8s.diagnosis import Diagnosis
from dask_k8s.errors import ApiError, Unreachable
from dask_k8s.kinds.autoscaler import seniority
from dask_k8s.kinds.value import Manifest
from dask_k8s.kube.client import Client
from dask_k8s.kube.informer import Informer
from dask_k8s.kube.resources import DASK_AUTOSCALER, DASK_CLUSTER, DASK_WORKER_GROUP, EVENT, POD
from dask_k8s.manifests import container

FINAL_REASONS = frozenset({"Invalid", "InvalidSpec", "BadRequest", "NameTaken"})
"""Reasons of the operator's condition ``Degraded`` that waiting cannot mend."""


def dask_container(pod: Manifest) -> str:
    """The name of the container of a Pod that is Dask's; others are sidecars."""
    containers = pod["spec"]["containers"]
    program = container.Program(pod["metadata"]["labels"][names.COMPONENT])
    name: str = containers[container.main_container(containers, program)]["name"]
    return name


class Watched:
    """One cluster, watched while :meth:`run` runs."""

    def __init__(self, client: Client, namespace: str, name: str) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._pods = Informer(client, POD, namespace, labels=f"{names.CLUSTER_NAME}={name}")
        self._clusters = Informer(client, DASK_CLUSTER, namespace, fields=f"metadata.name={name}")
        self._autoscalers = Informer(client, DASK_AUTOSCALER, namespace)
        self._groups = Informer(client, DASK_WORKER_GROUP, namespace)
        self._changed = asyncio.Event()
        for informer in (self._pods, self._clusters, self._autoscalers, self._groups):
            informer.on(lambda _old, _new: self._changed.set())

    async def run(self) -> None:
        """Watch until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pods.run())
            group.create_task(self._clusters.run())
            group.create_task(self._autoscalers.run())
            group.create_task(self._groups.run())

    async def change(self, within: float) -> None:
        """Until something changed, or so many seconds are over."""
        try:
            async with asyncio.timeout(within):
                await self._changed.wait()
        except TimeoutError:
            return
        self._changed.clear()

    def cluster(self) -> Manifest | None:
        """The DaskCluster."""
        return self._clusters.get(self._namespace, self._name)

    def has(self, uid: str) -> bool:
        """Whether the DaskCluster of this uid is there, and no later one of its name."""
        cluster = self.cluster()
        return cluster is not None and bool(cluster["metadata"]["uid"] == uid)

    def autoscaler(self) -> Manifest | None:
        """The DaskAutoscaler that serves the cluster: the oldest one that is not going."""
        ours = (each for each in self._autoscalers.values() if groups.belongs(each, self._name))
        return min(ours, key=seniority, default=None)

    def groups(self) -> list[Manifest] | None:
        """The cluster's worker groups that are not going; None where they cannot be seen."""
        if not self._groups.synced.is_set():
            return None
        return [each for each in self._groups.values() if groups.belongs(each, self._name)]

    def scheduler(self) -> Manifest | None:
        """The scheduler's Pod, unless it is going."""
        pod = self._pods.get(self._namespace, names.scheduler_pod(self._name))
        return None if pod is None or "deletionTimestamp" in pod["metadata"] else pod

    def workers(self) -> Iterator[Manifest]:
        """The workers' Pods that are not going."""
        for pod in self._pods.values():
            worker = pod["metadata"]["labels"].get(names.COMPONENT) == names.Component.WORKER
            if worker and "deletionTimestamp" not in pod["metadata"]:
                yield pod

    def trouble(self) -> str | None:
        """What keeps the caches from being in step, as a sentence."""
        return self._pods.trouble or self._clusters.trouble

    def degraded(self) -> tuple[str, str] | None:
        """Reason and message of the operator's condition ``Degraded``, where it holds."""
        conditions = ((self.cluster() or {}).get("status") or {}).get("conditions") or ()
        for condition in conditions:
            if condition["type"] == "Degraded" and condition["status"] == "True":
                return condition["reason"], condition["message"]
        return None

    async def diagnosis(self, pod: Manifest) -> Diagnosis | None:
        """What is wrong with a Pod, with the help of its Events where its status says nothing."""
        found = diagnosis.of_pod(pod)
        if found is not None or (pod.get("status") or {}).get("phase") != "Pending":
            return found
        return diagnosis.of_pod(pod, await self._warnings(pod))

    async def logs(self, *, scheduler: bool, workers: bool) -> dict[str, str]:
        """What the Pods' Dask containers have written, by Pod; why not, where there is nothing yet."""
        first = self.scheduler() if scheduler else None
        pods = [*([first] if first else []), *(self.workers() if workers else [])]
        return {pod["metadata"]["name"]: await self._log_of(pod) for pod in pods}

    async def _log_of(self, pod: Manifest) -> str:
        try:
            return await self._client.logs(self._namespace, pod["metadata"]["name"], container=dask_container(pod))
        except (ApiError, Unreachable) as error:
            return f"({error})"

    async def last_words(self, pod: Manifest, name: str, lines: int = 20) -> str:
        """The last log lines of a container that crashed; empty where there are none to be had."""
        for previous in (True, False):
            try:
                text = await self._client.logs(
                    self._namespace, pod["metadata"]["name"], container=name, tail=lines, previous=previous
                )
            except (ApiError, Unreachable):
                continue
            if text.strip():
                return text.strip()
        return ""

    async def _warnings(self, pod: Manifest) -> list[str]:
        """The messages of a Pod's warning Events, the newest last; none where they may not be read."""
        try:
            events = await self._client.list(
                EVENT, self._namespace, fields=f"involvedObject.uid={pod['metadata']['uid']},type=Warning"
            )
        except (ApiError, Unreachable):
            return []
        return diagnosis.messages(events["items"])
