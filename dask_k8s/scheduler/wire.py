"""Dask's frames over any stream, with limits before allocation and nothing unpickled.

A message is: uint64 length of the rest, uint64 number of frames, a uint64 length for each, the frames. Frame 0 is
msgpack; the others belong to pickled or serialized values and are read past, never decoded. distributed's own comms
run ``pickle.loads`` on what the peer sends, so any user's scheduler would own an operator that used them.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any, Protocol

import msgpack

from dask_k8s.errors import SchedulerRefused
from dask_k8s.kinds.value import value

_WORD = struct.Struct("<Q")
_PIECE = 1 << 16


class Writer(Protocol):
    """The writing half of a stream; an ``asyncio.StreamWriter`` is one."""

    def write(self, data: bytes) -> None:
        """Send these bytes, some time."""

    async def drain(self) -> None:
        """Wait until more may be written."""

    def close(self) -> None:
        """Begin to close."""

    async def wait_closed(self) -> None:
        """Wait until it is closed."""


@value
class Limits:
    """What a peer may send.

    Parameters
    ----------
    message
        Bytes of one message.
    decoded
        Bytes of its decoded frame: msgpack of so many bytes can become 60 times as much in memory.
    frames
        Frames of one message.
    elements
        Elements of one list or mapping.
    """

    message: int = 64 << 20
    decoded: int = 2 << 20
    frames: int = 4096
    elements: int = 100_000


class Opaque(Enum):
    """A value that travels pickled or serialized and is left as it is."""

    OPAQUE = auto()


def encode(message: Mapping[str, Any]) -> bytes:
    """One message of plain values, as it goes over the wire."""
    frame: bytes = msgpack.packb(message, use_bin_type=True)
    return struct.pack("<QQQ", 16 + len(frame), 1, len(frame)) + frame


async def read(reader: asyncio.StreamReader, limits: Limits) -> Any:
    """The next message, of plain values.

    Raises
    ------
    SchedulerRefused
        Beyond the limits, or where it is no message at all.
    asyncio.IncompleteReadError, OSError
        Where the stream ends or breaks.
    """
    length = await _word(reader)
    if length > limits.message:
        raise SchedulerRefused(f"a message of {length} bytes; at most {limits.message} are read")
    count = await _word(reader)
    if not 1 <= count <= limits.frames:
        raise SchedulerRefused(f"a message of {count} frames; at most {limits.frames} are read")
    sizes = struct.unpack(f"<{count}Q", await reader.readexactly(8 * count))
    if sum(sizes) + 8 * (1 + count) != length:
        raise SchedulerRefused(f"frames of {sum(sizes)} bytes in a message of {length}")
    if sizes[0] > limits.decoded:
        raise SchedulerRefused(f"a frame of {sizes[0]} bytes; at most {limits.decoded} are decoded")
    frame = await reader.readexactly(sizes[0])
    await _skip(reader, sum(sizes[1:]))
    return decode(frame, limits)


def decode(frame: bytes, limits: Limits) -> Any:
    """Plain values from msgpack; what travels pickled or serialized becomes :attr:`Opaque.OPAQUE`."""
    try:
        return msgpack.unpackb(
            frame,
            object_hook=_plain,
            raw=False,
            strict_map_key=False,
            use_list=True,
            max_array_len=limits.elements,
            max_map_len=limits.elements,
            max_ext_len=0,
        )
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise SchedulerRefused(f"a frame that is no message: {type(error).__name__}") from None


async def _word(reader: asyncio.StreamReader) -> int:
    (number,) = _WORD.unpack(await reader.readexactly(_WORD.size))
    return int(number)


async def _skip(reader: asyncio.StreamReader, count: int) -> None:
    """Read past bytes without holding them: a kept connection must be at the next message's start."""
    while count > 0:
        piece = await reader.read(min(count, _PIECE))
        if not piece:
            raise asyncio.IncompleteReadError(b"", count)
        count -= len(piece)


def _plain(content: dict[Any, Any]) -> Any:
    """Undoes Dask's markers for plain values."""
    if "__Set__" in content:
        return content.get("as-list")
    if "__Enum__" in content:
        return content.get("name")
    if "__Pickled__" in content or "__Serialized__" in content or "__ToPickle__" in content:
        return Opaque.OPAQUE
    return content
