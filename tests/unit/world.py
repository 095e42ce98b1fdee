"""A world of values: deeds are applied to it, and what Kubernetes and Dask do by themselves follows.

It models our deeds, not the API: nothing fails, and nothing is refused. What may happen between two passes is decided
by the tests.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, assert_never

from dask_k8s import names
from dask_k8s.kinds.cluster import Cluster
from dask_k8s.kinds.fields import moment
from dask_k8s.kinds.value import Manifest, Ref
from dask_k8s.kinds.worker_group import WorkerGroup
from dask_k8s.operator.actions import Action, Ask, Clear, Create, Delete, Patch, Plan, Retire
from dask_k8s.operator.observed import (
    DefaultGroup,
    Drain,
    Drained,
    Home,
    Known,
    ObservedCluster,
    ObservedGroup,
    Phase,
    Presence,
    SchedulerPod,
    Silent,
    Unasked,
    Worker,
)
from tests.unit.given import HOME, NOW, later

JOINED = (Phase.RUNNING, Phase.READY)


@dataclass
class GroupWorld:
    """A worker group, its Pods and its scheduler.

    Parameters
    ----------
    manifest
        The group as the API has it.
    workers
        Its Pods by name.
    """

    manifest: dict[str, Any]
    workers: dict[str, Worker]
    orphans: dict[str, Ref] = field(default_factory=dict)
    home: Home | None = HOME
    silent: bool = False
    asked: bool = False
    now: datetime = NOW
    passes: int = 0

    def group(self) -> WorkerGroup:
        """The group as it is read."""
        return WorkerGroup.from_manifest(self.manifest)

    def observe(self) -> ObservedGroup:
        """What a plan gets to see."""
        return ObservedGroup(
            home=self.home,
            workers=tuple(self.workers.values()),
            orphans=tuple(self.orphans.values()),
            order=self._order(),
            stranded=(),
            refusals=(),
            draw=str(self.passes),
        )

    def stays(self) -> int:
        """How many workers count."""
        return sum(worker.stays for worker in self.workers.values())

    def apply(self, made: Plan, actions: Iterable[Action]) -> None:
        """Write a plan's status and carry out some of its actions."""
        self.manifest["status"] = made.status
        self.asked = any(question.ask is Ask.ORDER for question in made.ask)
        for action in actions:
            self._do(action)

    def goes_on(self, until: datetime | None) -> bool:
        """What happens by itself until the next pass; False where nothing is under way, and only time went by."""
        before = dict(self.workers)
        gone = {Phase.LEAVING, *([Phase.IN_DOUBT] if self.passes % 2 else [])}  # a list tells: it never arrived
        self.workers = {w.ref.name: self._moved(w) for w in before.values() if w.phase not in gone}
        moved = self.workers != before
        self.passes += 1
        self.now += timedelta(seconds=1)
        if not moved and until is not None:
            self.now = max(self.now, until)
        return moved

    def _order(self) -> Unasked | Silent | Known[tuple[str, ...]]:
        if not self.asked:
            return Unasked()
        if self.silent:
            return Silent(since=NOW, why="it is silent")
        return Known(at=self.now, answer=tuple(w.ref.name for w in self.workers.values() if w.phase in JOINED))

    def _do(self, action: Action) -> None:
        match action:
            case Create(manifest=manifest):
                name = manifest["metadata"]["name"]
                assert name not in self.workers or self.workers[name].phase is Phase.IN_DOUBT, "two Pods of one name"
                ref = Ref(kind="Pod", namespace="default", name=name)
                self.workers[name] = Worker(ref=ref, phase=Phase.EXPECTED, template="v1", created=self.now)
            case Patch(target=target, patch=patch):
                self._patch(target, patch["metadata"])
            case Delete(target=target):
                assert target.uid is not None, "a deletion without a precondition"
                self._change(target.name, phase=Phase.LEAVING)
            case Retire(workers=workers, final=final):
                for ref in workers:
                    last, since = self.workers[ref.name].drained, self.now if final else None
                    if last is None or (last.state is Drain.REFUSED and (final or last.final is None)):
                        self._change(ref.name, drained=Drained(state=Drain.UNDER_WAY, final=since))
                    else:
                        assert (last.final is None) == final, "it knows"
                        self._change(ref.name, drained=replace(last, final=since))
            case Clear():
                raise AssertionError("the group is there")
            case _:
                assert_never(action)

    def _patch(self, target: Ref, metadata: dict[str, Any]) -> None:
        if target.kind == names.WORKER_GROUP:
            self.manifest["metadata"] = {**self.manifest["metadata"], **metadata}
        elif "ownerReferences" in metadata:
            adopted = self.orphans.pop(target.name)
            self.workers[target.name] = Worker(ref=adopted, phase=Phase.READY, template="v1", created=later(-600))
        else:
            since = metadata["annotations"][names.RETIRING_SINCE]
            self._change(target.name, retiring_since=None if since is None else moment(since))

    def _change(self, name: str, **fields: Any) -> None:
        self.workers[name] = replace(self.workers[name], **fields)

    def _moved(self, worker: Worker) -> Worker:
        """One step of a Pod's life, and of its drain."""
        empty = Drained(state=Drain.EMPTY, ended=self.now)
        drains = {Drain.UNDER_WAY: empty, Drain.EMPTY: worker.drained}  # the rest ends
        phases = {
            Phase.EXPECTED: Phase.PENDING,
            Phase.IN_DOUBT: Phase.PENDING,
            Phase.PENDING: Phase.RUNNING,
            Phase.RUNNING: Phase.READY,
        }
        return replace(
            worker,
            ref=replace(worker.ref, uid=worker.ref.uid or f"uid-of-{worker.ref.name}"),
            phase=phases.get(worker.phase, worker.phase),
            drained=None if worker.drain is None else drains.get(worker.drain),
        )


