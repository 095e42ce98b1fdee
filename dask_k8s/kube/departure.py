"""The moment in which a write leaves: whether it still may is asked then, and if it is given up, nothing stays behind.

Between a decision and its bytes lie a queue, a log-in and a new connection, and a process can be stopped anywhere.
What the kernel has taken it would go on sending after the write was given up, and after the network is back.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar

import aiohttp
from aiohttp.connector import Connection

Permit = Callable[[], object]
"""Raises where no write may start any more."""

_DISCARD, _DELIVER = struct.pack("ii", 1, 0), struct.pack("ii", 0, 0)
"""What closing a socket does with bytes that are not sent yet."""


class Departure:
    """One write on its way."""

    def __init__(self, permit: Permit) -> None:
        self._permit = permit
        self._transport: asyncio.Transport | None = None

    def leaves(self, connection: Connection) -> None:
        """Its connection is there, and its bytes go next."""
        self._permit()
        self._transport = connection.transport
        self._on_close(_DISCARD)

    def answered(self) -> None:
        """The other side has it: the connection is one for everybody again."""
        self._on_close(_DELIVER)
        self._transport = None

    def ends(self) -> None:
        """Given up, unless it was answered: the loop would go on sending, too."""
        if self._transport is not None:
            self._transport.abort()

    def _on_close(self, what: bytes) -> None:
        if self._transport is not None:
            with suppress(OSError):  # closed already
                self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, what)


_departure: ContextVar[Departure | None] = ContextVar("departure", default=None)


@contextmanager
def departing(permit: Permit | None) -> Iterator[Departure | None]:
    """What is sent within it asks for this permission first; None for what everybody may send at any time."""
    departure = None if permit is None else Departure(permit)
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
