"""The moment in which a write leaves: whether it still may is asked then, and if it is given up, nothing stays behind.

Between a decision and its bytes lie a queue, a log-in and a new connection, and a process can be stopped anywhere.
What the kernel has taken it would go on sending after the write was given up, and after the network is back; so the
kernel is told both what becomes of it when the connection is closed, and when it has to give up by itself, as for a
process that is stopped.
"""

from __future__ import annotations

import asyncio
import math
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.connector import Connection

from dask_k8s.errors import DaskK8sError

Permit = Callable[[], float]
"""Seconds that a write may take which starts now; raises where none may start any more."""

_DISCARD, _DELIVER = struct.pack("ii", 1, 0), struct.pack("ii", 0, 0)
"""What closing a socket does with bytes that are not sent yet."""

_SOONEST = 0.001
"""Seconds: less than that is no time-out to the kernel."""

_BY_DEFAULT = 0.0
"""As the system has it: a quarter of an hour of sending again."""


class Departure:
    """One write on its way, which is given up at a moment of the loop's clock."""

    def __init__(self, permit: Permit, deadline: float) -> None:
        self._permit = permit
        self._deadline = deadline
        self._transport: asyncio.Transport | None = None

    def leaves(self, connection: Connection) -> None:
        """Its connection is there, and its bytes go next."""
        within = min(self._permit(), self._deadline - asyncio.get_running_loop().time())
        self._transport = connection.transport
        self._on_close(_DISCARD)
        self._kernel_gives_up_after(max(within, _SOONEST))

    def still_may(self) -> None:
        """Asked again in the very step that hands its bytes over."""
        self._permit()

    def answered(self) -> None:
        """The other side has it: the connection is one for everybody again."""
        self._on_close(_DELIVER)
        self._kernel_gives_up_after(_BY_DEFAULT)
        self._transport = None

    def ends(self) -> None:
        """Given up, unless it was answered: the loop would go on sending, too."""
        if self._transport is not None:
            self._transport.abort()

    def _on_close(self, what: bytes) -> None:
        self._set(socket.SOL_SOCKET, socket.SO_LINGER, what)

    def _kernel_gives_up_after(self, seconds: float) -> None:
        if sys.platform == "linux":
            self._set(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, math.ceil(seconds * 1000))

    def _set(self, level: int, option: int, to: int | bytes) -> None:
        if self._transport is not None:
            with suppress(OSError):  # closed already
                self._transport.get_extra_info("socket").setsockopt(level, option, to)


_departure: ContextVar[Departure | None] = ContextVar("departure", default=None)


@contextmanager
def departing(permit: Permit | None, deadline: float) -> Iterator[Departure | None]:
    """What is sent within it asks for this permission first; None for what everybody may send at any time.

    Parameters
    ----------
    deadline
        The moment of the loop's clock after which the kernel, too, sends nothing again that was not acknowledged.
    """
    departure = None if permit is None else Departure(permit, deadline)
    token = _departure.set(departure)
    try:
        yield departure
    finally:
        _departure.reset(token)
        if departure is not None:
            departure.ends()


class Request(aiohttp.ClientRequest):
    """A request of a session that knows departures."""

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Asks for permission as late as can be."""
        if (departure := _departure.get()) is not None:
            departure.leaves(conn)
        return await super().send(conn)

    async def write_bytes(
        self, writer: AbstractStreamWriter, conn: Connection, content_length: int | None = None
    ) -> None:
        """And once more: before Python 3.12 this begins a turn of the loop later, whatever else that has to do."""
        departure = _departure.get()
        if departure is not None:
            try:
                departure.still_may()
            except DaskK8sError as refusal:
                if conn.protocol is not None:
                    conn.protocol.set_exception(refusal)
                departure.ends()
                return
        await super().write_bytes(writer, conn, content_length)
