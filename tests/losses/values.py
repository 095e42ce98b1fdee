"""What the workers hold: every value follows from its key, so that anyone can tell a wrong one.

What is here runs on workers, whose image has no tests: it is sent by value, and imports nothing of this project.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

SCATTERED, COMPUTED, USED = "scattered", "computed", "used"
"""How keys of each kind begin, and the topics in which workers tell that they execute one."""

SMALL, MEDIUM, LARGE = 1_000, 200_000, 3_000_000


def key_of(kind: str, number: int, generation: int = 0) -> str:
    """The key of a value; what was lost is sent again under the next generation's."""
    return f"{kind}-{number}-{generation}"


def size_of(number: int) -> int:
    """In bytes: most are small, and nearly all of the memory is in the large ones."""
    if number % 250 == 0:
        return LARGE
    return MEDIUM if number % 20 == 0 else SMALL


def value_of(key: str) -> bytes:
    """The only right value of a key."""
    return random.Random(key).randbytes(size_of(int(key.split("-")[1])))


def tasks() -> tuple[Callable[..., bytes], Callable[..., list[str]]]:
    """What workers execute: local functions, since Dask sends others by their name alone."""

    def computed(key: str) -> bytes:
        """The value, by a worker that tells of it: more than once for one key means that it was executed again."""
        from distributed import get_worker

        get_worker().log_event(COMPUTED, key)
        return value_of(key)

    def used(key: str, seconds: float, keys: Sequence[str], *inputs: bytes) -> list[str]:
        """A task of the load: takes its time, and gives the keys whose values are wrong."""
        from distributed import get_worker

        get_worker().log_event(USED, key)
        time.sleep(seconds)
        return [each for each, value in zip(keys, inputs, strict=True) if value != value_of(each)]

    return computed, used
