"""What goes on beside the shaking, each in a thread of its own that ends with its block."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from distributed import Client

from tests.losses.options import Options
from tests.losses.subjects import Operator
from tests.losses.workers import Logs, Workers, seen
from tests.node.conftest import Kubectl

LOOK = 1.5
STANDSTILL = 180.0


@contextmanager
def beside(what: Callable[[threading.Event], None], name: str) -> Iterator[None]:
    """Run something until the block ends; it looks at the event."""
    over = threading.Event()
    thread = threading.Thread(target=what, args=[over], name=name)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class Timeline:
    """What happened when, in a file beside the logs."""

    def __init__(self, options: Options) -> None:
        self._file = (options.path / "timeline.log").open("w", buffering=1)

    def note(self, text: str) -> None:
        """One line, with the time as the logs of Pods have it."""
        self._file.write(f"{time.strftime('%H:%M:%S', time.gmtime())}.{int(time.time() % 1 * 10)} {text}\n")

    def close(self) -> None:
        """No more."""
        self._file.close()


class Monitor:
    """Looks at the workers again and again, remembers the most that it saw, and follows the logs of all Pods."""

    def __init__(self, kubectl: Kubectl, client: Client, logs: Logs) -> None:
        self._kubectl = kubectl
        self._administrator = Kubectl(kubectl.environment, "dask-operator")
        self._client = client
        self._logs = logs
        self._news = threading.Condition()
        self._latest: tuple[float, Workers] | None = None
        self.workers = self.pods = self.spilled = 0

    def run(self, over: threading.Event) -> None:
        """Look until the event."""
        while not over.wait(LOOK):
            began = time.monotonic()
            try:
                pods = self._kubectl.json("get", "pods")["items"]
                found = seen(pods, self._client)
                self._logs.follow([*pods, *self._administrator.json("get", "pods")["items"]])
            except (AssertionError, OSError):  # a request that failed: the next look is soon
                continue
            self.workers = max(self.workers, found.joined)
            self.pods = max(self.pods, len(found.there))
            self.spilled = max(self.spilled, found.spilled)
            with self._news:
                self._latest = (began, found)
                self._news.notify_all()

    def fresh(self) -> Workers:
        """What is seen by a look that begins from now on."""
        now = time.monotonic()
        with self._news:
            if not self._news.wait_for(lambda: self._latest is not None and self._latest[0] >= now, STANDSTILL):
                raise TimeoutError(f"nothing could be seen for {STANDSTILL:g} s")
            assert self._latest is not None
            return self._latest[1]


@dataclass(slots=True)
class Killer:
    """Kills the operator at random times."""

    operator: Operator
    chance: random.Random
    every: tuple[float, float]
    timeline: Timeline
    kills: int = 0

    def run(self, over: threading.Event) -> None:
        """Kill again and again."""
        while not over.wait(self.chance.uniform(*self.every)):
            how = self.operator.kill(self.chance)
            self.kills += 1
            self.timeline.note(f"operator: {how}")


def say(text: str) -> None:
    """A line of progress."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
