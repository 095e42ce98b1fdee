"""What the scheduler itself saw: which keys it lost, how often tasks ran, which workers left in which way."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from distributed import Client
from distributed.diagnostics.plugin import SchedulerPlugin

NAME = "witness"


class Witness(SchedulerPlugin):  # type: ignore[misc]
    """Counts on the scheduler, where no worker's end can take the counts along.

    A key that leaves the memory of all workers was lost: the client lets none of them go before the end. A task that
    was executed again without that has only moved.

    Parameters
    ----------
    scattered, computed, used
        How keys of each kind begin, which are also the topics in which workers tell of executions.
    """

    name = NAME

    def __init__(self, scattered: str, computed: str, used: str) -> None:
        self._kept = (f"{scattered}-", f"{computed}-")
        self._topics = (computed, used)
        self.executions: Counter[str] = Counter()
        self.lost: list[tuple[float, str]] = []
        self.removals: list[dict[str, Any]] = []

    def transition(self, key: Any, start: str, finish: str, *args: Any, **more: Any) -> None:
        """A key that was in memory is there no more."""
        if start == "memory" and str(key).startswith(self._kept):
            self.lost.append((time.time(), str(key)))

    def log_event(self, topic: str, msg: Any) -> None:
        """A worker executes a task, or has left."""
        if topic in self._topics:
            self.executions[msg] += 1
        elif topic == "all" and isinstance(msg, dict) and msg.get("action") == "remove-worker":
            self.removals.append(
                {
                    "at": time.time(),
                    "worker": msg["worker"],
                    "expected": msg["expected"],
                    "processing": len(msg["processing-tasks"]),
                    "lost": len(msg["lost-computed-tasks"]) + len(msg["lost-scattered-tasks"]),
                    "why": msg["stimulus_id"],
                }
            )


def told(client: Client) -> dict[str, Any]:
    """What the witness has seen until now."""

    def look(dask_scheduler: Any) -> dict[str, Any]:
        seen = dask_scheduler.plugins["witness"]
        prefixes = dask_scheduler.task_prefixes.values()
        return {
            "executions": dict(seen.executions),
            "lost": list(seen.lost),
            "removals": list(seen.removals),
            "suspicious": sum(prefix.suspicious for prefix in prefixes),
        }

    found: dict[str, Any] = client.run_on_scheduler(look)
    return found


def losses(client: Client) -> list[str]:
    """The keys that were lost until now; one that was lost twice stands there twice."""

    def look(dask_scheduler: Any) -> list[str]:
        return [key for _, key in dask_scheduler.plugins["witness"].lost]

    found: list[str] = client.run_on_scheduler(look)
    return found
