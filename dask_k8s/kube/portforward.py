"""A local port, or a stream, that leads into a Pod: for whoever stands outside the cluster network."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from dask_k8s.errors import DaskK8sError, NotFound
from dask_k8s.kube.channel import Channel, Heartbeat, carry, reset
from dask_k8s.kube.client import Client

LINGER = 10.0
"""Seconds of silence from the Pod that a connection outlives the end of what the near side sends."""

Resolve = Callable[[], Awaitable[tuple[str, str] | None]]
"""Which Pod, as namespace and name, serves now; None while there is none."""


class PortForward:
    """A TCP port on this machine whose connections go to a Pod; an async context manager.

    Each new connection asks anew which Pod that is, so that it follows a Pod that was replaced. One that cannot be
    made is reset at once; ``last_error`` tells why, until one works.

    Enter and leave it in the same task.

    Parameters
    ----------
    resolve
        Which Pod serves now.
    port
        The Pod's port.
    """

    def __init__(
        self, client: Client, resolve: Resolve, port: int, *, linger: float = LINGER, heartbeat: Heartbeat | None = None
    ) -> None:
        self.last_error: DaskK8sError | None = None
        self._client = client
        self._resolve = resolve
        self._port = port
        self._linger = linger
        self._heartbeat = heartbeat
        self._connections: set[asyncio.Task[None]] = set()
        self._group = asyncio.TaskGroup()
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to connect to."""
        if self._server is None:
            raise RuntimeError("The port-forward is used outside of its `async with`.")
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        # Without the error of the body, which would come out wrapped in a group.
        await self._group.__aexit__(None, None, None)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = self._group.create_task(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.last_error = await carry(reader, writer, await self._open(), self._linger)
        except DaskK8sError as error:
            self.last_error = error
        finally:
            reset(writer)

    async def _open(self) -> Channel:
        target = await self._resolve()
        if target is None:
            raise NotFound("There is no Pod to forward to.")
        namespace, pod = target
        return await Channel.open(self._client, namespace, pod, self._port, self._heartbeat)


class _Writer(asyncio.StreamWriter):
    """A writer whose end is that of the connection into the Pod as well."""

    carrying: asyncio.Task[None]

    async def wait_closed(self) -> None:
        await super().wait_closed()
        await self.carrying


async def open_stream(
    client: Client, namespace: str, pod: str, port: int, heartbeat: Heartbeat | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A stream into a Pod, as ``asyncio.open_connection`` gives one, without a port on this machine.

    The two ends of a socket pair stand between, so that back-pressure and TLS work as on any other stream. What breaks
    the connection is raised by the reader.

    Raises
    ------
    ApiError, Unreachable, NoCredentials
        When there is no such Pod, or no way to it.
    """
    channel = await Channel.open(client, namespace, pod, port, heartbeat)
    near, far = socket.socketpair()
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.create_connection(lambda: protocol, sock=near)
    writer = _Writer(transport, protocol, reader, loop)
    inner = await asyncio.open_connection(sock=far)

    async def carrying() -> None:
        try:
            if error := await carry(*inner, channel, linger=0.0):
                reader.set_exception(error)
        finally:
            reset(inner[1])

    writer.carrying = loop.create_task(carrying())
    return reader, writer
