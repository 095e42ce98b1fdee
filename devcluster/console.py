"""What a person sees while it works: short lines on stderr. stdout belongs to the one line that a shell evaluates."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Refused(Exception):
    """The cluster cannot be had as asked; the text says why, and what to do."""


def exit_code(run: Callable[[], int]) -> int:
    """What a program of ours ends with, however it ends: what refuses is told a person in its own words alone."""
    try:
        return run()
    except Refused as refusal:
        print(f"\n{refusal}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. What is built stays in the cache; make down removes what runs.", file=sys.stderr)
        return 130


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
