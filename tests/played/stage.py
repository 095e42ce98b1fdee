"""Who is on stage: the schedulers and workers whose Pods run, followed from the API server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dask_k8s import names
from dask_k8s.kinds.value import Manifest
from tests.played import scene
from tests.played.scene import Behaviour, SchedulerScene, WorkerScene
from tests.played.scheduler import PlayedScheduler
from tests.played.workers import PlayedWorker

WORKER_PORT = 40000
RESTART = 3.0
"""Seconds after which a worker's process is there again that its scheduler forgot: the kubelet starts it anew."""

Tell = Callable[..., None]


@dataclass(slots=True)
class Role:
    """A scheduler's Pod, what plays it, and the conversations with it."""

    pod: Manifest
    played: PlayedScheduler
    conversations: set[asyncio.Task[None]] = field(default_factory=set)

    def hang_up(self) -> None:
        """End every conversation, as a process does that ends."""
        for conversation in self.conversations:
            conversation.cancel()


@dataclass(slots=True)
class Cast:
    """One cluster."""

    name: str
    role: Role | None = None
    workers: dict[str, Manifest] = field(default_factory=dict)


class Stage:
    """All clusters.

    KWOK may give a Pod another address when it is just starting up: what runs there begins anew, a scheduler as well as
    a worker, and the old address may be another Pod's by then.

    Attributes
    ----------
    asked
        How many questions were answered.

    Parameters
    ----------
    tell
        Called with what happened, where, and details by name.
    """

    def __init__(self, tell: Tell) -> None:
        self.asked = 0
        self._tell = tell
        self._casts: dict[tuple[str, str], Cast] = {}
        self._roles: dict[str, Role] = {}

    def role_at(self, address: str) -> Role | None:
        """Who is spoken to at this address."""
        return self._roles.get(address)

    def on_pod(self, old: Manifest | None, new: Manifest | None) -> None:
        """A Pod has come, changed, or gone."""
        pod: Any = new or old
        labels, uid = pod["metadata"]["labels"], pod["metadata"]["uid"]
        key = (pod["metadata"]["namespace"], labels[names.CLUSTER_NAME])
        cast = self._casts.setdefault(key, Cast(name="/".join(key)))
        runs = new is not None and _runs(new)
        if labels[names.COMPONENT] == names.Component.SCHEDULER:
            self._on_scheduler(cast, pod, runs=runs)
        elif runs:
            self._on_worker(cast, pod)
        elif cast.workers.pop(uid, None):
            self._gone(cast, pod)
        if cast.role is None and not cast.workers:
            self._casts.pop(key, None)

    def _on_scheduler(self, cast: Cast, pod: Manifest, *, runs: bool) -> None:
        there, uid = cast.role, pod["metadata"]["uid"]
        if there is not None and there.pod["metadata"]["uid"] == uid:
            here = there.pod["status"]["podIP"] == pod["status"].get("podIP")
            if runs and here and scene.of_scheduler(pod).life == there.played.scene.life:
                self._turn(cast, there, scene.of_scheduler(pod))
                return
            self._exit(cast, there)
        if runs:
            self._enter(cast, pod)

    def _enter(self, cast: Cast, pod: Manifest) -> None:
        ip = pod["status"]["podIP"]
        played = PlayedScheduler(
            f"tcp://{ip}:{names.SCHEDULER_PORT}",
            scene.of_scheduler(pod),
            forgets=lambda worker: self._forgotten(cast, worker),
        )
        cast.role = self._roles[ip] = Role(pod=pod, played=played)
        self._tell("scheduler", cast.name, ip=ip)
        for worker in cast.workers.values():
            self._expect(cast, worker)

    def _exit(self, cast: Cast, role: Role) -> None:
        role.hang_up()
        cast.role = None
        if self._roles.get(role.pod["status"]["podIP"]) is role:
            del self._roles[role.pod["status"]["podIP"]]
        self._tell("scheduler gone", cast.name)

    def _turn(self, cast: Cast, role: Role, told: SchedulerScene) -> None:
        """The scene has changed, or not."""
        if told == role.played.scene:
            return
        role.played.scene = told
        if told.behaviour is Behaviour.ABSENT:
            role.hang_up()
        self._tell("scene", cast.name, behaviour=told.behaviour)

    def _on_worker(self, cast: Cast, pod: Manifest) -> None:
        before = cast.workers.get(pod["metadata"]["uid"])
        cast.workers[pod["metadata"]["uid"]] = pod
        told = scene.of_worker(pod)
        if before is not None and _address(before) != _address(pod):
            self._moved(cast, before)
            before = None
        if before is None:
            self._expect(cast, pod)
        elif told != scene.of_worker(before) and (joined := _joined(cast, pod)) is not None:
            self._perform(cast, joined, told)

    def _expect(self, cast: Cast, pod: Manifest, after: float = 0.0) -> None:
        """Let a worker join when its scene says."""
        told = scene.of_worker(pod)
        if told.joins is not None:
            asyncio.get_running_loop().call_later(after + told.joins, self._join, cast, pod["metadata"]["uid"])

    def _join(self, cast: Cast, uid: str) -> None:
        pod = cast.workers.get(uid)
        if pod is None or cast.role is None or _joined(cast, pod) is not None:
            return
        worker = PlayedWorker(name=pod["metadata"]["name"], address=_address(pod))
        cast.role.played.join(worker)
        self._tell("joined", cast.name, worker=worker.name)
        if (told := scene.of_worker(pod)) != WorkerScene():
            self._perform(cast, worker, told)

    def _perform(self, cast: Cast, worker: PlayedWorker, told: WorkerScene) -> None:
        assert cast.role is not None
        worker.perform(told)
        if told.tasks:
            cast.role.played.stir()
        self._tell("performs", cast.name, worker=worker.name)

    def _moved(self, cast: Cast, before: Manifest) -> None:
        """Its worker joins anew from there."""
        self._tell("moved", cast.name, worker=before["metadata"]["name"])
        if cast.role is not None:
            cast.role.played.workers.pop(_address(before), None)

    def _forgotten(self, cast: Cast, worker: PlayedWorker) -> None:
        """A retirement has removed it: unless its Pod goes, its process is started anew and joins again, empty."""
        self._tell("retired", cast.name, worker=worker.name)
        for pod in cast.workers.values():
            if pod["metadata"]["name"] == worker.name:
                self._expect(cast, pod, after=RESTART)

    def _gone(self, cast: Cast, pod: Manifest) -> None:
        """A worker's Pod goes; what was on it that nobody took over is lost."""
        joined = _joined(cast, pod)
        if joined is not None and cast.role is not None:
            lost = {"keys": cast.role.played.only_on(joined), "tasks": len(joined.tasks)}
            cast.role.played.remove(joined)
            self._tell("undrained", cast.name, worker=joined.name, **lost)
        else:
            self._tell("gone", cast.name, worker=pod["metadata"]["name"])


def _runs(pod: Manifest) -> bool:
    ready = pod["status"].get("phase") == "Running" and pod["status"].get("podIP")
    return bool(ready) and "deletionTimestamp" not in pod["metadata"]


def _address(pod: Manifest) -> str:
    return f"tcp://{pod['status']['podIP']}:{WORKER_PORT}"


def _joined(cast: Cast, pod: Manifest) -> PlayedWorker | None:
    return None if cast.role is None else cast.role.played.workers.get(_address(pod))
