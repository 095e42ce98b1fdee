"""What is remembered of a running cluster, and where: a folder for each clone and kind.

The record is written by who holds the instance's lock. It names every process that was started, so that a later
command finds it, starts again what was killed, and never touches a process that is not the cluster's.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Literal

from devcluster import versions
from devcluster.console import say
from devcluster.home import cache_folder, give, make_folder
from devcluster.processes import Process

Kind = Literal["api", "node", "nodes", "scale"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A component's process, and what it was started with."""

    process: Process
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is remembered of one cluster."""

    kind: Kind
    host: str
    """The address of the API server."""
    api_port: int
    etcd_ports: tuple[int, int]
    interface: str = ""
    """The network interface on the machine's side; empty where there is no network of its own."""
    started: Mapping[str, Started] = field(default_factory=dict)

    def having(self, name: str, started: Started) -> Record:
        """The same with one more process."""
        return replace(self, started={**self.started, name: started})

    def without(self, name: str) -> Record:
        """The same with one process less."""
        return replace(self, started={key: value for key, value in self.started.items() if key != name})

    def to_json(self) -> str:
        """The record as text."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Record:
        """The record that the text holds."""
        content = json.loads(text)
        started = {
            name: Started(process=Process(**entry["process"]), digest=entry["digest"])
            for name, entry in content.pop("started").items()
        }
        ports = content.pop("etcd_ports")
        return cls(**content, etcd_ports=(ports[0], ports[1]), started=started)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One cluster of this clone, running or not."""

    name: str
    folder: Path

    @property
    def record(self) -> Record | None:
        """What is remembered of it; None where nothing is."""
        try:
            return Record.from_json((self.folder / "cluster.json").read_text())
        except FileNotFoundError:
            return None

    def write(self, record: Record) -> None:
        """Remember this, whole or not at all."""
        draft = self.folder / "cluster.json.new"
        draft.write_text(record.to_json())
        give(draft)
        draft.rename(self.folder / "cluster.json")

    def lock(self) -> Lock:
        """Keeps two commands from changing the instance at once."""
        return Lock(make_folder(self.folder.parent) / f"{self.name}.lock", f"another command that works on {self.name}")

    @property
    def logs(self) -> Path:
        """The folder of what the components say."""
        return self.folder / "logs"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.folder / "kubeconfig"


def clone_id(checkout: Path = versions.CHECKOUT) -> str:
    """What tells this checkout from others on the machine."""
    return hashlib.sha256(os.fsencode(checkout.resolve())).hexdigest()[:8]


def instance_of(kind: Kind, name: str = "") -> Instance:
    """The instance for a kind, one of several where they have names; a node and the same at scale are one."""
    words = [clone_id(), "node" if kind == "scale" else kind, *([name] if name else [])]
    full = "-".join(words)
    return Instance(name=full, folder=cache_folder() / "clusters" / full)


def instances() -> list[Instance]:
    """Every instance of this clone that left anything."""
    folders = sorted((cache_folder() / "clusters").glob(f"{clone_id()}-*/"))
    return [Instance(name=folder.name, folder=folder) for folder in folders]


class Lock:
    """A file that one process at a time holds; the kernel lets it go when the process ends."""

    def __init__(self, path: Path, other: str) -> None:
        self._path = path
        self._other = other
        self._file = -1

    def __enter__(self) -> None:
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        give(self._path)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting", f"for {self._other}")
            fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._file)
