"""The kernel's module that belongs to the whole machine: loaded where it is missing, taken away by who loaded it."""

from __future__ import annotations

from pathlib import Path

import pytest

from devcluster.bridges import BridgeFilter
from devcluster.console import Refused
from devcluster.packages import Tools


class Machine:
    """A machine in a folder, with programs that load and unload there.

    Parameters
    ----------
    kernel
        What its modprobe does.
    """

    def __init__(self, root: Path, kernel: str = "mkdir -p {bridge}") -> None:
        self.filter = BridgeFilter(root)
        self.tools = Tools(root)
        self.networks = root / "sys/class/net"
        for folder in (self.networks, root / "run", root / "proc/sys/net"):
            folder.mkdir(parents=True)
        bridge = root / "proc/sys/net/bridge"
        self.programs = root / "usr/sbin"
        self.programs.mkdir(parents=True)
        for name, script in {"modprobe": kernel, "rmmod": "rmdir {bridge}"}.items():
            program = self.programs / name
            program.write_text(f"#!/bin/sh\n{script.format(bridge=bridge)}\n")
            program.chmod(0o755)

    def has_bridge(self, name: str) -> None:
        (self.networks / name / "bridge").mkdir(parents=True)

    def load(self) -> None:
        self.filter.load(self.tools)

    def unload(self, *needed: bool) -> None:
        answers = iter(needed or (False, False))
        self.filter.unload(self.tools, lambda: next(answers))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_what_was_loaded_goes_and_leaves_no_mark(machine: Machine) -> None:
    """Also where the machine had bridges, which are filtered for no longer than needed."""
    machine.has_bridge("virbr0")
    machine.load()
    assert machine.filter.loaded()
    machine.unload()
    assert not machine.filter.loaded()
    assert not machine.filter.mark.exists()


def test_what_was_there_before_stays(machine: Machine) -> None:
    """It is somebody else's."""
    (machine.filter.root / "proc/sys/net/bridge").mkdir()
    machine.load()
    machine.unload()
    assert machine.filter.loaded()


def test_it_stays_while_another_cluster_runs(machine: Machine) -> None:
    """Of any clone; that one takes it away then."""
    machine.load()
    machine.unload(True)
    assert machine.filter.loaded()
    machine.unload()
    assert not machine.filter.loaded()


def test_a_cluster_that_comes_meanwhile_gets_it_back(machine: Machine) -> None:
    """It has found the module loaded just before that went."""
    machine.load()
    machine.unload(False, True)
    assert machine.filter.loaded()
    assert machine.filter.mark.exists()


def test_a_bridge_that_came_since_may_count_on_it(machine: Machine) -> None:
    """Docker, started meanwhile, found the module loaded, and would not load it again."""
    machine.load()
    machine.has_bridge("docker0")
    machine.unload()
    assert machine.filter.loaded()
    assert not machine.filter.mark.exists(), "it is not ours any more"


def test_a_kernel_without_it_is_refused_with_a_mend(tmp_path: Path) -> None:
    """And nothing is left that says it was loaded."""
    machine = Machine(tmp_path, kernel="exit 1")
    with pytest.raises(Refused, match="Install kmod and the modules of this kernel"):
        machine.load()
    assert not machine.filter.mark.exists()


@pytest.mark.parametrize(("kernel", "expected"), [("exit 0", True), ("exit 1", False)])
def test_the_check_asks_modprobe_and_loads_nothing(
    kernel: str, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As any user may."""
    machine = Machine(tmp_path, kernel)
    monkeypatch.setenv("PATH", str(machine.programs))
    assert machine.filter.can_load() == expected
    assert not machine.filter.loaded()
