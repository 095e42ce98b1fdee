"""So many requests at a time, and a fair turn for each who asks: a thousand writes of one hold up nobody's two."""

from __future__ import annotations

import asyncio
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
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._groups = Turns[Hashable, Hashable]()
        self._waiting: dict[Hashable, Turns[Hashable, asyncio.Future[None]]] = {}

    async def __aenter__(self) -> None:
        if self._free:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        mine = lane.get()
        self._groups.add(mine.group, mine.group)
        self._waiting.setdefault(mine.group, Turns()).add(mine.who, turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._pass_on()  # it was given to us in the moment in which we were cancelled
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        while self._groups:
            group = self._groups.take()
            turn = self._waiting[group].take()
            if not self._waiting[group]:
                del self._waiting[group]
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
