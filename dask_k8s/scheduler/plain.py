"""PURE: msgpack as Dask writes it, decoded within bounds and without ever running what the other side sent."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, Final, Literal

import msgpack

from dask_k8s.errors import AnswerTooLarge, SchedulerRefused


class Opaque(Enum):
    """What stands for a value that was left undecoded."""

    OPAQUE = "opaque"


OPAQUE: Final[Literal[Opaque.OPAQUE]] = Opaque.OPAQUE
"""In place of a pickled or serialized value. Distinct from None, which a scheduler may say and mean."""

_WHOLE: Final = (
    dict.fromkeys((*range(0x80), *range(0xE0, 0x100), 0xC0, 0xC2, 0xC3), 1)
    | {0xA0 + size: 1 + size for size in range(32)}
    | {0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9, 0xD0: 2, 0xD1: 3, 0xD2: 5, 0xD3: 9, 0xCA: 5, 0xCB: 9}
)
_BYTES: Final = tuple(_WHOLE.get(first, 0) for first in range(256))
"""By the first byte, of how many bytes a number, a short string or the like consists; 0 for all others."""

_SIZED: Final = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
"""Bytes of the length of a string or of bytes."""

_CONTAINERS: Final = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}
"""Bytes of the count of an array or a map, and the values that one entry has."""


def decode(frame: bytes, *, elements: int, depth: int) -> Any:
    """The value of one frame: maps with text as keys, tuples, strings, bytes, numbers, booleans, None and OPAQUE.

    A tuple as a key, as tasks have them, is written as text. Other keys that are not text are left out with their
    values: nothing that is read here has them, and chosen ones could be made to collide.

    Raises
    ------
    AnswerTooLarge
        Where it has more elements.
    SchedulerRefused
        Where it is no msgpack, or is nested deeper.
    """
    _measure(frame, elements, depth)
    try:
        return msgpack.unpackb(frame, object_pairs_hook=_plain, raw=False, strict_map_key=False, use_list=False)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise SchedulerRefused(f"The reply cannot be read: {type(error).__name__}") from error


def _measure(frame: bytes, elements: int, depth: int) -> None:
    """Walk over a frame without making anything of it.

    msgpack's own limits hold for each container by itself, while a frame of a few megabytes may hold millions of
    them, each a hundred times its size in memory.
    """
    position, total = 0, 1
    missing, above = 1, list[int]()  # values that are still to come: on this level, and on those above it
    try:
        while missing or above:
            if not missing:
                missing = above.pop()
                continue
            missing -= 1
            if size := _BYTES[frame[position]]:
                position += size
                continue
            position, entries = _enter(frame, position)
            if entries:
                above.append(missing)
                missing = entries
                total += entries
                _bounded(len(above), depth, total, elements)
    except IndexError:
        position = -1
    if position != len(frame):
        raise SchedulerRefused("The reply cannot be read: it does not end where its frame does")


def _bounded(deep: int, depth: int, total: int, elements: int) -> None:
    if deep > depth:
        raise SchedulerRefused(f"The reply is nested deeper than {depth}")
    if total > elements:
        raise AnswerTooLarge(f"The reply has more than {elements} elements")


def _enter(frame: bytes, position: int) -> tuple[int, int]:
    """Where what stands here goes on: after a string, or at the first of a container's values; and their number."""
    first = frame[position]
    position += 1
    if 0x80 <= first < 0xA0:
        return position, (first & 15) * (2 if first < 0x90 else 1)
    if (width := _SIZED.get(first)) is not None:
        return position + width + int.from_bytes(frame[position : position + width]), 0
    if first in _CONTAINERS:
        width, values = _CONTAINERS[first]
        return position + width, values * int.from_bytes(frame[position : position + width])
    raise SchedulerRefused(f"The reply cannot be read: Dask sends nothing that begins with {first:#x}")


def _plain(pairs: Sequence[tuple[Any, Any]]) -> Any:
    """A map, or what Dask wrote as one: a set as a tuple, an enumeration as its member's name."""
    found = {key if type(key) is str else str(key): value for key, value in pairs if type(key) in (str, tuple)}
    if len(found) > 4:
        return found
    if "__Pickled__" in found or "__Serialized__" in found:
        return OPAQUE
    if "__Set__" in found:
        return found.get("as-list")
    if "__Enum__" in found:
        return found.get("name")
    return found
