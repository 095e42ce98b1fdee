"""One call at a time over one connection, each within its time; what breaks it breaks it for good."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import sys
from collections.abc import Callable
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import msgpack
import pytest
from distributed import Security

from dask_k8s.errors import ApiError, SchedulerRefused, SchedulerSilent
from dask_k8s.scheduler.connection import Connection, Stream, connect
from dask_k8s.scheduler.wire import Limits
from tests.unit.scheduler.servers import HELLO, Reader, Writer, answering, framed, heard, message, serving


async def echo(reader: Reader, writer: Writer) -> None:
    """A scheduler that answers each question with itself."""
    writer.write(message(HELLO))
    await heard(reader)
    while True:
        writer.write(message(await heard(reader)))


async def test_a_call_sends_its_op_and_arguments() -> None:
    """What the caller says about time stays here."""
    async with serving(echo) as address, aclosing(await connect(*address)) as connection:
        assert await connection.call("op", within=5, n=1, workers=["a"]) == {
            "op": "op",
            "reply": True,
            "n": 1,
            "workers": ("a",),
        }


async def test_no_compression_is_asked_for() -> None:
    """Dask compresses only what both sides name."""
    said: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

    async def behave(reader: Reader, writer: Writer) -> None:
        writer.write(message(HELLO))
        said.set_result(await heard(reader))
        await reader.read()

    async with serving(behave) as address, aclosing(await connect(*address)):
        assert (await said)["compression"] is None


async def test_calls_at_once_wait_for_each_other() -> None:
    """A question is sent once the reply to the one before has come."""
    early = []

    async def behave(reader: Reader, writer: Writer) -> None:
        writer.write(message(HELLO))
        await heard(reader)
        while True:
            question = await heard(reader)
            with suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    early.append(await reader.readexactly(1))
            writer.write(message(question["n"]))

    async with serving(behave) as address, aclosing(await connect(*address)) as connection:
        assert await asyncio.gather(*(connection.call("op", n=n) for n in range(3))) == [0, 1, 2]
    assert early == []


@pytest.mark.parametrize("status", ["error", "uncaught-error"])
@pytest.mark.parametrize("field", ["exception_text", "text"])
async def test_an_error_of_the_scheduler_is_an_answer(status: str, field: str) -> None:
    """It bears the scheduler's text, and the connection goes on."""
    error = {"status": status, field: "KeyError('x')", "exception": {"__Serialized__": 1}}
    replies = framed(msgpack.packb(error), b"header", b"pickled"), message(2)
    async with serving(answering(*replies)) as address, aclosing(await connect(*address)) as connection:
        with pytest.raises(SchedulerRefused, match=r"^op: KeyError\('x'\)$"):
            await connection.call("op")
        assert await connection.call("op") == 2


async def test_a_scheduler_s_text_is_one_line_of_bounded_length() -> None:
    """It goes into logs and conditions."""
    error = {"status": "error", "exception_text": "a\nb\x1b[2J" + "x" * 10_000}
    async with serving(answering(message(error))) as address, aclosing(await connect(*address)) as connection:
        with pytest.raises(SchedulerRefused) as refused:
            await connection.call("op")
    assert str(refused.value).startswith("op: a b [2Jxxx")
    assert len(str(refused.value)) == 500


Breaks = Callable[[Connection], Any]


async def cancelled(connection: Connection) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await connection.call("op")


async def late(connection: Connection) -> None:
    with pytest.raises(SchedulerSilent, match=r"^op: no whole answer within 0\.05 s$"):
        await connection.call("op", within=0.05)


async def closed(connection: Connection) -> None:
    await connection.aclose()


@pytest.mark.parametrize("broken", [cancelled, late, closed])
async def test_a_broken_connection_is_not_used_again(broken: Breaks) -> None:
    """A reply that comes late would be taken for the next question's."""
    async with serving(answering()) as address, aclosing(await connect(*address)) as connection:
        await broken(connection)
        assert connection.closed
        with pytest.raises(SchedulerSilent, match=r"^op: the connection to the scheduler is closed$"):
            await connection.call("op")


async def test_closing_ends_a_call_that_is_under_way() -> None:
    """It is silence for who waits."""
    asked = asyncio.Event()

    async def behave(reader: Reader, writer: Writer) -> None:
        writer.write(message(HELLO))
        await heard(reader)
        await heard(reader)
        asked.set()
        await reader.read()

    async with serving(behave) as address, aclosing(await connect(*address)) as connection:
        call = asyncio.ensure_future(connection.call("op"))
        await asked.wait()
        await connection.aclose()
        with pytest.raises(SchedulerSilent):
            await call


