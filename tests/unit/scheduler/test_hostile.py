"""A scheduler is a user's program, and may do anything: it ends in an error, in time and in little memory.

The same behaviours are tried in place of the handshake and in place of a reply.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import struct
import tracemalloc
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgpack
import pytest
from distributed.protocol import Serialize, ToPickle, dumps

from dask_k8s.errors import SchedulerRefused, SchedulerSilent
from dask_k8s.scheduler.connection import connect
from dask_k8s.scheduler.rpc import SchedulerRpc
from dask_k8s.scheduler.wire import Limits
from tests.unit.scheduler.servers import HELLO, Behaviour, Reader, Writer, answering, framed, heard, message, serving

SECONDS = 0.5
GRACE = 2.0
"""Seconds that a busy machine may take over and above the deadline."""

MEMORY = 48 << 20
"""One reply at its limit, once as it comes and once as one piece, and what is made of it."""


class Bomb:
    """What its unpickling does is to make a directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def announced(length: int, count: int, *lengths: int, then: bytes = b"") -> bytes:
    """The beginning of a message, and what comes after it."""
    return struct.pack(f"<{2 + len(lengths)}Q", length, count, *lengths) + then


MEGABYTE = bytes(1 << 20)


def once(data: bytes) -> Behaviour:
    """Says this and is silent then."""

    async def behave(reader: Reader, writer: Writer) -> None:
        writer.write(data)
        await reader.read()

    return behave


def endlessly(begin: bytes, piece: bytes) -> Behaviour:
    """Says this, and then goes on as fast as it is heard."""

    async def behave(reader: Reader, writer: Writer) -> None:
        writer.write(begin)
        while True:
            writer.write(piece)
            await writer.drain()

    return behave


def slowly(data: bytes) -> Behaviour:
    """A byte now and then: each one in time, all of them never."""

    async def behave(reader: Reader, writer: Writer) -> None:
        for byte in data:
            writer.write(bytes([byte]))
            await asyncio.sleep(SECONDS / 10)

    return behave


async def leaves(reader: Reader, writer: Writer) -> None:
    """Says nothing and closes."""


async def leaves_in_the_middle(reader: Reader, writer: Writer) -> None:
    """Closes within a frame."""
    writer.write(message({"workers": {}})[:-3])
    await writer.drain()
    writer.close()
    await writer.wait_closed()


