"""Connections into a Pod, against a kubelet's side of the wire: everything arrives, and nothing stays behind."""

from __future__ import annotations

import asyncio
import os
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from dask_k8s.errors import Missing, NotFound, Unreachable
from dask_k8s.kube.channel import PROTOCOL, Heartbeat
from dask_k8s.kube.client import Client
from dask_k8s.kube.credentials import Credentials
from dask_k8s.kube.portforward import PortForward, open_stream

PORT = 8786
Pod = Callable[["Wire"], Awaitable[None]]


class Wire:
    """What a program in the Pod has of the connection, as the kubelet passes it on."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self.socket = socket

    async def read(self) -> bytes:
        """The next bytes that came, or none when the connection is closed."""
        message = await self.socket.receive()
        if message.type is not aiohttp.WSMsgType.BINARY:
            return b""
        frame: bytes = message.data
        assert frame[0] == 0
        return frame[1:]

    async def write(self, data: bytes) -> None:
        await self.socket.send_bytes(b"\x00" + data)

    async def fail(self, text: str) -> None:
        await self.socket.send_bytes(b"\x01" + text.encode())


async def echo(wire: Wire) -> None:
    while data := await wire.read():
        await wire.write(data)


async def nobody_headers() -> Mapping[str, str]:
    return {}


async def nobody_refreshes() -> None:
    raise AssertionError


@asynccontextmanager
async def kubelet(pods: Mapping[str, Pod]) -> AsyncIterator[Client]:
    """A client whose API server leads to these Pods, by name; any other name is a 404."""

    async def forward(request: web.Request) -> web.StreamResponse:
        pod = pods.get(request.match_info["pod"])
        if pod is None:
            raise web.HTTPNotFound
        assert request.query["ports"] == str(PORT)
        socket = web.WebSocketResponse(protocols=(PROTOCOL,), max_msg_size=0)
        await socket.prepare(request)
        for channel in (0, 1):
            await socket.send_bytes(bytes([channel]) + struct.pack("<H", PORT))
        await pod(Wire(socket))
        await socket.close()
        return socket

    app = web.Application()
    app.router.add_get("/api/v1/namespaces/ns/pods/{pod}/portforward", forward)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0]
    credentials = Credentials(
        server=f"http://{host}:{port}",
        tls=lambda: None,
        headers=nobody_headers,
        refresh=nobody_refreshes,
        namespace=None,
        proxy=None,
        server_hostname=None,
        in_cluster=False,
    )
    try:
        async with Client(credentials) as client:
            yield client
    finally:
        await runner.cleanup()


@asynccontextmanager
async def connected(
    address: tuple[str, int],
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a local port, closed at the end, all within ten seconds."""
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(*address)
        try:
            yield reader, writer
        finally:
            await closed(writer)


