"""A running cluster, as tests, benchmarks and the demo see it."""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from devcluster.components import PODS
from devcluster.instances import Instance, Kind, Record
from devcluster.processes import Process

INIT = "init"
"""The name of the first process of a node's namespaces, among its components."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """One cluster that is up."""

    kind: Kind
    instance: Instance
    bin: Path
    """The folder that holds ``kubectl``."""
    images: tuple[str, ...] = ()
    """The tags of the image that the node has, the one with the package's version last."""
    pods_cidr: str = PODS

    @property
    def kubeconfig(self) -> Path:
        """An administrator's kubeconfig, good on the machine and inside the cluster's network."""
        return self.instance.kubeconfig

    @property
    def logs(self) -> Path:
        """The folder that holds a log for each component."""
        return self.instance.logs

    @property
    def components(self) -> Mapping[str, Process]:
        """The processes by their component's name, as they are now."""
        return {name: started.process for name, started in self._record.started.items()}

    @property
    def _record(self) -> Record:
        record = self.instance.record
        if record is None:
            raise LookupError(f"{self.instance.name} is down")
        return record

    def environment(self) -> dict[str, str]:
        """The variables by which a program finds this cluster, to be laid over others."""
        return {
            "KUBECONFIG": str(self.kubeconfig),
            "PATH": f"{self.bin}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        }

    def inside(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs this one in the cluster's network, with its DNS; as it is where there is none.

        The command keeps its PID, its folder and its files; it needs root, as the node does.
        """
        if self.kind == "api":
            return list(argv)
        init = self._record.started[INIT].process
        return [
            "nsenter",
            f"--net=/proc/{init.pid}/ns/net",
            "unshare",
            "--mount",
            "sh",
            "-c",
            'mount --bind "$0" /etc/resolv.conf && exec "$@"',
            str(self.instance.folder / "own" / "resolv.conf"),
            *argv,
        ]

    def kill(self, component: str) -> None:
        """End a component as a crash does. ``up`` starts it again."""
        self.components[component].kill(signal.SIGKILL)

    def shell_line(self) -> str:
        """What a shell evaluates to use this cluster."""
        return f'export KUBECONFIG={shlex.quote(str(self.kubeconfig))} PATH={shlex.quote(str(self.bin))}:"$PATH"'
