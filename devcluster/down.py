"""Takes clusters down, and leaves nothing of them: no process, mount, network, cgroup or file."""

from __future__ import annotations

import os
import shutil

from devcluster import cgroups, network, node
from devcluster.cluster import INIT
from devcluster.console import Refused, say
from devcluster.instances import Instance, Kind, Record, instance_of, instances
from devcluster.nodes import nodes
from devcluster.packages import tools


def down(kind: Kind | None = None, instance: str = "") -> None:
    """Take down this clone's cluster of a kind, or all of this clone's clusters."""
    for each in instances() if kind is None else [instance_of(kind, instance)]:
        with each.lock():
            take_down(each)


def take_down(each: Instance) -> None:
    """Take one cluster down; the lock is the caller's."""
    record = each.record
    if record is not None:
        if record.interface and os.geteuid() != 0:
            raise Refused(f"{each.name} is a node, and needs root to be taken down: sudo make down")
        end_processes(record)
        if record.interface:
            network.disconnect(tools(), record.interface)
            for one in nodes(record.kind):
                cgroups.remove(node.cgroup(each, one))
        say(each.name, "is down")
    if each.folder.exists():
        shutil.rmtree(each.folder)


def end_processes(record: Record) -> None:
    """End every process. With the first one of a PID namespace the kernel ends all of it, containers included."""
    init = record.started.get(INIT)
    if init is not None:
        init.process.kill()
    for started in reversed(list(record.started.values())):
        started.process.kill()
