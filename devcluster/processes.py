"""Processes that outlive the command that started them, known again later without mistake.

A PID alone names nothing: it may have gone to another program. With the time at which the process started, and the boot
that the time counts from, it names one process for ever.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from devcluster.console import Refused

LAUNCHER = Path(__file__).with_name("launch.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process, dead or alive."""

    pid: int
    started: int
    """When it started, in clock ticks after the boot."""
    boot: str

    @property
    def alive(self) -> bool:
        """Whether it runs; a zombie does not."""
        return boot_id() == self.boot and _start_of(self.pid) == self.started

    def kill(self, number: int = signal.SIGKILL, wait: float = 20) -> None:
        """Send a signal, and wait until the process has ended."""
        # The descriptor pins the process: between the look at it and the signal the PID cannot pass to another one.
        try:
            pinned = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if self.alive:
                signal.pidfd_send_signal(pinned, number)
                wait_for(lambda: not self.alive, wait, f"process {self.pid} does not end")
        except ProcessLookupError:
            pass
        finally:
            os.close(pinned)


@dataclass(frozen=True, slots=True)
class Namespaces:
    """The namespaces that a process lives in."""

    of: Process


@dataclass(frozen=True, slots=True)
class NewNamespaces:
    """Namespaces that a process begins; the files that they have for themselves lie in a folder."""

    folder: Path


def start(
    command: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str],
    place: Namespaces | NewNamespaces | None = None,
) -> Process:
    """Start a process that nothing waits for, its output in a log file."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, log.open("ab") as output:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        with theirs:
            subprocess.run(
                [sys.executable, "-I", "-S", str(LAUNCHER), str(theirs.fileno()), *_mode(place), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(environment),
                cwd="/",
                pass_fds=[theirs.fileno()],
                check=False,
            )
        return _reported(ours, command[0], log)


def _mode(place: Namespaces | NewNamespaces | None) -> list[str]:
    """How the launcher is told where the process is to live."""
    match place:
        case None:
            return ["here"]
        case Namespaces(of=process):
            return ["join", str(process.pid)]
        case NewNamespaces(folder=folder):
            return ["new", str(folder)]


def _reported(channel: socket.socket, name: str, log: Path) -> Process:
    """The process at the other end, when it runs its command."""
    channel.settimeout(20)
    message, ancillary, *_ = channel.recvmsg(4096, socket.CMSG_SPACE(12))
    refusal = message if message != b"!" else channel.recv(4096)
    if refusal or not ancillary:
        raise Refused(f"{name} cannot be started: {refusal.decode() or tail(log)}")
    pid, _, _ = struct.unpack("iii", ancillary[0][2])
    return found(pid)


def found(pid: int) -> Process:
    """The process that has this PID now."""
    return Process(pid=pid, started=_start_of(pid) or 0, boot=boot_id())


def boot_id() -> str:
    """What tells this boot of the machine from any other."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _start_of(pid: int) -> int | None:
    """When the process with this PID started; None if there is none, or a zombie."""
    try:
        # The second field is the program's name in parentheses, and may hold any character.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def tail(log: Path, lines: int = 5) -> str:
    """The end of a log, to be shown."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def wait_for(met: Callable[[], bool], seconds: float, otherwise: str, every: float = 0.05) -> None:
    """Wait until something holds; raise what it means that it does not."""
    deadline = time.monotonic() + seconds
    while not met():
        if time.monotonic() > deadline:
            raise Refused(otherwise)
        time.sleep(every)
