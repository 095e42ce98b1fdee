"""Watches the API server past every fault, and holds the operator to what it promises."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from dask_k8s import metadata, names
from dask_k8s.kinds.value import Manifest
from dask_k8s.kube.client import Client
from dask_k8s.kube.informer import Informer
from dask_k8s.kube.resources import DASK_CLUSTER, DASK_WORKER_GROUP, NODE, POD, SERVICE
from dask_k8s.operator import nodes
from dask_k8s.operator.caches import slim_node
from tests.faults.beliefs import Beliefs

OWNER = "owner"
STUCK = timedelta(seconds=60)
"""How long an object may be on its way out, in a cluster whose Pods end in a second."""

SEEN_LATER = 1.0
"""Seconds that this may see later than the operator that something is gone."""

FOUND_OUT = 30.0
"""Seconds that such a Pod may be one too many: the next process starts, waits for the Lease, lists and drains it."""

Json = dict[str, Any]


class Checker:
    """One run's witness.

    Parameters
    ----------
    beliefs
        What the operator was told, and so what a write arriving now may have had in mind.

    Attributes
    ----------
    surplus
        Sentences on groups that had more workers than anybody had asked for.
    after_a_crash
        Those that had them by writes that were on their way when a process was killed.
    created, gone
        Worker Pods.
    more, fewer
        Workers that people asked for, and asked away, one count after the other.
    """

    def __init__(self, client: Client, namespaces: tuple[str, ...], beliefs: Beliefs) -> None:
        self.surplus: list[str] = []
        self.after_a_crash: list[str] = []
        self.created = self.gone = self.more = self.fewer = 0
        self._client = client
        self._namespaces = namespaces
        self._beliefs = beliefs
        self._crashes: list[float] = []
        self._first_seen: dict[str, float] = {}
        self._group_of: dict[str, str] = {}
        self._ended: dict[str, float] = {}
        indexes = {OWNER: _owner}
        self.pods = [Informer(client, POD, ns, indexes=indexes, labels=names.COMPONENT) for ns in namespaces]
        self.groups = [Informer(client, DASK_WORKER_GROUP, ns) for ns in namespaces]
        self.clusters = [Informer(client, DASK_CLUSTER, ns) for ns in namespaces]
        self.nodes = Informer(client, NODE)
        for informer in self.pods:
            informer.on(self._on_pod)
        for informer in self.groups:
            informer.on(self._on_group)

    async def run(self) -> None:
        """Watch until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            for informer in (*self.pods, *self.groups, *self.clusters, self.nodes):
                group.create_task(informer.run())

    async def synced(self) -> None:
        """Until everything has been listed."""
        for informer in (*self.pods, *self.groups, *self.clusters, self.nodes):
            await informer.synced.wait()

    def crashed(self) -> None:
        """The operator is killed: writes that have left it and arrive later are counted apart."""
        self._crashes.append(time.monotonic())

    def all_groups(self) -> list[Manifest]:
        """Those that are not going."""
        return [group for informer in self.groups for group in informer.values() if not _going(group)]

    def went_with_its_group(self, pod: str, at: float) -> bool:
        """Whether a worker's Pod, ``namespace/name``, was deleted since its group was: nobody drains for that."""
        return self._ended.get(self._group_of.get(pod, ""), float("inf")) <= at + SEEN_LATER

    def on_node(self, name: str) -> int:
        """How many Pods are on a node."""
        return sum(pod["spec"].get("nodeName") == name for informer in self.pods for pod in informer.values())

    def workers(self, group: Manifest) -> list[Manifest]:
        """The Pods of a group that count for its replicas."""
        uid = group["metadata"]["uid"]
        return [pod for informer in self.pods for pod in informer.by(OWNER, uid) if self._counts(pod)]

    def _on_group(self, old: Manifest | None, new: Manifest | None) -> None:
        change = _asked(new) - _asked(old)
        self.more += max(0, change)
        self.fewer += max(0, -change)
        if new is None or _going(new):
            self._ended.setdefault((new or old or {})["metadata"]["uid"], time.monotonic())

    def _on_pod(self, old: Manifest | None, new: Manifest | None) -> None:
        pod = new or old or {}
        if pod["metadata"]["labels"].get(names.COMPONENT) != names.Component.WORKER:
            return
        self.created += old is None
        self._first_seen.setdefault(pod["metadata"]["name"], time.monotonic())
        self._group_of[f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"] = metadata.controller_uid(pod) or ""
        self.gone += new is None
        if new is not None and self._counts(new) and not (old is not None and self._counts(old)):
            self._look(metadata.controller_uid(new) or "")

    def _look(self, uid: str) -> None:
        """One more worker counts: that may be one too many."""
        now = time.monotonic()
        pods = [pod for informer in self.pods for pod in informer.by(OWNER, uid) if self._counts(pod)]
        there = [pod for pod in pods if not self._beliefs.may_leave(pod, now)]
        most = self._beliefs.most(uid, now)
        if len(there) > most:
            meta = there[0]["metadata"]
            group = f"{meta['namespace']}/{meta['labels'].get(names.WORKER_GROUP_NAME)}"
            made = sorted(f"{pod['metadata']['creationTimestamp']} {pod['metadata']['name']}" for pod in there)
            sentence = f"{group}: {len(there)} workers where {most} were asked for: {', '.join(made)}"
            late = sum(self._came_after_its_process(pod["metadata"]["name"], now) for pod in there)
            (self.after_a_crash if len(there) - late <= most else self.surplus).append(sentence)

    def _came_after_its_process(self, name: str, now: float) -> bool:
        """Whether a Pod was asked for by a process that was dead when it came, which the next one has to find out."""
        seen, posted = self._first_seen[name], self._beliefs.posted.get(name, now)
        return now - seen < FOUND_OUT and any(posted <= crash <= seen for crash in self._crashes)

    def _counts(self, pod: Manifest) -> bool:
        node = self.nodes.get("", pod["spec"].get("nodeName", ""))
        marked = names.RETIRING_SINCE in (pod["metadata"].get("annotations") or {})
        ended = pod["status"].get("phase") in ("Succeeded", "Failed")
        leaves = node is not None and nodes.leaves(slim_node(node), pod["spec"].get("tolerations") or ())
        return not (_going(pod) or marked or ended or leaves)

    async def complaints(self) -> list[str]:
        """What is not as it should be, now that all is quiet."""
        return [*self._counts_are_wrong(), *self._statuses_lie(), *[each async for each in self._left_behind()]]

    def _counts_are_wrong(self) -> Iterator[str]:
        for group in self.all_groups():
            asked, there = self._due(group), self.workers(group)
            ready = [pod for pod in there if _ready(pod)]
            if not len(there) == len(ready) == asked:
                yield f"{_called(group)} has {len(there)} workers, {len(ready)} ready, where {asked} are asked for"

    def _statuses_lie(self) -> Iterator[str]:
        for group in self.all_groups():
            asked, status = self._due(group), group.get("status") or {}
            if status.get("observedGeneration") != group["metadata"]["generation"]:
                yield f"{_called(group)} was not looked at since its last edit"
            if not status.get("replicas") == status.get("readyReplicas") == asked:
                yield f"{_called(group)} says {status.get('readyReplicas')} of {status.get('replicas')} for {asked}"
            ends = status.get("earlyEnds")
            if ends and any(pod["metadata"]["creationTimestamp"] > ends["last"] for pod in self.workers(group)):
                yield f"{_called(group)} counts early ends still, until a worker that was made later is a minute old"
            if self._has_a_cluster(group):
                yield from _lies(group)
            elif "ClusterNotFound" not in {each["reason"] for each in status.get("conditions") or ()}:
                yield f"{_called(group)} does not say that it waits for a cluster"
        for cluster in [each for informer in self.clusters for each in informer.values()]:
            said, true = cluster.get("status") or {}, self._true_of(cluster)
            if wrong := {field: said.get(field) for field in true if said.get(field) != true[field]}:
                yield f"{_called(cluster)} says {wrong}, and it is {true}"
            yield from _lies(cluster)

    def _true_of(self, cluster: Manifest) -> Json:
        """What a cluster's status has to say; its counts are those of its default group."""
        namespace, name = cluster["metadata"]["namespace"], cluster["metadata"]["name"]
        group = next(filter(None, (each.get(namespace, names.default_group(name)) for each in self.groups)), {})
        scheduler = next(filter(None, (each.get(namespace, names.scheduler_pod(name)) for each in self.pods)), {})
        return {
            "observedGeneration": cluster["metadata"]["generation"],
            "phase": "Running",
            **{field: (group.get("status") or {}).get(field) for field in ("replicas", "readyReplicas")},
            "scheduler": _process(scheduler),
        }

    def _due(self, group: Manifest) -> int:
        """How many workers it is to have now."""
        asked: int = group["spec"]["worker"].get("replicas", 0)
        return asked if self._has_a_cluster(group) else 0

    def _has_a_cluster(self, group: Manifest) -> bool:
        """A cluster that went before any operator had seen a group does not take that along: it waits for another."""
        at = (group["metadata"]["namespace"], group["spec"]["cluster"])
        return metadata.controller_uid(group) is not None or any(each.get(*at) for each in self.clusters)

    async def _left_behind(self) -> Any:
        """Objects whose owner is gone, and such as do not go."""
        now = datetime.now(UTC)
        for namespace in self._namespaces:
            lists = [
                await self._client.list(resource, namespace, labels=labels)
                for resource, labels in (
                    (POD, names.COMPONENT),
                    (SERVICE, names.COMPONENT),
                    (DASK_WORKER_GROUP, None),
                    (DASK_CLUSTER, None),
                )
            ]
            there = [item for listing in lists for item in listing["items"]]
            uids = {item["metadata"]["uid"] for item in there}
            for item in there:
                owner = metadata.controller_uid(item)
                if owner is not None and owner not in uids:
                    yield f"{_called(item)} outlives its owner"
                if owner is None and names.COMPONENT in (item["metadata"].get("labels") or {}):
                    yield f"{_called(item)} has no owner"
                ends = item["metadata"].get("deletionTimestamp")
                if ends is not None and now - datetime.fromisoformat(ends) > STUCK:
                    yield f"{_called(item)} does not go"


GOOD = {"Degraded": "False", "Progressing": "False", "WorkersReady": "True", "SchedulerReady": "True"}
"""What conditions have to say of what has all that was asked for."""


def _lies(item: Manifest) -> Iterator[str]:
    for each in (item.get("status") or {}).get("conditions") or ():
        if each["status"] != GOOD.get(each["type"], each["status"]):
            yield f"{_called(item)} says {each['type']}={each['status']}: {each['reason']} {each['message']}"


def _called(item: Manifest) -> str:
    return f"{item.get('kind', 'object')} {item['metadata']['namespace']}/{item['metadata']['name']}"


def _process(scheduler: Manifest) -> Json:
    """Which scheduler process it is, as a status says it."""
    ran = (scheduler.get("status") or {}).get("containerStatuses") or ()
    return {"uid": scheduler.get("metadata", {}).get("uid"), "restarts": sum(each["restartCount"] for each in ran)}


def _asked(group: Manifest | None) -> int:
    count: int = 0 if group is None or _going(group) else group["spec"]["worker"].get("replicas", 0)
    return count


def _owner(pod: Manifest) -> list[str]:
    uid = metadata.controller_uid(pod)
    return [uid] if uid else []


def _going(item: Manifest) -> bool:
    return "deletionTimestamp" in item["metadata"]


def _ready(pod: Manifest) -> bool:
    conditions = pod["status"].get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
