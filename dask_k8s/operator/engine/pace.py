"""How long news may wait that ask for no deed, so that to look at them takes a small part of the time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from dask_k8s.operator.engine.queue import Key

SHORTEST, ALONE, LONGEST = 0.02, 1.0, 3.0
"""Seconds: events that come together are one piece of news in any case; nobody waits longer for a status where little
else is looked at; and nobody where a hundred groups start at once, as long as people watch a number before they wonder.
"""

SHARE = 0.05
"""Of the time, for one key."""

BUSY = 0.1
"""Of the time, for all keys: from there on each waits as long as may be."""

MEMORY = 2.0
"""Seconds in which what was spent is forgotten, but for a third of it."""


class Pace:
    """Keeps what looking at keys has taken lately.

    Parameters
    ----------
    clock
        Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: dict[Key, float] = {}
        self._spent = 0.0
        self._at = clock()

    def took(self, key: Key, seconds: float) -> None:
        """So long has it taken to look at a key."""
        self._last[key] = seconds
        self._spent = self._left() + seconds
        self._at = self._clock()

    def wait(self, key: Key) -> float:
        """Seconds that news of a key may wait."""
        one = self._last.get(key, 0.0) / SHARE
        all_keys = self._left() / MEMORY / BUSY * LONGEST
        return max(SHORTEST, min(ALONE, one), min(LONGEST, all_keys))

    def forget(self, key: Key) -> None:
        """The key's object is gone."""
        self._last.pop(key, None)

    def _left(self) -> float:
        return self._spent * math.exp((self._at - self._clock()) / MEMORY)
