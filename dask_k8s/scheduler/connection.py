"""One connection to a scheduler: a handshake, then one call at a time, each within a deadline."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from dask_k8s.errors import SchedulerError, SchedulerRefused, SchedulerSilent
from dask_k8s.scheduler import wire
from dask_k8s.scheduler.wire import Limits, Writer

Stream = tuple[asyncio.StreamReader, Writer]
TIMEOUT = 10.0
_ERRORS = frozenset({"error", "uncaught-error"})
_LONGEST_TEXT = 500


class Connection:
    """A scheduler at the other end of a stream.

    After an error other than the scheduler's own, the connection is closed and never used again: where one message
    ends and the next begins is no longer known.
    """

    def __init__(self, stream: Stream, *, name: str, limits: Limits, timeout: float) -> None:
        self._reader, self._writer = stream
        self._name = name
        self._limits = limits
        self._timeout = timeout
        self._lock = asyncio.Lock()
        self._closed = False

    async def handshake(self) -> None:
        """What both sides say first; compression is negotiated away by naming none."""
        hello = {"compression": None, "python": list(sys.version_info[:3]), "pickle-protocol": 4}
        await self._exchange(hello, self._timeout)

    async def call(self, op: str, *, timeout: float | None = None, **arguments: Any) -> Any:
        """The scheduler's reply to one call, in plain values.

        Raises
        ------
        SchedulerSilent
            Where no reply came within the time, or the connection broke.
        SchedulerRefused
            Where the reply lies beyond the limits, or the scheduler says that the call failed.
        """
        async with self._lock:
            message = {"op": op, "reply": True, **arguments}
            reply = await self._exchange(message, self._timeout if timeout is None else timeout)
        if isinstance(reply, dict) and reply.get("status") in _ERRORS:
            text = reply.get("exception_text") or reply.get("text") or "no reason given"
            raise SchedulerRefused(f"{self._name}: {op}: {str(text)[:_LONGEST_TEXT]}")
        return reply

    async def aclose(self) -> None:
        """Close the stream."""
        self._closed = True
        self._writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                await self._writer.wait_closed()

    async def _exchange(self, message: dict[str, Any], timeout: float) -> Any:
        if self._closed:
            raise SchedulerSilent(f"{self._name}: the connection is closed")
        try:
            async with asyncio.timeout(timeout):
                self._writer.write(wire.encode(message))
                await self._writer.drain()
                return await wire.read(self._reader, self._limits)
        except TimeoutError:
            self._break()
            raise SchedulerSilent(f"{self._name}: no answer within {timeout:g} s") from None
        except (OSError, asyncio.IncompleteReadError) as error:
            self._break()
            raise SchedulerSilent(f"{self._name}: the connection broke ({error})") from error
        except SchedulerRefused as error:
            self._break()
            raise SchedulerRefused(f"{self._name}: {error}") from error
        except BaseException:
            self._break()
            raise

    def _break(self) -> None:
        self._closed = True
        self._writer.close()


async def connect(
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None = None,
    open_stream: Callable[[], Awaitable[Stream]] | None = None,
    limits: Limits | None = None,
    timeout: float = TIMEOUT,
    call_timeout: float = TIMEOUT,
) -> Connection:
    """A connection whose handshake is done.

    Parameters
    ----------
    host, port
        Where the scheduler listens; only its name where ``open_stream`` is given.
    open_stream
        Opens the stream where a socket cannot: a port-forward.
    timeout
        Seconds for the connection.
    call_timeout
        Seconds for the handshake, and for each call that names none of its own.

    Raises
    ------
    SchedulerSilent, SchedulerRefused
        As for :meth:`Connection.call`.
    """
    name = f"{host}:{port}"
    try:
        async with asyncio.timeout(timeout):
            stream = await (open_stream() if open_stream else asyncio.open_connection(host, port, ssl=tls))
    except TimeoutError:
        raise SchedulerSilent(f"{name}: no connection within {timeout:g} s") from None
    except OSError as error:
        raise SchedulerSilent(f"{name}: no connection ({error})") from error
    connection = Connection(stream, name=name, limits=limits or Limits(), timeout=call_timeout)
    try:
        await connection.handshake()
    except SchedulerError:
        await connection.aclose()
        raise
    return connection
