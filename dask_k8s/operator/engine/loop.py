"""The loop: so many passes at a time, each with its own key; one that fails comes back later."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from enum import StrEnum

from dask_k8s.errors import ApiError, Conflict, DaskK8sError, LeadershipLost, Unreachable
from dask_k8s.kube.about import about
from dask_k8s.kube.slots import Lane, lane
from dask_k8s.operator.engine.histogram import Histogram
from dask_k8s.operator.engine.queue import Key, Queue

logger = logging.getLogger(__name__)

PRECONDITION = "Conflict"
"""The API server's reason where a version was given and is not the present one."""

LONGEST_CONFLICT = 1.0
"""Seconds at most until a pass is repeated that met an object on its way out: nothing may tell when it is gone."""

LONGEST_STALE = 10.0
"""Seconds at most until a pass is repeated that read too old a version. The event of the new one wakes its key anyway,
and while the API server's own cache is behind, it would be asked in vain."""

LONGEST_WAIT = 60.0
"""Seconds at most that a busy API server is given, however many it asks for."""

Reconcile = Callable[[Key], Awaitable[None]]


class Result(StrEnum):
    """How a pass ended."""

    SUCCESS = "success"
    CONFLICT = "conflict"
    """It had read what somebody has changed since, or wanted the name of an object that was still on its way out."""
    ERROR = "error"
    BUG = "bug"
    FENCED = "fenced"
    """The Lease ran out under it."""


class Loop:
    """Takes keys from a queue and reconciles them.

    Parameters
    ----------
    workers
        How many passes run side by side, never two for one key: many, since one that waits for the API server costs
        nothing, and must not keep others from beginning. Their requests take turns there.

    Attributes
    ----------
    under_way
        The passes that run now, with the moments of the monotonic clock at which they began.
    progress
        The same with the moments at which they last got further.
    passes
        How many have begun.
    results
        How many have ended, by their key's kind and by how.
    durations
        How long they took, by their key's kind.
    """

    def __init__(self, queue: Queue, reconcile: Reconcile, *, workers: int = 256) -> None:
        self._queue = queue
        self._reconcile = reconcile
        self._workers = workers
        self.under_way: dict[Key, float] = {}
        self.progress: dict[Key, float] = {}
        self.passes = 0
        self.results: Counter[tuple[str, ...]] = Counter()
        self.durations: defaultdict[str, Histogram] = defaultdict(Histogram)
        self._closing = False

    @property
    def failures(self) -> int:
        """How many passes ended by an error, of whatever kind."""
        return sum(number for ended, number in self.results.items() if ended[-1] in (Result.ERROR, Result.BUG))

    def progressed(self, key: Key) -> None:
        """A call of its pass has ended: a pass of hundreds of them may take minutes, and does not hang."""
        if key in self.progress:
            self.progress[key] = time.monotonic()

    async def close(self, within: float) -> bool:
        """Begin no pass any more, and wait so many seconds at most for those under way; whether all have ended."""
        self._closing = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while self.under_way:
                    await asyncio.sleep(0.01)
        return not self.under_way

    async def run(self) -> None:
        """Until it is cancelled.

        Raises
        ------
        LeadershipLost
            When the right to write has run out.
        """
        places = asyncio.Semaphore(self._workers)
        async with asyncio.TaskGroup() as group:
            while not self._closing:
                await places.acquire()
                key = await self._queue.get()
                if not self._closing:
                    group.create_task(self._work(key)).add_done_callback(lambda _: places.release())

    async def _work(self, key: Key) -> None:
        lane.set(Lane(key.namespace, key))
        began = self.under_way[key] = self.progress[key] = time.monotonic()
        try:
            await self._pass(key)
        finally:
            self._queue.done(key)
            del self.under_way[key], self.progress[key]
            self.durations[key.kind].observe(time.monotonic() - began)

    async def _pass(self, key: Key) -> None:
        """One pass; whatever it raises ends here, but for lost leadership and what cancels it."""
        self.passes += 1
        self.results[key.kind, Result.BUG] += 0  # a rate sees nothing of a series that begins with its first bug
        try:
            await self._reconcile(key)
        except LeadershipLost:
            self._ended(key, Result.FENCED)
            if not self._closing:
                raise
        except Conflict as error:
            self._ended(key, Result.CONFLICT)
            stale = error.reason == PRECONDITION
            self._queue.add_failed(key, longest=LONGEST_STALE if stale else LONGEST_CONFLICT)
        except DaskK8sError as error:
            self._ended(key, Result.ERROR)
            self._failed(key, error)
        except Exception:
            self._ended(key, Result.BUG)
            logger.exception("A pass for %s %s/%s failed", *key, extra=about(*key))
            self._queue.add_failed(key)
        else:
            self._ended(key, Result.SUCCESS)
            self._queue.forget_failures(key)

    def _ended(self, key: Key, result: Result) -> None:
        self.results[key.kind, result] += 1

    def _failed(self, key: Key, error: DaskK8sError) -> None:
        """Tells the first of a row alone; an API server that is away is told once, by the caches that miss it."""
        asked = error.retry_after if isinstance(error, ApiError) else None
        failures = self._queue.add_failed(key, soonest=min(asked or 0.0, LONGEST_WAIT))
        calm = failures > 1 or isinstance(error, Unreachable)
        level = logging.DEBUG if calm else logging.INFO
        logger.log(level, "A pass for %s %s/%s comes again: %s", *key, error, extra=about(*key))
