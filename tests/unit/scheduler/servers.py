"""Servers on loopback that speak Dask's frames as they like."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgpack

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
Behaviour = Callable[[Reader, Writer], Awaitable[None]]
HELLO = {"compression": "lz4", "python": [3, 12, 1], "pickle-protocol": 5}


def framed(*frames: bytes) -> bytes:
    """A message of these frames."""
    lengths = struct.pack(f"<{len(frames) + 1}Q", len(frames), *map(len, frames))
    body = lengths + b"".join(frames)
    return struct.pack("<Q", len(body)) + body


def message(value: Any) -> bytes:
    """A message of one plain value."""
    return framed(msgpack.packb(value))


async def heard(reader: asyncio.StreamReader) -> dict[str, Any]:
    """The next message that came, and that has one frame."""
    length, _, first = struct.unpack("<QQQ", await reader.readexactly(24))
    assert length == 16 + first
    value: dict[str, Any] = msgpack.unpackb(await reader.readexactly(first))
    return value


@asynccontextmanager
async def serving(
    behaviour: Behaviour, host: str = "127.0.0.1", port: int = 0, **options: Any
) -> AsyncIterator[tuple[str, int]]:
    """Host and port of a server; its conversations end with the block."""
    conversations: set[asyncio.Task[None]] = set()

    def accept(reader: Reader, writer: Writer) -> None:
        conversation = asyncio.ensure_future(converse(reader, writer))
        conversations.add(conversation)
        conversation.add_done_callback(conversations.discard)

    async def converse(reader: Reader, writer: Writer) -> None:
        try:
            await behaviour(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the other side has had enough
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(accept, host, port, **options)
    try:
        yield server.sockets[0].getsockname()[:2]
    finally:
        server.close()
        held = tuple(conversations)
        for conversation in held:
            conversation.cancel()
        await asyncio.gather(*held, return_exceptions=True)


def answering(*replies: bytes, hello: bytes | None = None) -> Behaviour:
    """A scheduler that says hello, and then one reply to each question, whatever it is; then it is silent."""

    async def behave(reader: Reader, writer: Writer) -> None:
        writer.write(message(HELLO) if hello is None else hello)
        await heard(reader)
        for reply in replies:
            await heard(reader)
            writer.write(reply)
        await reader.read()

    return behave
