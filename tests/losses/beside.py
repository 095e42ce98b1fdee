"""What goes on beside the shaking, each in a thread of its own that ends with its block."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from distributed import Client

from tests.losses.options import Options
from tests.losses.subjects import Operator
from tests.losses.workers import Logs, look
from tests.node.conftest import Kubectl

LOOK = 2.0


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


@dataclass(slots=True)
class Monitor:
    """The most that was seen, and the logs of all Pods."""

    kubectl: Kubectl
    client: Client
    logs: Logs
    workers: int = 0
    pods: int = 0
    spilled: int = 0
    failures: list[str] = field(default_factory=list)

    def run(self, over: threading.Event) -> None:
        """Look again and again."""
        administrator = Kubectl(self.kubectl.environment, "dask-operator")
        while not over.wait(LOOK):
            try:
                found = look(self.kubectl, self.client)
                self.logs.follow(self.kubectl)
                self.logs.follow(administrator)
            except (AssertionError, OSError) as error:  # a request that failed: the next look is soon
                self.failures.append(repr(error))
                continue
            self.workers = max(self.workers, found.joined)
            self.pods = max(self.pods, len(found.there))
            self.spilled = max(self.spilled, found.spilled)


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
