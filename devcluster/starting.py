"""Starts the components of one cluster that do not run as they should, and waits until all of them serve."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from devcluster import api
from devcluster.cluster import INIT
from devcluster.components import Component, Site
from devcluster.console import Refused
from devcluster.home import give
from devcluster.instances import Instance, Record, Started
from devcluster.processes import Namespaces, Process, start, tail, wait_for

PATIENCE = 90.0
"""Seconds that a component, and the node, may take until they serve."""


class Starter:
    """The components of one cluster, whose lock is held."""

    def __init__(self, instance: Instance, record: Record, site: Site, environment: Mapping[str, str]) -> None:
        self._instance = instance
        self._record = record
        self._site = site
        self._environment = environment
        self.started: list[str] = []
        """The names of what this starter has started."""

    def stop_others(self, wanted: Sequence[Component]) -> None:
        """End what is not wanted any more, or wanted with another command line or configuration."""
        digests = {component.name: component.digest for component in wanted}
        for name, started in self._record.started.items():
            if name != INIT and digests.get(name) != started.digest:
                started.process.kill()
                self._remember(self._record.without(name))

    def start(self, component: Component) -> None:
        """Start a component, unless it runs."""
        started = self._record.started.get(component.name)
        if started is not None and started.process.alive:
            return
        log = self._log(component.name)
        log.touch()
        give(log)
        process = start(component.command, log=log, environment=self._environment, place=self._place)
        self._remember(self._record.having(component.name, Started(process=process, digest=component.digest)))
        self.started.append(component.name)

    def wait(self, component: Component) -> None:
        """Wait until a component serves; raise with the end of its log if it ends instead, or takes too long."""

        def served() -> bool:
            if not self._record.started[component.name].process.alive:
                raise Refused(f"{component.name} ended:\n{tail(self._log(component.name), 10)}")
            return self._serves(component)

        wait_for(served, PATIENCE, f"{component.name} is not ready. Its log: {self._log(component.name)}")

    def reached(self, path: Path) -> Path:
        """A file of the node's mount namespace, as it is reached from the machine."""
        return Path(f"/proc/{self._init.pid}/root{path}")

    @property
    def _init(self) -> Process:
        return self._record.started[INIT].process

    @property
    def _place(self) -> Namespaces | None:
        return Namespaces(self._init) if self._record.interface else None

    def _serves(self, component: Component) -> bool:
        match component.ready:
            case None:
                return True
            case Path() as path:
                return takes_connections(self.reached(path))
            case url:
                return api.answers(self._site.pki, url)

    def _log(self, name: str) -> Path:
        return self._instance.logs / f"{name}.log"

    def _remember(self, record: Record) -> None:
        self._record = record
        self._instance.write(record)


def takes_connections(path: Path) -> bool:
    """Whether someone listens at a socket."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True