async def test_a_closed_connection_leaves_no_socket() -> None:
    """The other side sees its end."""
    ended = asyncio.Event()

    async def behave(reader: Reader, writer: Writer) -> None:
        await answering()(reader, writer)
        ended.set()

    async with serving(behave) as address:
        connection = await connect(*address)
        await connection.aclose()
        await connection.aclose()
        async with asyncio.timeout(5):
            await ended.wait()


async def test_nobody_there_is_silence() -> None:
    """A port where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        address = held.getsockname()
    with pytest.raises(SchedulerSilent, match=f"^No scheduler answers at 127.0.0.1:{address[1]}: "):
        await connect(*address)


async def test_no_answer_to_the_handshake_is_silence() -> None:
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as held, pytest.raises(SchedulerSilent, match=r"within 0\.05 s$"):
        await connect(*held.getsockname(), timeout=0.05)


@pytest.mark.parametrize("hello", [[], "hello", None, {"status": "OK"}])
async def test_who_does_not_speak_dask_is_refused(hello: Any) -> None:
    """Frames alone do not make a scheduler."""
    async with serving(answering(hello=message(hello))) as address:
        with pytest.raises(SchedulerRefused, match=r"^the handshake: The handshake is not Dask's$"):
            await connect(*address)


async def test_a_stream_can_be_opened_in_another_way() -> None:
    """A port-forward, for who stands outside; the host is a name then."""
    async with serving(echo) as address:

        async def forward() -> Stream:
            return await asyncio.open_connection(*address)

        async with aclosing(await connect("simple-scheduler", 8786, open_stream=forward)) as connection:
            assert (await connection.call("op"))["op"] == "op"


async def test_why_a_stream_cannot_be_opened_is_told() -> None:
    """An error of the API server is its caller's."""

    async def forbidden() -> Stream:
        raise ApiError(403, "Forbidden", "no port-forward for you")

    with pytest.raises(ApiError, match="no port-forward for you"):
        await connect("simple-scheduler", 8786, open_stream=forbidden)


@pytest.mark.parametrize("forwarded", [False, True], ids=["straight", "through a stream"])
async def test_the_same_frames_go_through_tls(forwarded: bool) -> None:
    """With Dask's own certificates, straight and over any stream."""
    security = Security.temporary()
    server = security.get_listen_args("scheduler")["ssl_context"]
    client = security.get_connection_args("client")["ssl_context"]
    assert isinstance(client, ssl.SSLContext)
    async with serving(echo, ssl=server) as address:

        async def forward() -> Stream:
            return await asyncio.open_connection(*address)

        connection = await connect(*address, ssl=client, open_stream=forward if forwarded else None)
        async with aclosing(connection):
            assert (await connection.call("op"))["op"] == "op"


async def test_who_does_not_speak_tls_is_silence() -> None:
    """A handshake of TLS that gets something else."""
    client = Security.temporary().get_connection_args("client")["ssl_context"]
    async with serving(echo) as address:
        with pytest.raises(SchedulerSilent):
            await connect(*address, ssl=client, timeout=5)


async def test_a_scheduler_that_does_not_listen_is_silence() -> None:
    """A question that fills every buffer on the way waits no longer than an answer."""

    async def deaf(reader: Reader, writer: Writer) -> None:
        writer.write(message(HELLO))
        await heard(reader)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    async with serving(deaf) as address:
        connection = await connect(*address, limits=Limits(seconds=0.2))
        with pytest.raises(SchedulerSilent):
            await connection.call("op", much=b"x" * (32 << 20))


def to(address: tuple[str, int]) -> socket.socket:
    """The socket whose other end is there."""
    for fd in Path("/proc/self/fd").iterdir():
        with suppress(OSError), socket.socket(fileno=os.dup(int(fd.name))) as found:
            if found.getpeername() == address:
                return found.dup()
    raise LookupError(address)


@pytest.mark.skipif(sys.platform != "linux", reason="The system's own limits are looked at")
async def test_a_peer_that_is_gone_without_a_word_is_found_within_a_minute() -> None:
    """However long a call may take: by probes while nothing is sent, and by what is never acknowledged."""
    async with serving(echo) as address, aclosing(await connect(*address)):
        with to(address) as found:
            assert found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            idle, interval, count, unacknowledged = (
                found.getsockopt(socket.IPPROTO_TCP, getattr(socket, f"TCP_{name}"))
                for name in ("KEEPIDLE", "KEEPINTVL", "KEEPCNT", "USER_TIMEOUT")
            )
    assert idle + interval * count <= 60
    assert unacknowledged == 60_000


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 99_999), ("x" * 64 + ".invalid", 8786)])
async def test_what_is_no_address_is_silent(host: str, port: int) -> None:
    """It comes from a manifest that anybody may write: it ends a conversation, and not an operator."""
    with pytest.raises(SchedulerSilent, match="No scheduler answers at"):
        await connect(host, port)
