"""The sockets of a session, so that none outlives it."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from weakref import WeakSet

import aiohttp

CLOSE_WITHIN = 1.0


class Sockets:
    """Makes a session's sockets, and ends those that are still there after its end.

    A connection that is given up in the middle of a call ends TLS properly, which takes the other side's consent:
    without a word from there its socket stays for half a minute, whatever becomes of the session.
    """

    def __init__(self) -> None:
        self._made: WeakSet[socket.socket] = WeakSet()

    def make(self, address: aiohttp.AddrInfoType) -> socket.socket:
        """A socket for this address."""
        family, kind, protocol, _, _ = address
        made = socket.socket(family, kind, protocol)
        self._made.add(made)
        return made

    async def close(self) -> None:
        """Ends what is open, and waits until the loop has noticed."""
        for each in self._open():
            shut_down(each)
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_WITHIN):
                while self._open():
                    await asyncio.sleep(0)

    def _open(self) -> list[socket.socket]:
        return [each for each in self._made if each.fileno() != -1]


def shut_down(each: socket.socket) -> None:
    """Ends a connection both ways at once: its transport sees that, and closes. One that is closed stays so."""
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