@asynccontextmanager
async def streaming(
    client: Client, heartbeat: Heartbeat | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A stream into the Pod named pod, closed at the end, all within ten seconds."""
    async with asyncio.timeout(10):
        reader, writer = await open_stream(client, "ns", "pod", PORT, heartbeat)
        try:
            yield reader, writer
        finally:
            await closed(writer)


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


def to(pod: str) -> Callable[[], Awaitable[tuple[str, str] | None]]:
    async def resolve() -> tuple[str, str]:
        return "ns", pod

    return resolve


async def test_everything_arrives_both_ways() -> None:
    """More bytes than any buffer on the way holds, in both directions at once."""
    sent = os.urandom(2**20) * 8
    async with kubelet({"pod": echo}) as client, PortForward(client, to("pod"), PORT) as forward:
        async with connected(forward.address) as (reader, writer), asyncio.TaskGroup() as group:
            writer.write(sent)
            group.create_task(writer.drain())
            assert await reader.readexactly(len(sent)) == sent
        assert forward.last_error is None


async def test_a_stream_needs_no_port() -> None:
    """``open_stream`` gives what ``asyncio.open_connection`` gives."""
    async with kubelet({"pod": echo}) as client, streaming(client) as (reader, writer):
        writer.write(b"ping")
        await writer.drain()
        assert await reader.readexactly(4) == b"ping"


async def test_each_connection_asks_for_the_pod_anew() -> None:
    """A Pod that was replaced is reached by the next connection."""

    def says(name: bytes) -> Pod:
        async def pod(wire: Wire) -> None:
            await wire.write(name)

        return pod

    names = iter(["first", "second"])

    async def resolve() -> tuple[str, str]:
        return "ns", next(names)

    pods = {"first": says(b"1"), "second": says(b"2")}
    async with kubelet(pods) as client, PortForward(client, resolve, PORT) as forward:
        for answer in (b"1", b"2"):
            async with connected(forward.address) as (reader, _):
                assert await reader.read() == answer


async def test_no_pod_refuses_at_once() -> None:
    """While there is no Pod a connection is reset, and ``last_error`` says why."""

    async def resolve() -> None:
        return None

    async with kubelet({}) as client, PortForward(client, resolve, PORT) as forward:
        async with connected(forward.address) as (reader, _):
            with pytest.raises(ConnectionResetError):
                await reader.read()
        assert isinstance(forward.last_error, NotFound)


async def test_a_pod_that_went_refuses_at_once() -> None:
    """The API server's 404 is told as what it is."""
    async with kubelet({}) as client, PortForward(client, to("pod"), PORT) as forward:
        async with connected(forward.address) as (reader, _):
            with pytest.raises(ConnectionResetError):
                await reader.read()
        assert isinstance(forward.last_error, Missing)
        with pytest.raises(Missing):
            await open_stream(client, "ns", "pod", PORT)


async def refuse(wire: Wire) -> None:
    await wire.fail("dial tcp4 127.0.0.1:8786: connect: connection refused")
    await wire.read()


async def test_the_kubelets_error_is_told() -> None:
    """Nobody listens in the Pod: the connection breaks, with the kubelet's words."""
    async with kubelet({"pod": refuse}) as client, PortForward(client, to("pod"), PORT) as forward:
        async with connected(forward.address) as (reader, _):
            with pytest.raises(ConnectionResetError):
                await reader.read()
            await until(lambda: forward.last_error is not None)
        assert "port 8786 of Pod ns/pod: dial tcp4" in str(forward.last_error)

        async with streaming(client) as (reader, _):
            with pytest.raises(Unreachable, match="connection refused"):
                await reader.readexactly(1)


async def test_half_an_answer_is_no_whole_one() -> None:
    """A connection that breaks in the middle is reset, and not closed as if that were the end."""

    async def breaks(wire: Wire) -> None:
        await wire.write(b"half")
        assert wire.socket._req is not None
        transport = wire.socket._req.transport
        assert transport is not None
        transport.abort()

    async with kubelet({"pod": breaks}) as client, PortForward(client, to("pod"), PORT) as forward:
        async with connected(forward.address) as (reader, _):
            with pytest.raises(ConnectionResetError):
                await reader.read()
        assert "lost" in str(forward.last_error)


async def test_an_answer_after_the_last_word_still_arrives() -> None:
    """The near side has sent all and says so: what the Pod still sends is delivered."""

    async def answers_late(wire: Wire) -> None:
        assert await wire.read() == b"question"
        await asyncio.sleep(0.05)
        await wire.write(b"answer")

    async with (
        kubelet({"pod": answers_late}) as client,
        PortForward(client, to("pod"), PORT) as forward,
        connected(forward.address) as (reader, writer),
    ):
        writer.write(b"question")
        writer.write_eof()
        assert await reader.read() == b"answer"


async def test_silence_after_the_last_word_ends_the_connection() -> None:
    """A client that went away holds no connection to the Pod for longer than the linger."""
    ended = asyncio.Event()

    async def listens(wire: Wire) -> None:
        while await wire.read():
            pass
        ended.set()

    async with kubelet({"pod": listens}) as client, PortForward(client, to("pod"), PORT, linger=0.05) as forward:
        async with connected(forward.address):
            pass
        async with asyncio.timeout(10):
            await ended.wait()


async def test_a_slow_reader_holds_the_pod_back() -> None:
    """Bytes that nobody reads stay in the Pod, beyond what the buffers on the way hold."""
    sent, whole = 0, 2000 * 2**16

    async def floods(wire: Wire) -> None:
        nonlocal sent
        while sent < whole:
            await wire.write(bytes(2**16))
            sent += 2**16

    async with (
        kubelet({"pod": floods}) as client,
        PortForward(client, to("pod"), PORT) as forward,
        connected(forward.address) as (reader, _),
    ):
        await until(lambda: sent > 0)
        await settled(lambda: sent)
        assert sent < whole
        assert len(await reader.readexactly(whole)) == whole


async def test_a_slow_reader_is_not_taken_for_a_lost_connection() -> None:
    """Who does not read hears no pong; that is no sign of anything."""
    whole = 400 * 2**15

    async def floods(wire: Wire) -> None:
        for _ in range(400):
            await wire.write(bytes(2**15))
        await wire.read()

    heartbeat = Heartbeat(every=0.02, lost_after=0.1)
    async with (
        kubelet({"pod": floods}) as client,
        PortForward(client, to("pod"), PORT, heartbeat=heartbeat) as forward,
        connected(forward.address) as (reader, _),
    ):
        await asyncio.sleep(0.5)
        assert len(await reader.readexactly(whole)) == whole


async def test_an_idle_connection_lives_on_pings() -> None:
    """Silence longer than the limit does no harm while pings are answered."""

    async def idles(wire: Wire) -> None:
        async with asyncio.TaskGroup() as group:
            answering_pings = group.create_task(wire.read())
            await asyncio.sleep(0.5)
            await wire.write(b"still here")
            await answering_pings

    heartbeat = Heartbeat(every=0.02, lost_after=0.1)
    async with kubelet({"pod": idles}) as client, streaming(client, heartbeat) as (reader, _):
        assert await reader.readexactly(10) == b"still here"


async def test_an_end_that_answers_no_ping_is_lost() -> None:
    """A connection whose other end is gone without a word breaks."""

    async def dead(wire: Wire) -> None:
        await asyncio.sleep(0.6)

    heartbeat = Heartbeat(every=0.02, lost_after=0.1)
    async with kubelet({"pod": dead}) as client, streaming(client, heartbeat) as (reader, _):
        with pytest.raises(Unreachable, match="nothing was heard"):
            await reader.readexactly(1)


async def test_nothing_stays_behind() -> None:
    """Closing with connections open leaves no task, no socket and no thread."""

    def there() -> tuple[int, int, int]:
        return len(asyncio.all_tasks()), len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    async with kubelet({"pod": echo}) as client:
        async with streaming(client) as (reader, writer):
            await said(b"x", reader, writer)
        await settled(there)
        before = there()
        async with PortForward(client, to("pod"), PORT) as forward:
            ends = [await asyncio.open_connection(*forward.address) for _ in range(5)]
            for reader, writer in ends:
                await said(b"y", reader, writer)
        for _, writer in ends:
            await closed(writer)
        async with streaming(client) as (reader, writer):
            await said(b"z", reader, writer)
        async with asyncio.timeout(10):
            await until(lambda: there() == before)


async def test_an_error_in_the_body_comes_out_as_it_is() -> None:
    """The port-forward wraps nobody's error in a group."""
    async with kubelet({}) as client:
        with pytest.raises(KeyError):
            async with PortForward(client, to("pod"), PORT):
                raise KeyError


async def said(text: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says something to an echo, and hears it."""
    writer.write(text)
    await writer.drain()
    assert await reader.readexactly(len(text)) == text


async def until(condition: Callable[[], bool]) -> None:
    """Waits for it; the deadline is the caller's."""
    while not condition():
        await asyncio.sleep(0.01)


async def settled(figure: Callable[[], object]) -> None:
    """Waits until a figure holds still."""
    before = object()
    while before != (now := figure()):
        before = now
        await asyncio.sleep(0.2)
