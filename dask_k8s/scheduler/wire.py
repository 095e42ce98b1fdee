"""Dask's frames over a stream, within bounds that hold before anything is allocated.

A message is the length of what follows, the number of frames, the length of each, and the frames: 64 bits each,
little-endian. Large frames may stand beyond that first length, but they follow at once, so on a stream it makes no
difference. The first frame is msgpack; the others belong to pickled and serialized values, and are passed over.
Nothing is compressed that is read here: a handshake that asks for none gets none.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import msgpack

from dask_k8s.errors import AnswerTooLarge, DaskK8sError, SchedulerError, SchedulerRefused, SchedulerSilent
from dask_k8s.kinds.value import value
from dask_k8s.scheduler.plain import decode

CHUNK = 1 << 16
"""Bytes that are held at most of a frame that nobody reads."""


@value
class Limits:
    """How much of a scheduler is listened to.

    Parameters
    ----------
    size
        Bytes of one reply, frames that are passed over included. 1,000 workers' identity has 0.9 MB.
    frames
        Frames of one reply.
    elements
        Values of one reply, those in containers included. 1,000 workers' identity has less than 100,000.
    depth
        How deep containers may stand in each other.
    seconds
        From the beginning of a call to the end of its reply, where the call does not say otherwise.
    """

    size: int = 16 << 20
    frames: int = 1_000
    elements: int = 1_000_000
    depth: int = 32
    seconds: float = 10.0


def reason(error: BaseException) -> str:
    """What an error says, or its name where it says nothing, as a reset does."""
    return str(error) or type(error).__name__


def encode(message: Mapping[str, Any]) -> bytes:
    """A message of plain values as it goes over the wire."""
    frame: bytes = msgpack.packb(message, use_bin_type=True)
    return struct.pack("<QQQ", 16 + len(frame), 1, len(frame)) + frame


async def read(reader: asyncio.StreamReader, limits: Limits) -> Any:
    """One whole message: its value, with OPAQUE for what was pickled or serialized.

    It has no deadline of its own.

    Raises
    ------
    SchedulerSilent
        Where the stream ends or breaks.
    AnswerTooLarge, SchedulerRefused
        Where it is beyond the limits, or is not Dask's.
    """
    try:
        first, *others = await _lengths(reader, limits)
        frame = await reader.readexactly(first)
        await _skip(reader, sum(others))
    except asyncio.IncompleteReadError as error:
        raise SchedulerSilent("The scheduler closed the connection") from error
    except SchedulerError:
        raise
    except (OSError, DaskK8sError) as error:  # what a port-forward's stream ends with, too
        raise SchedulerSilent(f"The connection to the scheduler broke: {reason(error)}") from error
    return decode(frame, elements=limits.elements, depth=limits.depth)


async def _lengths(reader: asyncio.StreamReader, limits: Limits) -> Sequence[int]:
    """The length of each frame of the message that begins here."""
    length, count = struct.unpack("<QQ", await reader.readexactly(16))
    if length > limits.size:
        raise AnswerTooLarge(f"A reply of {length} bytes; {limits.size} are read at most")
    if not 1 <= count <= limits.frames:
        raise SchedulerRefused(f"A reply of {count} frames; 1 to {limits.frames} are read")
    lengths = struct.unpack(f"<{count}Q", await reader.readexactly(8 * count))
    if sum(lengths) > limits.size:
        raise AnswerTooLarge(f"A reply of {sum(lengths)} bytes; {limits.size} are read at most")
    if length - 8 * (1 + count) not in accumulate(lengths):
        raise SchedulerRefused("The lengths of a reply contradict each other")
    return lengths


async def _skip(reader: asyncio.StreamReader, size: int) -> None:
    while size:
        piece = await reader.read(min(size, CHUNK))
        if not piece:
            raise asyncio.IncompleteReadError(b"", size)
        size -= len(piece)
