"""Frames over a stream: whatever comes, a value comes out or one of two errors."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_k8s.errors import SchedulerRefused, SchedulerSilent, Unreachable
from dask_k8s.scheduler.wire import Limits, encode, read
from tests.unit.scheduler.servers import framed, message

LIMITS = Limits(size=1_000, frames=10, elements=100)
VALUE = {"op": "identity", "n": [1, 2.5, None, True, "é", b"\x00"]}
WORDS = st.sampled_from([0, 1, 8, 16, 24, 999, 1_000, 1_001, 2**31, 2**63, 2**64 - 1]) | st.integers(0, 2**64 - 1)


async def received(stream: bytes, limits: Limits = LIMITS) -> Any:
    """What is read from a stream that ends after these bytes."""
    reader = asyncio.StreamReader()
    reader.feed_data(stream)
    reader.feed_eof()
    return await read(reader, limits)


async def test_what_is_encoded_is_read() -> None:
    """Both directions have one format."""
    assert await received(encode(VALUE)) == {"op": "identity", "n": (1, 2.5, None, True, "é", b"\x00")}


async def test_frames_that_nobody_reads_are_passed_over() -> None:
    """The next message begins where they end."""
    reader = asyncio.StreamReader()
    reader.feed_data(framed(msgpack.packb(1), b"pickled", b"", b"more") + message(2))
    assert [await read(reader, LIMITS), await read(reader, LIMITS)] == [1, 2]


async def test_frames_beyond_the_first_length_are_passed_over_too() -> None:
    """Dask writes large buffers outside of the block whose length it gives first."""
    first = msgpack.packb(1)
    lengths = struct.pack("<3Q", 2, len(first), 500)
    reader = asyncio.StreamReader()
    reader.feed_data(struct.pack("<Q", len(lengths) + len(first)) + lengths + first + bytes(500) + message(2))
    assert [await read(reader, LIMITS), await read(reader, LIMITS)] == [1, 2]


@given(st.binary(max_size=100))
def test_any_bytes_end_in_a_value_or_an_error(stream: bytes) -> None:
    """Nothing else is raised, whatever comes."""
    with_outcome(stream)


@given(WORDS, WORDS, st.lists(WORDS, max_size=4), st.binary(max_size=100))
def test_any_lengths_end_in_a_value_or_an_error(length: int, count: int, lengths: list[int], rest: bytes) -> None:
    """Lengths that look right, or almost, get past the first checks."""
    with_outcome(struct.pack(f"<{2 + len(lengths)}Q", length, count, *lengths) + rest)


@given(st.binary(max_size=100), st.lists(st.binary(max_size=10), max_size=3))
def test_any_frames_end_in_a_value_or_an_error(first: bytes, others: list[bytes]) -> None:
    """Frames of any content, rightly framed."""
    with_outcome(framed(first, *others))


@given(st.integers(0, 200))
def test_a_message_that_is_cut_is_silence(size: int) -> None:
    """Wherever it ends."""
    whole = framed(msgpack.packb(VALUE), b"x" * 100)
    with pytest.raises(SchedulerSilent):
        asyncio.run(received(whole[: min(size, len(whole) - 1)]))


def with_outcome(stream: bytes) -> None:
    """Read it to one of the three ends that there are."""
    with contextlib.suppress(SchedulerRefused, SchedulerSilent):
        asyncio.run(received(stream))


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(struct.pack("<QQ", 1_001, 1), id="a length above the limit"),
        pytest.param(struct.pack("<QQ", 2**63, 1), id="a length of 2**63"),
        pytest.param(struct.pack("<QQ", 900, 11), id="a frame too many"),
        pytest.param(struct.pack("<QQ", 900, 10**6), id="a million frames"),
        pytest.param(struct.pack("<QQ", 900, 0), id="no frame"),
        pytest.param(struct.pack("<QQQ", 900, 1, 2**63), id="a frame above the limit"),
        pytest.param(struct.pack("<QQQQ", 900, 2, 876, 2**64 - 1), id="a sum above the limit"),
        pytest.param(struct.pack("<QQQ", 17, 1, 2) + b"\x01\x01", id="lengths that contradict each other"),
        pytest.param(struct.pack("<QQQ", 8, 1, 1) + b"\x01", id="a block that is shorter than its lengths"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="another protocol"),
    ],
)
async def test_what_is_beyond_limits_is_refused_at_once(stream: bytes) -> None:
    """Without waiting for what it announces: the stream goes on."""
    reader = asyncio.StreamReader()
    reader.feed_data(stream)
    async with asyncio.timeout(5):
        with pytest.raises(SchedulerRefused):
            await read(reader, LIMITS)


async def test_what_ends_a_port_forward_is_silence() -> None:
    """Its stream raises the API server's errors."""
    reader = asyncio.StreamReader()
    reader.set_exception(Unreachable("the API server is gone"))
    with pytest.raises(SchedulerSilent, match="the API server is gone"):
        await read(reader, LIMITS)
