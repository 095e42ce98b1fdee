"""The few connections over which all drains of one scheduler talk to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from dask_k8s.scheduler.connection import Connection

MOVES = 4
"""Calls that move data, of one scheduler at a time: others wait. Most are over within a second."""

LONG = 60.0
"""Seconds after which others no longer wait for a call: it may never end, where a value cannot be sent."""

MOST_LONG = 12
"""Calls of one scheduler that nobody waits for; then others wait again."""

Connect = Callable[[], Awaitable[Connection]]


class Line:
    """Calls over one connection at a time, opened when it is needed: after the one before it broke, for the next call.

    A call that fails is not repeated.
    """

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._connection: Connection | None = None
        self._turn = asyncio.Lock()

    async def call(self, op: str, /, *, within: float | None = None, **arguments: Any) -> Any:
        """As :meth:`Connection.call` does; to open a connection has a time of its own."""
        async with self._turn:
            if self._connection is None or self._connection.closed:
                self._connection = await self._connect()
            return await self._connection.call(op, within=within, **arguments)

    def left(self) -> Connection | None:
        """What was open, which its last user closes; the next call opens another."""
        found, self._connection = self._connection, None
        return found


class Lines:
    """At most ``2 + MOVES + MOST_LONG`` connections to one scheduler, reused, and none while nobody uses them.

    Parameters
    ----------
    connect
        Opens a connection.

    Attributes
    ----------
    questions
        For what is answered at once; everybody shares it.
    beside
        For workers that are empty: they do not wait until a move is over that goes on for others.
    """

    def __init__(self, connect: Connect) -> None:
        self.questions = Line(connect)
        self.beside = Line(connect)
        self._connect = connect
        self._idle = list[Line]()
        self._free = asyncio.Semaphore(MOVES)
        self._long = 0
        self._users = 0

    @property
    def busy(self) -> bool:
        """Whether a move that begins now would have to wait for another one's end."""
        return self._free.locked()

    @asynccontextmanager
    async def used(self) -> AsyncIterator[None]:
        """Held by each user; the last one closes all."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                # All at once: while one of them closes, the next user may have come, and would lose its own.
                left = [line.left() for line in (self.questions, self.beside, *self._idle)]
                await asyncio.gather(*(connection.aclose() for connection in left if connection is not None))

    @asynccontextmanager
    async def own(self) -> AsyncIterator[Line]:
        """One that nobody else uses meanwhile, as soon as there is one: the one that was used last is open still."""
        async with self._place():
            line = self._idle.pop() if self._idle else Line(self._connect)
            try:
                yield line
            finally:
                self._idle.append(line)

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """Held for a while; who needs it for longer leaves it to others, unless too many have done so."""
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle
        await self._free.acquire()
        held = True

        def leave() -> None:
            nonlocal held, timer
            if self._long < MOST_LONG:
                held, self._long = False, self._long + 1
                self._free.release()
            else:
                timer = loop.call_later(LONG, leave)

        timer = loop.call_later(LONG, leave)
        try:
            yield
        finally:
            timer.cancel()
            if held:
                self._free.release()
            else:
                self._long -= 1