SIZE = Limits().size
BEHAVIOURS: dict[str, Behaviour] = {
    "silence": once(b""),
    "half a length": once(b"\x18\x00\x00"),
    "closes": leaves,
    "closes in the middle": leaves_in_the_middle,
    "a byte now and then": slowly(message({"workers": {str(n): {} for n in range(1_000)}})),
    "a length of 2**63": once(announced(2**63, 1, 2**63 - 16)),
    "a million frames": once(announced(SIZE, 10**6, then=MEGABYTE)),
    "a million messages": endlessly(b"", framed(b"\xc0") * 1_000),
    "endless bytes": endlessly(b"", MEGABYTE),
    "an endless frame": endlessly(announced(2**62, 1, 2**62 - 16), MEGABYTE),
    "an endless frame that nobody reads": endlessly(announced(25, 2, 1, 2**62, then=b"\xc0"), MEGABYTE),
    "a frame at the limit that never ends": once(announced(SIZE, 1, SIZE - 16, then=MEGABYTE)),
    "a frame at the limit of empty maps": once(
        announced(SIZE, 1, SIZE - 16, then=b"\xdd" + struct.pack(">I", SIZE - 21) + b"\x80" * (SIZE - 21))
    ),
    "arrays in arrays": once(framed(b"\x91" * 100_000 + b"\x01")),
    "four billion elements": once(framed(b"\xdd\xff\xff\xff\xff" * 1_000)),
    "no msgpack": once(framed(b"\xc1" * 100)),
    "compressed": once(framed(b"\x04\x22\x4d\x18" * 10)),
    "another protocol": once(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"),
}


def as_a_reply(behaviour: Behaviour) -> Behaviour:
    """A scheduler whose handshake is right."""

    async def behave(reader: Reader, writer: Writer) -> None:
        writer.write(message(HELLO))
        await heard(reader)
        await heard(reader)
        await behaviour(reader, writer)

    return behave


async def asked(address: tuple[str, int]) -> Any:
    """A connection, and a question over it."""
    connection = await connect(*address, limits=Limits(seconds=SECONDS), timeout=SECONDS)
    async with aclosing(connection):
        return await SchedulerRpc(connection).identity()


@pytest.mark.parametrize("place", [lambda behaviour: behaviour, as_a_reply], ids=["handshake", "reply"])
@pytest.mark.parametrize("behaviour", BEHAVIOURS.values(), ids=BEHAVIOURS.keys())
async def test_a_hostile_scheduler_ends_in_an_error(
    behaviour: Behaviour, place: Callable[[Behaviour], Behaviour]
) -> None:
    """In one of two, within its time, and in bounded memory."""
    async with serving(place(behaviour)) as address:
        loop = asyncio.get_running_loop()
        tracemalloc.start()
        began = loop.time()
        try:
            with pytest.raises((SchedulerRefused, SchedulerSilent)):
                await asked(address)
            assert loop.time() - began < 2 * SECONDS + GRACE
            assert tracemalloc.get_traced_memory()[1] < MEMORY
        finally:
            tracemalloc.stop()


def pickles(value: Any) -> bytes:
    """A message as distributed itself writes it."""
    return framed(*map(bytes, dumps(value)))


@pytest.mark.parametrize("wrapped", [ToPickle, Serialize], ids=["pickled", "serialized"])
@pytest.mark.parametrize("place", ["handshake", "reply", "field", "error"])
async def test_nothing_that_is_sent_is_unpickled(wrapped: Callable[[Any], Any], place: str, tmp_path: Path) -> None:
    """Neither in the handshake, nor as a reply, nor within one, nor as an exception."""
    trace = tmp_path / "ran"
    bomb = wrapped(Bomb(trace))
    sent = {
        "handshake": answering(message(None), hello=pickles({**HELLO, "extra": bomb})),
        "reply": answering(pickles(bomb)),
        "field": answering(pickles({"id": "Scheduler-1", "workers": bomb})),
        "error": answering(pickles({"status": "uncaught-error", "exception": bomb, "traceback": bomb})),
    }[place]
    async with serving(sent) as address:
        with pytest.raises(SchedulerRefused):
            await asked(address)
    assert not trace.exists()


@pytest.mark.parametrize("wrapped", [ToPickle, Serialize], ids=["pickled", "serialized"])
def test_the_pickles_of_these_tests_do_run(wrapped: Callable[[Any], Any], tmp_path: Path) -> None:
    """The test above could fail: the same frames, read by who trusts them."""
    trace = tmp_path / "ran"
    first, header, *frames = map(bytes, dumps({"bomb": wrapped(Bomb(trace))}))
    assert any(marker in msgpack.unpackb(first)["bomb"] for marker in ("__Pickled__", "__Serialized__"))
    pickle.loads(msgpack.unpackb(header).get("pickled-obj") or b"".join(frames))
    assert trace.exists()


async def test_what_comes_after_a_reply_is_not_the_next_one_s() -> None:
    """Replies that nobody asked for are read as what they are: nonsense, or answers of the wrong type."""
    async with serving(answering(message(7) + message("unasked"))) as address:
        connection = await connect(*address, limits=Limits(seconds=SECONDS))
        async with aclosing(connection):
            rpc = SchedulerRpc(connection)
            assert await rpc.adaptive_target() == 7
            with pytest.raises(SchedulerRefused, match="must be a whole number, not str"):
                await rpc.adaptive_target()


async def test_a_kept_connection_that_is_flooded_holds_little() -> None:
    """While nobody asks, a stream takes no more than its buffer."""
    flood = as_a_reply(endlessly(message(1), MEGABYTE))
    async with serving(flood) as address:
        connection = await connect(*address, limits=Limits(seconds=SECONDS))
        async with aclosing(connection):
            tracemalloc.start()
            try:
                assert await SchedulerRpc(connection).adaptive_target() == 1
                for _ in range(200):
                    await asyncio.sleep(0)
                assert tracemalloc.get_traced_memory()[1] < 8 << 20
            finally:
                tracemalloc.stop()
