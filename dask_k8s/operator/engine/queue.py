"""A queue of keys with client-go's semantics, fair between namespaces.

A key is in it at most once; one that is added while it is worked on comes again afterwards, and never twice at once.
A key can be put off, and one that failed comes back later and later. Namespaces take turns, so that a thousand keys
of one do not keep another's waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import random
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from dask_k8s.kube.turns import Turns
from dask_k8s.operator.engine.histogram import Histogram

SHARE = 128
"""Passes at a time for one namespace at most: half of all, so that hundreds of its keys leave others a place."""

FIRST_BACKOFF = 0.05
LONGEST_BACKOFF = 60.0


class Key(NamedTuple):
    """One object to look at."""

    kind: str
    namespace: str
    name: str


class Queue:
    """Keys that wait for a pass.

    Parameters
    ----------
    clock
        Monotonic seconds; the event loop's own unless given.

    Attributes
    ----------
    adds, retries
        How often a key became due, and how often one failed.
    waited
        How long keys that were due waited for their turn.
    """

    def __init__(self, clock: Callable[[], float] | None = None, jitter: Callable[[], float] = random.random) -> None:
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._jitter = jitter
        self._ready = Turns[str, Key]()
        self._dirty: set[Key] = set()
        self._processing: set[Key] = set()
        self._busy: Counter[str] = Counter()
        self._later: list[tuple[float, Key]] = []
        self._when: dict[Key, float] = {}
        self._failures: dict[Key, int] = {}
        self._held: dict[Key, float] = {}
        self._due_since: dict[Key, float] = {}
        self._wake = asyncio.Event()
        self._open: set[str | None] = {None}
        self.adds = 0
        self.retries = 0
        self.waited = Histogram()

    def __len__(self) -> int:
        """How many keys are due."""
        return len(self._ready)

    @property
    def put_off(self) -> int:
        """How many keys are due later."""
        return len(self._when)

    def close(self) -> None:
        """Forget all keys, and take none in until it is opened: where nobody works on them, they would only grow more.

        No pass may be under way; those that were cancelled before they began count as done.
        """
        self._open.clear()
        self._processing.clear()
        self._busy.clear()
        for kept in (self._ready, self._later, self._when, self._failures, self._held, self._due_since, self._dirty):
            kept.clear()

    def open(self, namespace: str | None = None) -> None:
        """Take the keys of a namespace in again, None standing for all; whoever opens it adds all that there is."""
        self._open.add(namespace)

    def is_open(self, namespace: str | None) -> bool:
        """Whether keys of a namespace are taken in."""
        return None in self._open or namespace in self._open

    def add(self, key: Key) -> None:
        """The key is due now."""
        if key in self._dirty or not self.is_open(key.namespace):
            return
        self._dirty.add(key)
        self.adds += 1
        if key not in self._processing:
            self._enqueue(key)

    def add_after(self, key: Key, delay: float) -> None:
        """The key is due in so many seconds, or earlier where it was put off for less."""
        if delay <= 0 or not self.is_open(key.namespace):
            self.add(key)
            return
        due = self._clock() + delay
        if due < self._when.get(key, float("inf")):
            self._when[key] = due
            heapq.heappush(self._later, (due, key))
            self._wake.set()

    def add_failed(self, key: Key, longest: float = LONGEST_BACKOFF, soonest: float = 0.0) -> int:
        """The key comes back, later with every failure in a row.

        Parameters
        ----------
        longest
            Seconds at most.
        soonest
            Seconds at least, whatever happens meanwhile: a server has asked for them.

        Returns which failure in a row this is.
        """
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self.retries += 1
        backoff: float = min(longest, FIRST_BACKOFF * 2 ** min(failures, 20))
        spread = self._jitter() / 2
        if soonest:
            self._held[key] = self._clock() + soonest
        self.add_after(key, max(soonest * (1 + spread), backoff * (0.75 + spread)))
        return failures + 1

    def hurry(self) -> None:
        """What made keys fail may be over: they are due now, and begin anew to fail."""
        failed, self._failures = self._failures, {}
        for key in failed:
            self.add(key)

    def forget_failures(self, key: Key) -> None:
        """The key succeeded: its next failure is the first again."""
        self._failures.pop(key, None)

    async def get(self) -> Key:
        """The next key that is due; it is being processed until :meth:`done`."""
        while True:
            self._promote()
            with contextlib.suppress(IndexError):
                return self._take()
            self._wake.clear()
            await self._sleep()

    def done(self, key: Key) -> None:
        """The key's pass is over; if it was added meanwhile, it is due again."""
        if key in self._processing:
            self._processing.remove(key)
            self._busy[key.namespace] -= 1
            if not self._busy[key.namespace]:
                del self._busy[key.namespace]
            self._wake.set()
        if key in self._dirty:
            self._enqueue(key)

    def _enqueue(self, key: Key) -> None:
        if self._held.get(key, float("-inf")) > (now := self._clock()):
            self._dirty.discard(key)
            self.add_after(key, self._held[key] - now)
            return
        self._held.pop(key, None)
        self._ready.add(key.namespace, key)
        self._due_since[key] = now
        self._wake.set()

    def _take(self) -> Key:
        key = self._ready.take(passed_over=lambda namespace: self._busy[namespace] >= SHARE)
        self._processing.add(key)
        self._busy[key.namespace] += 1
        self._dirty.discard(key)
        self.waited.observe(self._clock() - self._due_since.pop(key))
        return key

    def _promote(self) -> None:
        now = self._clock()
        while self._later and self._later[0][0] <= now:
            due, key = heapq.heappop(self._later)
            if self._when.get(key) == due:
                del self._when[key]
                self.add(key)

    async def _sleep(self) -> None:
        """Until something is added, or the first that was put off is due."""
        delay = max(0.0, self._later[0][0] - self._clock()) if self._later else None
        try:
            async with asyncio.timeout(delay):
                await self._wake.wait()
        except TimeoutError:
            return
