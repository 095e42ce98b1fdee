"""So many requests at a time, and a fair turn for each who asks: a thousand writes of one hold up nobody's two."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Hashable
from contextvars import ContextVar
from types import TracebackType
from typing import NamedTuple

from dask_k8s.kube.turns import Turns


class Lane(NamedTuple):
    """On whose behalf is asked: all those of a group together have one turn, and take turns in it.

    Parameters
    ----------
    group
        Such as a namespace.
    """

    group: Hashable = None
    who: Hashable = None


lane: ContextVar[Lane] = ContextVar("lane", default=Lane())  # noqa: B039
"""On whose behalf is asked here."""


class Slots:
    """An async context manager that is entered by so many at once.

    Parameters
    ----------
    count
        How many.
    share
        How many of one group; all unless given.
    """

    def __init__(self, count: int, share: int | None = None) -> None:
        self._free = count
        self._share = count if share is None else share
        self._inside = Counter[Hashable]()
        self._groups = Turns[Hashable, Hashable]()
        self._waiting: dict[Hashable, Turns[Hashable, asyncio.Future[None]]] = {}

    async def __aenter__(self) -> None:
        await self.take()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give_back()

    async def take(self) -> None:
        """Wait for one, which is to be given back on behalf of the same lane."""
        mine = lane.get()
        if not self.is_full():
            self._enters(mine.group)
            return
        turn = asyncio.get_running_loop().create_future()
        self._groups.add(mine.group, mine.group)
        self._waiting.setdefault(mine.group, Turns()).add(mine.who, turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leaves(mine.group)  # it was given to us in the moment in which we were cancelled
            raise

    def give_back(self) -> None:
        """It is for whoever waits, in turns."""
        self._leaves(lane.get().group)

    def is_full(self) -> bool:
        """Whether one who asks now would have to wait."""
        return not self._free or self._has_its_share(lane.get().group)

    def _has_its_share(self, group: Hashable) -> bool:
        return self._inside[group] >= self._share

    def _enters(self, group: Hashable) -> None:
        self._free -= 1
        self._inside[group] += 1

    def _leaves(self, group: Hashable) -> None:
        self._free += 1
        self._inside[group] -= 1
        if not self._inside[group]:
            del self._inside[group]
        with contextlib.suppress(IndexError):  # nobody waits who may enter
            while self._free:
                self._let_in(self._groups.take(self._has_its_share))

    def _let_in(self, group: Hashable) -> None:
        turn = self._waiting[group].take()
        if not self._waiting[group]:
            del self._waiting[group]
        if not turn.done():
            self._enters(group)
            turn.set_result(None)
