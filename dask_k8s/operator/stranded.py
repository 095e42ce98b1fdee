"""Tasks that may run on workers alone that have left: looked at until somebody may run them, or nobody wants them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

from dask_k8s.errors import SchedulerError
from dask_k8s.kinds.value import Ref
from dask_k8s.kube.slots import Slots
from dask_k8s.operator.engine.background import Background
from dask_k8s.operator.engine.queue import Key
from dask_k8s.scheduler.connection import plain
from dask_k8s.scheduler.facts import Key as Task
from dask_k8s.scheduler.lines import Lines
from dask_k8s.scheduler.rpc import SchedulerRpc


@dataclass(slots=True)
class _Watched:
    """The tasks of one cluster, by the group that their workers have left; their texts are made once."""

    lines: Lines
    tasks: dict[Key, frozenset[Task]] = field(default_factory=dict)
    told: dict[Key, tuple[str, ...]] = field(default_factory=dict)
    watching: asyncio.Task[None] | None = None

    def leave(self, key: Key, tasks: frozenset[Task]) -> None:
        """These are what a group's have come to."""
        if tasks:
            self.tasks[key], self.told[key] = tasks, tuple(sorted(plain(str(task)) for task in tasks))
        else:
            self.tasks.pop(key, None)
            self.told.pop(key, None)


class Stranded:
    """All that there are of one operator.

    Parameters
    ----------
    places
        One of which is held while a scheduler is asked.
    wake
        Called with the key for which there is news.
    every
        Seconds between two looks.
    """

    def __init__(self, background: Background, places: Slots, wake: Callable[[Key], None], *, every: float) -> None:
        self._background = background
        self._places = places
        self._wake = wake
        self._every = every
        self._clusters: dict[str, _Watched] = {}

    def of(self, key: Key) -> tuple[str, ...]:
        """The keys of a group's."""
        return tuple(task for watched in self._clusters.values() for task in watched.told.get(key, ()))

    def add(self, cluster: Ref, lines: Lines, key: Key, tasks: frozenset[Task]) -> None:
        """They were left without a worker: they are looked at from now on."""
        if not tasks or not self._background.held:
            return
        watched = self._clusters.setdefault(cluster.uid or "", _Watched(lines))
        watched.leave(key, watched.tasks.get(key, frozenset()) | tasks)
        if watched.watching is None or watched.watching.done():
            watched.watching = self._background.begin(self._watch(watched))

    def forget(self, key: Key) -> None:
        """The group is gone."""
        for watched in self._clusters.values():
            watched.leave(key, frozenset())

    def forget_cluster(self, cluster: Ref) -> None:
        """And nobody asks for its tasks any more."""
        gone = self._clusters.pop(cluster.uid or "", None)
        if gone is not None and gone.watching is not None:
            gone.watching.cancel()

    def clear(self) -> None:
        """Nobody looks any more."""
        self._clusters.clear()

    async def _watch(self, watched: _Watched) -> None:
        while watched.tasks:
            await asyncio.sleep(self._every)
            with contextlib.suppress(SchedulerError):
                async with self._places, watched.lines.used():
                    for key in tuple(watched.tasks):
                        await self._look(watched, key, SchedulerRpc(watched.lines.questions))

    async def _look(self, watched: _Watched, key: Key, rpc: SchedulerRpc) -> None:
        before = watched.tasks.get(key, frozenset())
        still = await rpc.stranded(before)
        # Others may have come while the answer was on its way, or the group may be gone.
        if key not in watched.tasks:
            return
        if still != before:
            watched.leave(key, still | (watched.tasks[key] - before))
            self._wake(key)
