"""A connection to one scheduler: a handshake, then one call at a time, each within its deadline."""

from __future__ import annotations

import asyncio
import socket
import ssl as tls
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from dask_k8s.errors import DaskK8sError, SchedulerError, SchedulerRefused, SchedulerSilent
from dask_k8s.scheduler.wire import Limits, encode, read, reason

CONNECT_TIMEOUT = 10.0
CLOSE_TIMEOUT = 1.0
LONGEST_TEXT = 500
"""Characters of a scheduler's own words: they end in logs and conditions."""

_KEEPALIVE: Mapping[str, int] = {
    "TCP_KEEPIDLE": 30,
    "TCP_KEEPALIVE": 30,  # what macOS calls it
    "TCP_KEEPINTVL": 10,
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": 60_000,  # of what was sent and never acknowledged, which keeps probes from being sent
}
"""A peer that is gone without a word is found within a minute, where one call may take hours; as far as the system
knows these options."""

_HELLO: Mapping[str, Any] = {"compression": None, "python": sys.version_info[:3], "pickle-protocol": 4}
"""No compression here means none on either side; Dask's handshake fails without a pickle protocol."""

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Connection:
    """One scheduler at the other end of a stream. It is closed by the first thing that goes wrong, and stays so.

    An error that the scheduler sends as its answer is an answer: the connection goes on.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limits: Limits) -> None:
        self._reader = reader
        self._writer = writer
        self._limits = limits
        self._turn = asyncio.Lock()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether it is of no more use."""
        return self._closed

    async def handshake(self) -> None:
        """Agree on plain, uncompressed messages; before the first call, and once.

        Raises
        ------
        SchedulerSilent, SchedulerRefused
            As :meth:`call` does.
        """
        async with self._whole("the handshake", self._limits.seconds):
            hello = await self._exchange(_HELLO)
            if not isinstance(hello, dict) or "pickle-protocol" not in hello:
                raise SchedulerRefused("The handshake is not Dask's")

    async def call(self, op: str, /, *, within: float | None = None, **arguments: Any) -> Any:
        """Ask for one thing and return the answer, with OPAQUE for what was pickled or serialized.

        Calls wait for each other, so one that takes its time holds the others up; the deadline begins after that.
        A scheduler that does not know an ``op`` answers None.

        Parameters
        ----------
        within
            Seconds for this call, in place of the limits'.

        Raises
        ------
        SchedulerSilent
            Where no whole answer comes in time, or the connection is closed already.
        SchedulerRefused
            Where the answer is beyond the limits or an error, whose text it then bears.
        """
        async with self._turn, self._whole(op, self._limits.seconds if within is None else within):
            answer = await self._exchange({"op": op, "reply": True, **arguments})
        if isinstance(answer, dict) and answer.get("status") in ("error", "uncaught-error"):
            raise SchedulerRefused(plain(f"{op}: {answer.get('exception_text') or answer.get('text') or 'an error'}"))
        return answer

    async def aclose(self) -> None:
        """Close it; a call that is under way ends as silent."""
        self._closed = True
        try:
            self._writer.close()
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._writer.wait_closed()
        except (OSError, DaskK8sError):
            pass
        finally:
            self._writer.transport.abort()

    async def _exchange(self, message: Mapping[str, Any]) -> Any:
        self._writer.write(encode(message))
        await self._writer.drain()
        return await read(self._reader, self._limits)

    @asynccontextmanager
    async def _whole(self, what: str, seconds: float) -> AsyncIterator[None]:
        """All of an exchange or nothing: what ends in the middle, cancelled ones too, leaves the stream useless."""
        if self._closed:
            raise SchedulerSilent(f"{what}: the connection to the scheduler is closed")
        try:
            async with asyncio.timeout(seconds):
                yield
        except BaseException as error:
            self._closed = True
            self._writer.transport.abort()
            match error:
                case TimeoutError():
                    raise SchedulerSilent(f"{what}: no whole answer within {seconds:g} s") from error
                case SchedulerError():
                    raise type(error)(plain(f"{what}: {error}")) from error
                case OSError() | DaskK8sError():
                    raise SchedulerSilent(f"{what}: the connection to the scheduler broke: {reason(error)}") from error
            raise


async def connect(
    host: str,
    port: int,
    *,
    ssl: tls.SSLContext | None = None,
    open_stream: Callable[[], Awaitable[Stream]] | None = None,
    limits: Limits | None = None,
    timeout: float = CONNECT_TIMEOUT,
) -> Connection:
    """A connection whose handshake is done.

    Parameters
    ----------
    ssl
        Speaks TLS; the same frames go through it.
    open_stream
        Opens the stream in another way than by host and port, such as a port-forward.
    timeout
        Seconds for all of this; later calls have those of the limits.

    Raises
    ------
    SchedulerSilent
        Where nobody answers there in time.
    SchedulerRefused
        Where who answers is no Dask scheduler.
    """
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await _open(host, port, ssl, open_stream)
            connection = Connection(reader, writer, limits or Limits())
            await connection.handshake()
    except TimeoutError as error:
        raise SchedulerSilent(f"No scheduler answered at {host}:{port} within {timeout:g} s") from error
    except SchedulerError:
        raise
    except (OSError, OverflowError, UnicodeError) as error:  # the last two: of what is no port, or no host
        raise SchedulerSilent(f"No scheduler answers at {host}:{port}: {reason(error)}") from error
    return connection


async def _open(
    host: str, port: int, ssl: tls.SSLContext | None, open_stream: Callable[[], Awaitable[Stream]] | None
) -> Stream:
    name = host if ssl is not None and ssl.check_hostname else None
    if open_stream is None:
        stream = await asyncio.open_connection(host, port, ssl=ssl, server_hostname=name)
        _watch(stream[1].get_extra_info("socket"))
        return stream
    reader, writer = await open_stream()
    if ssl is not None:
        try:
            await writer.start_tls(ssl, server_hostname=name)
        except BaseException:
            writer.transport.abort()
            raise
    return reader, writer


def _watch(connected: socket.socket) -> None:
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, setting in _KEEPALIVE.items():
        if (option := getattr(socket, name, None)) is not None:
            connected.setsockopt(socket.IPPROTO_TCP, option, setting)


def plain(words: str) -> str:
    """Somebody's words as one line of bounded length, without what could move a terminal's cursor."""
    line = "".join(letter if letter.isprintable() else " " for letter in words[:LONGEST_TEXT])
    return line if len(words) <= LONGEST_TEXT else line[:-1] + "…"
