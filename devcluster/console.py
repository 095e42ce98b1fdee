"""What a person sees while it works: short lines on stderr. stdout belongs to the one line that a shell evaluates."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Refused(Exception):
    """The cluster cannot be had as asked; the text says why, and what to do."""


def say(subject: str, text: str) -> None:
    """One line of progress."""
    print(f"{subject:>24}  {text}", file=sys.stderr, flush=True)


@contextmanager
def told(subject: str, text: str) -> Iterator[None]:
    """Say what begins, and at its end how long it took."""
    say(subject, f"{text} …")
    began = time.monotonic()
    yield
    say(subject, f"done in {time.monotonic() - began:.1f} s")