@dataclass
class ClusterWorld:
    """A cluster and its three parts."""

    manifest: dict[str, Any]
    parts: dict[str, Presence]
    phase: Phase = Phase.PENDING
    uid: int = 0
    restarts: int = 0
    replicas: int = 0
    flowed: int | None = None
    now: datetime = NOW

    def cluster(self) -> Cluster:
        """The cluster as it is read."""
        return Cluster.from_manifest(self.manifest)

    def observe(self) -> ObservedCluster:
        """What a plan gets to see."""
        there = (Presence.THERE, Presence.LEAVING)
        return ObservedCluster(
            scheduler=self._scheduler() if self.parts["Pod"] in there else None,
            scheduler_presence=self.parts["Pod"],
            service=self.parts["Service"],
            group=self._group() if self.parts[names.WORKER_GROUP] in there else None,
            group_presence=self.parts[names.WORKER_GROUP],
            budget=None,
            budget_presence=None,
            autoscaled=False,
            idle=Unasked(),
            refusals=(),
        )

    def apply(self, made: Plan, actions: Iterable[Action]) -> None:
        """Write a plan's status and carry out some of its actions."""
        self.manifest["status"] = made.status
        for action in actions:
            match action:
                case Create(manifest=manifest):
                    self._create(manifest)
                case Patch(patch=patch):
                    self.replicas = patch["spec"]["worker"]["replicas"]
                    self.flowed = int(patch["metadata"]["annotations"][names.REPLICAS_FROM_CLUSTER])
                case Delete(target=target):
                    self.parts[target.kind] = Presence.LEAVING
                case Retire() | Clear():
                    raise AssertionError("a cluster's plan retires nobody, and clears nothing away")
                case _:
                    assert_never(action)

    def goes_on(self) -> bool:
        """What happens by itself until the next pass; False where nothing is under way."""
        before = (dict(self.parts), self.phase)
        steps = {Presence.EXPECTED: Presence.THERE, Presence.LEAVING: Presence.ABSENT}
        if self.parts["Pod"] is Presence.THERE:
            self.phase = {Phase.PENDING: Phase.RUNNING, Phase.RUNNING: Phase.READY}.get(self.phase, self.phase)
        self.parts = {kind: steps.get(presence, presence) for kind, presence in self.parts.items()}
        self.now += timedelta(seconds=1)
        return (self.parts, self.phase) != before

    def _create(self, manifest: Manifest) -> None:
        kind = manifest["kind"]
        assert self.parts[kind] is Presence.ABSENT, f"a second {kind}"
        self.parts[kind] = Presence.EXPECTED
        if kind == "Pod":
            self.phase, self.uid, self.restarts = Phase.PENDING, self.uid + 1, 0
        if kind == names.WORKER_GROUP:
            self.replicas = manifest["spec"]["worker"]["replicas"]
            self.flowed = int(manifest["metadata"]["annotations"][names.REPLICAS_FROM_CLUSTER])

    def _scheduler(self) -> SchedulerPod:
        leaving = self.parts["Pod"] is Presence.LEAVING
        return SchedulerPod(
            ref=Ref(kind="Pod", namespace="default", name="simple-scheduler", uid=f"uid-{self.uid}"),
            phase=Phase.LEAVING if leaving else self.phase,
            scheduled=True,
            restarts=self.restarts,
            address="10.0.0.1",
            trouble=None,
        )

    def _group(self) -> DefaultGroup:
        ref = Ref(kind=names.WORKER_GROUP, namespace="default", name="simple-default", uid="u", version="7")
        return DefaultGroup(ref=ref, replicas=self.replicas, flowed=self.flowed, status={"replicas": self.replicas})
