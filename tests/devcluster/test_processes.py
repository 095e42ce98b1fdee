"""Processes are started, found again and ended, and no other is ever touched."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from devcluster.console import Refused
from devcluster.processes import Namespaces, NewNamespaces, Process, found, start, wait_for

ENVIRONMENT = {"PATH": os.defpath}
SLEEP = ["sleep", "600"]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces are root's")


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Process]:
    process = start(SLEEP, log=tmp_path / "log", environment=ENVIRONMENT)
    yield process
    process.kill()


def test_a_started_process_runs_until_it_is_killed(sleeper: Process) -> None:
    """Nothing waits for it, and it is not a child of the one who started it."""
    assert sleeper.alive
    with pytest.raises(ChildProcessError):
        os.waitpid(sleeper.pid, os.WNOHANG)
    sleeper.kill()
    assert not sleeper.alive


@pytest.mark.parametrize("change", [{"started": 1}, {"boot": "another"}])
def test_a_process_that_has_taken_over_a_pid_is_not_touched(sleeper: Process, change: dict[str, int | str]) -> None:
    """A PID is reused: the time of the start and the boot tell whose it is."""
    earlier = replace(sleeper, **change)  # type: ignore[arg-type]
    assert not earlier.alive
    earlier.kill()
    assert sleeper.alive


def test_killing_what_has_ended_is_no_error(sleeper: Process) -> None:
    """Also where its PID belongs to nobody."""
    sleeper.kill()
    sleeper.kill()


def test_a_program_that_is_not_there_is_told_by_name(tmp_path: Path) -> None:
    """The one who starts it learns it, and not a log."""
    with pytest.raises(Refused, match=r"no-such-program cannot be started: .*No such file"):
        start(["no-such-program"], log=tmp_path / "log", environment=ENVIRONMENT)


def test_the_environment_is_what_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's proxy, say, must not reach a component."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid")
    log = tmp_path / "log"
    process = start(["env"], log=log, environment={"PATH": os.defpath, "GIVEN": "1"})
    wait_for(lambda: not process.alive, 10, "env does not end")
    assert "GIVEN=1" in log.read_text()
    assert "HTTPS_PROXY" not in log.read_text()


def test_this_process_is_alive() -> None:
    """What is found by its PID is the process that has it now."""
    assert found(os.getpid()).alive


class TestNamespaces:
    """The first process holds them, and takes all others with it."""

    pytestmark = needs_root

    @pytest.fixture
    def init(self, tmp_path: Path) -> Iterator[Process]:
        own = tmp_path / "own"
        own.mkdir()
        (own / "resolv.conf").write_text("nameserver 192.0.2.1\n")
        init = start(SLEEP, log=tmp_path / "log", environment=ENVIRONMENT, place=NewNamespaces(own))
        yield init
        init.kill()

    def run(self, init: Process, log: Path, command: list[str]) -> str:
        """What a command prints inside."""
        process = start(command, log=log, environment=ENVIRONMENT, place=Namespaces(init))
        wait_for(lambda: not process.alive, 10, f"{command} does not end")
        return log.read_text()

    def test_the_end_of_the_first_process_is_the_end_of_all(self, init: Process, tmp_path: Path) -> None:
        """No process is left, whatever it does about signals."""
        stubborn = [sys.executable, "-c", "import signal,time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"]
        process = start(stubborn, log=tmp_path / "log", environment=ENVIRONMENT, place=Namespaces(init))
        assert process.alive
        init.kill(signal.SIGKILL)
        assert not process.alive

    def test_inside_there_is_a_network_of_its_own(self, init: Process, tmp_path: Path) -> None:
        """Only the loopback, until one is given."""
        told = self.run(init, tmp_path / "out", ["cat", "/proc/net/dev"])
        assert [line.split(":")[0].strip() for line in told.splitlines()[2:]] == ["lo"]

    def test_what_node_programs_write_everywhere_lands_in_the_nodes_folder(self, init: Process, tmp_path: Path) -> None:
        """The kubelet's usual path is inside another folder than outside."""
        self.run(init, tmp_path / "out", ["sh", "-c", "echo x > /var/lib/kubelet/mark; echo y > /run/containerd-mark"])
        assert (tmp_path / "own" / "kubelet" / "mark").read_text() == "x\n"
        assert not Path("/run/containerd-mark").exists()

    def test_names_are_asked_of_the_clusters_server(self, init: Process, tmp_path: Path) -> None:
        """The machine's own resolv.conf stays as it is."""
        assert self.run(init, tmp_path / "out", ["cat", "/etc/resolv.conf"]) == "nameserver 192.0.2.1\n"
        assert "192.0.2.1" not in Path("/etc/resolv.conf").read_text()

    def test_other_entries_of_covered_folders_stay(self, init: Process, tmp_path: Path) -> None:
        """A checkout, a Python or a cache below /var/lib is still there."""
        told = self.run(init, tmp_path / "out", ["ls", "-A", "/var/lib"]).split()
        kept = {entry.name for entry in Path("/var/lib").iterdir()} - {"cni", "containerd", "kubelet"}
        assert kept <= set(told)
