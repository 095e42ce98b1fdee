"""One played worker: what it holds, and what runs there, as of a given time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.played.scene import WorkerScene

HEARTBEAT = 0.5
MEMORY = 4 << 30
RUNNING, RETIRING = "running", "closing_gracefully"


@dataclass(slots=True)
class Task:
    """A task that is assigned to a worker; it runs until ``ends``, or waits where that is None."""

    key: str
    seconds: float
    ends: float | None = None


@dataclass(slots=True)
class PlayedWorker:
    """A worker that has joined."""

    name: str
    address: str
    status: str = RUNNING
    keys: dict[str, int] = field(default_factory=dict)
    tasks: list[Task] = field(default_factory=list)

    def perform(self, scene: WorkerScene) -> None:
        """Take on what the scene says, in place of what there was."""
        self.keys = {f"data-{self.name}-{number}": size for number, size in enumerate(scene.data)}
        self.tasks = [Task(f"{self.name}-{number}", seconds) for number, seconds in enumerate(scene.tasks)]

    def go_on(self, now: float) -> int:
        """Let time pass, and return how many tasks ended; one that retires begins no other."""
        ended, began = 0, now
        while self.tasks:
            first = self.tasks[0]
            if first.ends is None and self.status == RUNNING:
                first.ends = began + first.seconds
            if first.ends is None or first.ends > now:
                break
            ended, began = ended + 1, first.ends
            self.tasks.pop(0)
        return ended

    @property
    def nbytes(self) -> int:
        """What it holds."""
        return sum(self.keys.values())

    def identity(self, now: float) -> dict[str, Any]:
        """As a scheduler tells of it, by its last heartbeat."""
        running = sum(task.ends is not None for task in self.tasks)
        return {
            "type": "Worker",
            "id": self.name,
            "host": self.address.rpartition("://")[2].rpartition(":")[0],
            "resources": {},
            "local_directory": "/tmp",
            "name": self.name,
            "nthreads": 1,
            "memory_limit": MEMORY,
            "last_seen": now // HEARTBEAT * HEARTBEAT,
            "services": {},
            "metrics": {"task_counts": {"executing": running} if running else {}},
            "status": self.status,
            "nanny": None,
        }
