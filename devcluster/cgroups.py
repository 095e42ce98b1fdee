"""The cgroups of a node's containers: one folder in each hierarchy, so that all of them can be found and removed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from devcluster.processes import wait_for

WEIGHTS = {"cpu.shares": 1024, "cpu.weight": 100}
"""What a single process of the machine weighs, in either version: a node with all its Pods must not weigh as little."""


def hierarchies() -> Iterator[Path]:
    """Where cgroups are mounted, of either version."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, point, kind, *_ = line.split()
        if kind in {"cgroup", "cgroup2"}:
            yield Path(point)


def make(name: str) -> None:
    """A cgroup for a node; the kubelet makes those of its Pods below it, and wants it to be there."""
    for hierarchy in hierarchies():
        folder = hierarchy / name
        folder.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):  # version 1 lets no process in while they are empty
            if (folder / setting).exists() and not (folder / setting).read_text().strip():
                (folder / setting).write_text((hierarchy / setting).read_text())
        for setting, of_one in WEIGHTS.items():
            if (folder / setting).exists():
                (folder / setting).write_text(str(of_one * (os.cpu_count() or 1)))


def remove(name: str) -> None:
    """Remove a cgroup and all below it, once its processes have ended."""
    for hierarchy in hierarchies():
        top = hierarchy / name
        wait_for(lambda top=top: _removed(top), 10, f"processes are left in {top}")  # type: ignore[misc]


def _removed(top: Path) -> bool:
    for folder, _, _ in os.walk(top, topdown=False):
        try:
            Path(folder).rmdir()
        except OSError:
            return False
    return True
