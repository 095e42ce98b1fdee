"""One TCP connection to a port of a Pod, through the API server and the kubelet, as a WebSocket.

The protocol is ``v4.channel.k8s.io``: the first byte of each frame names its channel, 0 for data and 1 for an error,
and the first frame of each channel holds the port. It carries one connection, and cannot say that one side is done.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

import aiohttp

from dask_k8s.errors import Unreachable
from dask_k8s.kinds.value import value
from dask_k8s.kube.client import Client
from dask_k8s.kube.resources import POD
from dask_k8s.kube.sockets import shut_down

PROTOCOL = "v4.channel.k8s.io"
LARGEST_FRAME = 2**16

_DATA, _ERROR = 0, 1


@value
class Heartbeat:
    """Keeps an idle connection alive on its way, and finds out when the other end is gone.

    Parameters
    ----------
    every
        Seconds of silence after which a ping goes out.
    lost_after
        Seconds of silence, pings not answered, after which the connection counts as lost.
    """

    every: float = 20.0
    lost_after: float = 90.0


class Channel:
    """Bytes to and from a Pod's port. One task may receive while another sends."""

    def __init__(self, websocket: aiohttp.ClientWebSocketResponse, where: str, port: int, heartbeat: Heartbeat) -> None:
        self._websocket = websocket
        self._where = where
        self._port = port
        self._heartbeat = heartbeat
        self._begun: set[int] = set()
        self._sending = False

    @classmethod
    async def open(
        cls, client: Client, namespace: str, pod: str, port: int, heartbeat: Heartbeat | None = None
    ) -> Channel:
        """Asks the API server for a connection. That nobody listens in the Pod is told later, by ``receive``."""
        path = POD.path(namespace, pod, "portforward")
        websocket = await client.websocket(path, {"ports": str(port)}, (PROTOCOL,))
        channel = cls(websocket, f"port {port} of Pod {namespace}/{pod}", port, heartbeat or Heartbeat())
        if websocket.protocol != PROTOCOL:
            await channel.close()
            raise Unreachable(f"{channel._where}: the API server does not speak {PROTOCOL}")
        return channel

    async def receive(self) -> bytes:
        """The next bytes, or none when the Pod's side has closed.

        Raises
        ------
        Unreachable
            When the kubelet tells an error, or the connection is lost.
        """
        while True:
            message = await self._message()
            match message.type:
                case aiohttp.WSMsgType.BINARY:
                    if data := self._data(message.data):
                        return data
                case aiohttp.WSMsgType.PING:
                    await self._websocket.pong(message.data)
                case aiohttp.WSMsgType.PONG:
                    pass
                case aiohttp.WSMsgType.CLOSE | aiohttp.WSMsgType.CLOSING:
                    return b""
                case _:
                    raise Unreachable(f"{self._where}: the connection was lost")

    async def send(self, data: bytes) -> None:
        """Sends, and returns when there is room for more."""
        self._sending = True
        try:
            for start in range(0, len(data), LARGEST_FRAME):
                await self._websocket.send_bytes(bytes([_DATA]) + data[start : start + LARGEST_FRAME])
        except (aiohttp.ClientError, OSError) as problem:
            raise Unreachable(f"{self._where}: {problem}") from problem
        finally:
            self._sending = False

    async def close(self) -> None:
        """Ends the connection, which the Pod sees as its peer's end."""
        near = self._websocket.get_extra_info("socket")
        await self._websocket.close()
        if near is not None:
            shut_down(near)

    async def _message(self) -> Any:
        """The next message, with pings into the silence before it.

        Silence counts only while we wait for it: who does not read, because its own reader is slow, hears no pong
        either. And while a send waits for room no ping would get through, so that nothing follows from its silence.
        """
        silent = 0.0
        while True:
            try:
                return await self._websocket.receive(timeout=self._heartbeat.every)
            except TimeoutError:
                silent += self._heartbeat.every
            if self._sending:
                continue
            if silent >= self._heartbeat.lost_after:
                raise Unreachable(f"{self._where}: nothing was heard for {silent:g} s")
            await self._ping()

    async def _ping(self) -> None:
        try:
            await self._websocket.ping()
        except (aiohttp.ClientError, OSError) as problem:
            raise Unreachable(f"{self._where}: {problem}") from problem

    def _data(self, frame: bytes) -> bytes:
        if not frame:
            return b""
        channel, content = frame[0], frame[1:]
        if channel not in self._begun:
            self._begun.add(channel)
            if content[:2] != struct.pack("<H", self._port):
                raise Unreachable(f"{self._where}: the kubelet began with another port")
            content = content[2:]
        if channel == _ERROR and content:
            raise Unreachable(f"{self._where}: {content.decode(errors='replace').strip()}")
        return content if channel == _DATA else b""


async def carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, channel: Channel, linger: float
) -> Unreachable | None:
    """Carries bytes both ways until either side ends; what broke the connection, or None for a proper end.

    The channel is closed then; the writer only after a proper end, so that its holder can tell the error first.

    Parameters
    ----------
    linger
        Seconds of silence from the Pod that end the connection once the near side has sent its last. The protocol
        cannot pass that on, so nobody but the clock knows whether an answer is still to come.
    """
    broken = None
    try:
        await _both_ways(reader, writer, channel, linger)
        writer.close()
        await writer.wait_closed()
    except* Unreachable as problems:
        broken = _first(problems)
    except* OSError:
        # The near side went away: there is nobody to tell.
        pass
    finally:
        await channel.close()
    return broken


def reset(writer: asyncio.StreamWriter) -> None:
    """Breaks a connection at once, unless it is closed already.

    A plain close looks like a proper end to the peer, who would take half an answer for a whole one.
    """
    near = writer.get_extra_info("socket")
    if near.fileno() == -1:
        return
    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _both_ways(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, channel: Channel, linger: float
) -> None:
    now = asyncio.get_running_loop().time
    patience = asyncio.timeout(None)

    async def up() -> None:
        while data := await reader.read(LARGEST_FRAME):
            await channel.send(data)
        if not patience.expired():
            patience.reschedule(now() + linger)

    try:
        async with patience, asyncio.TaskGroup() as group:
            sending = group.create_task(up())
            while data := await channel.receive():
                writer.write(data)
                await writer.drain()
                if patience.when() is not None and not patience.expired():
                    patience.reschedule(now() + linger)
            sending.cancel()
    except TimeoutError:
        if not patience.expired():
            raise


def _first(problems: BaseExceptionGroup[Unreachable]) -> Unreachable:
    problem: BaseException = problems
    while isinstance(problem, BaseExceptionGroup):
        problem = problem.exceptions[0]
    assert isinstance(problem, Unreachable)
    return problem
