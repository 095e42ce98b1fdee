"""What waits, in lanes that take turns: a thousand of one lane hold up nobody's two."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Lane = TypeVar("Lane", bound=Hashable)
Waiting = TypeVar("Waiting")


class Turns(Generic[Lane, Waiting]):
    """Within a lane, first in, first out. Its length is what waits in all lanes."""

    def __init__(self) -> None:
        self._waiting: dict[Lane, deque[Waiting]] = {}
        self._lanes: deque[Lane] = deque()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def __bool__(self) -> bool:
        return bool(self._lanes)

    def add(self, lane: Lane, item: Waiting) -> None:
        """The last of its lane; a lane that had nothing to wait for is the last of all."""
        waiting = self._waiting.get(lane)
        if waiting is None:
            waiting = self._waiting[lane] = deque()
            self._lanes.append(lane)
        waiting.append(item)

    def take(self, passed_over: Callable[[Lane], bool] = lambda lane: False) -> Waiting:
        """The first of the lane whose turn it is.

        Parameters
        ----------
        passed_over
            Whether a lane may not have its turn now.

        Raises
        ------
        IndexError
            When nothing waits that may have its turn.
        """
        for _ in range(len(self._lanes)):
            if not passed_over(self._lanes[0]):
                break
            self._lanes.rotate(-1)
        else:
            raise IndexError("Nothing waits that may have its turn.")
        lane = self._lanes.popleft()
        waiting = self._waiting[lane]
        item = waiting.popleft()
        if waiting:
            self._lanes.append(lane)
        else:
            del self._waiting[lane]
        return item

    def clear(self) -> None:
        """Nothing waits any more."""
        self._waiting.clear()
        self._lanes.clear()
