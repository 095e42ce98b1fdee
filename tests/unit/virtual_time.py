"""An event loop whose time passes only while nothing else can happen: hours of waiting take no time and are exact."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


BUSY = 20_000
"""Rounds of the loop without any waiting after which something turns in circles."""


class _Selector(selectors.SelectSelector):
    """Instead of waiting for a time-out it moves the clock there."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self._rounds = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready at once; a test that would wait for ever, or never wait at all, ends here."""
        if timeout is None:
            raise AssertionError("everything waits, and nothing is to come")
        self._rounds = 0 if timeout > 0 else self._rounds + 1
        if self._rounds > BUSY:
            raise AssertionError("a busy loop: nothing waits, and no time goes by")
        self.now += max(0.0, timeout)
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Seconds since the loop began, as if each wait had taken its time."""
        return self._virtual.now


def run(main: Coroutine[Any, Any, T]) -> T:
    """What ``asyncio.run`` does, in virtual time."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(main)
