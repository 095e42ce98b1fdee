"""What msgpack says is what comes out, within bounds; whatever else comes is refused before anything is made of it."""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_k8s.errors import SchedulerRefused
from dask_k8s.scheduler.plain import OPAQUE, decode

BOUNDS = {"elements": 10_000, "depth": 32}

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.sampled_from([b"x" * 300, b"x" * 70_000, "x" * 40, "x" * 300, "x" * 70_000])
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


def frozen(value: Any) -> Any:
    """A value with tuples in place of lists."""
    match value:
        case list():
            return tuple(map(frozen, value))
        case dict():
            return {key: frozen(inner) for key, inner in value.items()}
        case _:
            return value


@given(VALUES)
def test_plain_values_come_out_as_they_went_in(value: Any) -> None:
    """Lists come out as tuples; nothing else changes."""
    assert decode(msgpack.packb(value), **BOUNDS) == frozen(value)


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 255, 256, 65_535, 65_536])
@pytest.mark.parametrize("make", [list, lambda items: {str(item): item for item in items}], ids=["array", "map"])
def test_containers_of_each_width_are_read(size: int, make: Any) -> None:
    """The count of entries is written in three widths."""
    value = make(range(size))
    assert decode(msgpack.packb(value), elements=200_000, depth=1) == frozen(value)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_refused(frame: bytes) -> None:
    """What is read at all is what msgpack itself reads there, keys that are no text aside."""
    try:
        decode(frame, **BOUNDS)
    except SchedulerRefused:
        return
    msgpack.unpackb(frame, strict_map_key=False, object_pairs_hook=list)


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ({"__Pickled__": 1}, OPAQUE),
        ({"__Serialized__": 1}, OPAQUE),
        ({"__Serialized__": True, "data": [b"", []]}, OPAQUE),
        ({"inner": [{"__Pickled__": 3}]}, {"inner": (OPAQUE,)}),
        ({"__Set__": True, "as-list": ["a", "b"]}, ("a", "b")),
        ({"__Enum__": True, "name": "running", "__module__": "os", "__name__": "environ"}, "running"),
        ({1: "number", "a": "text", b"b": "bytes"}, {"a": "text"}),
    ],
)
def test_what_dask_marks_is_undone_without_running_anything(sent: Any, read: Any) -> None:
    """Serialized values stay closed, sets are tuples, enumerations are names; keys are text."""
    assert decode(msgpack.packb(sent), **BOUNDS) == read


def test_a_value_left_out_is_not_none() -> None:
    """None is something that a scheduler says."""
    assert decode(msgpack.packb({"__Pickled__": 1}), **BOUNDS) is not None


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xc1", id="the byte that msgpack never uses"),
        pytest.param(b"\xd4\x01\x00", id="an extension type"),
        pytest.param(b"\xc7\x01\xff\x00", id="a sized extension type"),
        pytest.param(b"\x01\x02", id="two values"),
        pytest.param(b"\xa5abc", id="a string that is cut"),
        pytest.param(b"\xdb\xff\xff\xff\xff", id="a string of 4 GB that is not there"),
        pytest.param(b"\xd9", id="a length that is not there"),
        pytest.param(b"\xa2\xff\xfe", id="a string that is no UTF-8"),
        pytest.param(b"\x92\x01", id="an array that is cut"),
        pytest.param(b"\x91" * 33 + b"\x01", id="33 levels"),
        pytest.param(b"\x91" * 5_000 + b"\x01", id="5,000 levels"),
        pytest.param(b"\xdd\xff\xff\xff\xff", id="four billion elements that are not there"),
        pytest.param(b"\xdf\xff\xff\xff\xff" * 8, id="maps of four billion entries in each other"),
        pytest.param(b"\xdc\x27\x11" + b"\x01" * 10_001, id="one element too many"),
        pytest.param(b"\xdc\x20\x00" + b"\x91\x01" * 8_192, id="one by one too many"),
    ],
)
def test_what_is_beyond_bounds_is_refused(frame: bytes) -> None:
    """Also what msgpack itself would read."""
    with pytest.raises(SchedulerRefused):
        decode(frame, **BOUNDS)


@pytest.mark.parametrize(
    "frame",
    [b"\xdd\x00\xff\xff\xff" + b"\x80" * 0xFFFFFF, b"\xdd\x00\xff\xff\xff" * 1_000, b"\x91\x80" * 4_000_000],
    ids=["empty maps", "arrays announced in arrays", "short arrays"],
)
def test_nothing_is_made_of_a_frame_that_is_refused(frame: bytes) -> None:
    """Sixteen megabytes of empty maps would take a gigabyte."""
    tracemalloc.start()
    try:
        with pytest.raises(SchedulerRefused):
            decode(frame, elements=1_000_000, depth=32)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
