"""One played scheduler: Dask's ops over workers that only exist here. ``test_played.py`` holds it to a real one."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from tests.played.scene import SchedulerScene
from tests.played.workers import RETIRING, RUNNING, PlayedWorker, Task

VERSION = "2026.8.0"
"""The release of distributed whose answers these are."""


class PlayedScheduler:
    """A scheduler's process.

    Parameters
    ----------
    forgets
        Called with a worker that a retirement has removed.
    clock
        The present, in seconds.
    """

    def __init__(
        self,
        address: str,
        scene: SchedulerScene,
        forgets: Callable[[PlayedWorker], None] = lambda worker: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.scene = scene
        self.workers: dict[str, PlayedWorker] = {}
        self._address = address
        self._forgets = forgets
        self._clock = clock
        self._started = clock()
        self._id = f"Scheduler-{secrets.token_hex(8)}"
        self._idle_since: float | None = self._started
        self._stirred = False
        self._homeless: list[Task] = []
        self._noted: dict[str, list[tuple[float, dict[str, str | None]]]] = {}
        self._ops: dict[str, Callable[..., Any]] = {
            "identity": self._identity,
            "versions": self._versions,
            "check_idle": self._check_idle,
            "adaptive_target": lambda: self.scene.target,
            "workers_to_close": self._workers_to_close,
            "ncores": self._ncores,
            "ncores_running": self._ncores_running,
            "processing": self._processing,
            "has_what": self._has_what,
            "retire_workers": self._retire_workers,
            "events": lambda topic: self._noted.get(topic, ()),
        }

    def stir(self) -> None:
        """Work has come, or has been done: what rest there was is over."""
        self._stirred = True

    def join(self, worker: PlayedWorker) -> None:
        """A worker has come; it takes on what nobody could."""
        self.workers[worker.address] = worker
        worker.tasks += self._homeless
        self._homeless = []

    async def answer(self, asked: dict[str, Any]) -> Any:
        """The reply to one message; an op that is not known gets None, as Dask's servers do."""
        op = asked.pop("op")
        asked.pop("reply", None)
        if op in self.scene.slow:
            await asyncio.sleep(self.scene.slow[op])
        try:
            if op in self.scene.fails:
                raise RuntimeError("it went wrong")
            self._go_on()
            reply = self._ops[op](**asked) if op in self._ops else None
            return await reply if asyncio.iscoroutine(reply) else reply
        except Exception as error:
            return _uncaught(error)

    def _go_on(self) -> None:
        now = self._clock()
        for worker in self.workers.values():
            if worker.tasks and worker.go_on(now):
                self.stir()

    def _identity(self, n_workers: int = -1) -> dict[str, Any]:
        told = itertools.islice(self.workers.values(), len(self.workers) if n_workers == -1 else n_workers)
        now = self._clock()
        return {
            "type": "Scheduler",
            "id": self._id,
            "address": self._address,
            "services": {},
            "started": self._started,
            "n_workers": len(self.workers),
            "total_threads": len(self.workers),
            "total_memory": sum(worker.identity(now)["memory_limit"] for worker in self.workers.values()),
            "workers": {worker.address: worker.identity(now) for worker in told},
        }

    def _versions(self) -> dict[str, Any]:
        return {"packages": {"distributed": VERSION}}

    def _check_idle(self) -> float | None:
        if self._stirred or self._homeless or any(worker.tasks for worker in self.workers.values()):
            self._stirred, self._idle_since = False, None
            return None
        self._idle_since = self._idle_since or self._clock()
        return self._idle_since

    def _workers_to_close(self, n: int, attribute: str) -> list[Any]:
        idle_and_light_first = sorted(self.workers.values(), key=lambda worker: (bool(worker.tasks), worker.nbytes))
        return [getattr(worker, attribute) for worker in idle_and_light_first[:n]]

    def _ncores(self, workers: Iterable[str] | None = None) -> dict[str, int]:
        asked = self.workers if workers is None else workers
        return {address: 1 for address in asked if address in self.workers}

    def _ncores_running(self) -> dict[str, int]:
        return {address: 1 for address, worker in self.workers.items() if worker.status == RUNNING}

    def _processing(self, workers: Iterable[str] | None = None) -> dict[str, list[str]]:
        asked = self.workers if workers is None else workers
        return {address: [task.key for task in self.workers[address].tasks] for address in asked}

    def _has_what(self, workers: Iterable[str] | None = None) -> dict[str, list[str]]:
        asked = self.workers if workers is None else workers
        found = {address: self.workers.get(address) for address in asked}
        return {address: list(worker.keys) if worker else [] for address, worker in found.items()}

    async def _retire_workers(
        self, workers: list[str], close_workers: bool, remove: bool, stimulus_id: str | None = None
    ) -> dict[str, Any]:
        asked = [self.workers[address] for address in workers if address in self.workers]
        before = {worker.address: worker.status for worker in asked}
        for worker in asked:
            worker.status = RETIRING
        if any(worker.keys for worker in asked):
            await asyncio.sleep(self.scene.moves)
        moved = [worker for worker in asked if self._moved(worker)]
        for worker in asked:
            action = "retired" if worker in moved else "could-not-retire"
            note = {"action": action, "stimulus_id": stimulus_id}
            self._noted.setdefault(worker.address, []).append((self._clock(), note))
            if worker not in moved:
                worker.status = before[worker.address]
            elif remove:
                self.remove(worker)
                self._forgets(worker)
        return {worker.address: worker.identity(self._clock()) for worker in moved}

    def _moved(self, worker: PlayedWorker) -> bool:
        """Copy its data to where the least is, if there is anybody; its own copy goes with it."""
        if worker.name in self.scene.refuses:
            return False
        for key in self.only_on(worker):
            if not self._running():
                return False
            min(self._running(), key=lambda other: other.nbytes).keys[key] = worker.keys[key]
        return True

    def only_on(self, worker: PlayedWorker) -> list[str]:
        """What it holds and nobody does that stays."""
        return [
            key for key in worker.keys if not any(key in other.keys for other in self._running() if other is not worker)
        ]

    def remove(self, worker: PlayedWorker) -> None:
        """Forget it; what was assigned to it begins anew elsewhere."""
        if self.workers.pop(worker.address, None) is None:
            return
        for task in worker.tasks:
            places = [other.tasks for other in self._running()] or [self._homeless]
            min(places, key=len).append(replace(task, ends=None))
            self.stir()

    def _running(self) -> list[PlayedWorker]:
        return [worker for worker in self.workers.values() if worker.status == RUNNING]


def _uncaught(error: Exception) -> dict[str, Any]:
    """As a server answers where an op has failed; the exceptions themselves would be pickled, and nobody reads them."""
    return {"status": "uncaught-error", "text": str(error), "exception_text": repr(error), "traceback_text": ""}
