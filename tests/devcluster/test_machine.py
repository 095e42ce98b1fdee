"""Where files go, whose they are, and what a machine needs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from devcluster import check, home, versions
from devcluster.console import Refused
from devcluster.home import ROOTS_HOME, Owner, cache_folder_of, owner_in
from devcluster.instances import Instance, Lock, Record, Started, clone_id, instance_of
from devcluster.network import RANGE, SLOTS, Link
from devcluster.processes import found
from tests.caches import give_back

PERSON = Owner(uid=1000, gid=1000, name="p", home=Path("/home/p"), borrowed_root=False)
UNDER_SUDO = Owner(uid=1000, gid=1000, name="p", home=Path("/home/p"), borrowed_root=True)


@pytest.mark.parametrize(
    ("person", "variable", "expected"),
    [
        (PERSON, None, "/home/p/.cache/dask-k8s"),
        (PERSON, "/data/cache", "/data/cache/dask-k8s"),
        (PERSON, "relative", "/home/p/.cache/dask-k8s"),
        (UNDER_SUDO, None, "/home/p/.cache/dask-k8s"),
        (UNDER_SUDO, "/data/cache", "/data/cache/dask-k8s"),
        (UNDER_SUDO, f"{ROOTS_HOME}/cache", "/home/p/.cache/dask-k8s"),
    ],
)
def test_the_cache_is_the_persons(person: Owner, variable: str | None, expected: str) -> None:
    """Also under sudo, whatever it hands on."""
    environment = {} if variable is None else {"XDG_CACHE_HOME": variable}
    assert cache_folder_of(person, environment) == Path(expected)


def test_under_sudo_the_person_is_the_one_who_called_it() -> None:
    """Files are theirs; programs that make files run as they."""
    me = owner_in({"SUDO_UID": "4242", "SUDO_GID": "4242", "HOME": "/root"}, euid=0)
    assert me.uid == 4242
    assert me.arguments["user"] == 4242
    assert me.home != Path("/root")


@pytest.mark.parametrize("environment", [{}, {"SUDO_UID": "0"}])
def test_root_itself_borrows_nothing(environment: dict[str, str]) -> None:
    """Nor does root who calls sudo."""
    me = owner_in({**environment, "HOME": "/root"}, euid=0)
    assert (me.uid, me.home, me.arguments) == (0, Path("/root"), {})


def test_what_the_gate_leaves_in_the_checkout_is_the_persons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under sudo root makes it."""
    given: dict[str, tuple[int, int]] = {}

    def chown(path: Path, uid: int, gid: int, *, follow_symlinks: bool) -> None:
        assert not follow_symlinks
        given[str(path.relative_to(tmp_path))] = uid, gid

    monkeypatch.setattr(home, "owner", lambda: UNDER_SUDO)
    monkeypatch.setattr(os, "chown", chown)
    (tmp_path / ".mypy_cache" / "3.11").mkdir(parents=True)
    (tmp_path / ".mypy_cache" / "3.11" / "x.json").touch()
    (tmp_path / "source.py").touch()
    give_back(tmp_path)
    assert given == dict.fromkeys((".mypy_cache", ".mypy_cache/3.11", ".mypy_cache/3.11/x.json"), (1000, 1000))


def test_a_variable_of_sudo_means_nothing_to_a_user() -> None:
    """It may be inherited: only root can act for another."""
    assert owner_in({"SUDO_UID": "4242", "HOME": "/home/p"}, euid=os.geteuid() or 1000).uid != 4242


def test_each_clone_has_clusters_of_its_own(tmp_path: Path) -> None:
    """Found again under any path to it, and not to be confused with another."""
    clone, other, link = (tmp_path / name for name in ("clone", "other", "link"))
    clone.mkdir()
    link.symlink_to(clone)
    assert clone_id(link) == clone_id(clone)
    assert clone_id(other) != clone_id(clone)


def test_a_node_at_scale_is_the_node() -> None:
    """Asked for while a node runs, it is made of it; an API server alone is another cluster."""
    assert instance_of("scale") == instance_of("node")
    assert len({instance_of("node").name, instance_of("api").name, instance_of("node", "x").name}) == 3


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    """A later command knows what an earlier one has started."""
    place = Instance(name="x", folder=tmp_path)
    record = Record(kind="node", host="198.18.1.1", api_port=6443, etcd_ports=(1, 2), interface="dask-k8s-1")
    record = record.having("etcd", Started(process=found(os.getpid()), digest="d"))
    place.write(record)
    assert place.record == record
    assert Instance(name="y", folder=tmp_path / "none").record is None
    assert record.without("etcd").started == {}


def test_two_commands_do_not_hold_one_lock(tmp_path: Path) -> None:
    """The second one waits; the end of the first lets it in."""
    path = tmp_path / "lock"
    attempt = ["flock", "--nonblock", str(path), "true"]
    with Lock(path, "this test"):
        assert subprocess.run(attempt, check=False).returncode == 1
    assert subprocess.run(attempt, check=False).returncode == 0


def test_clusters_have_networks_that_do_not_overlap() -> None:
    """Each has an address for the node and one for the machine, in a range that no real network uses."""
    links = [Link(slot) for slot in range(SLOTS)]
    addresses = {address for link in links for address in (link.node, link.machine)}
    assert len(addresses) == 2 * SLOTS
    assert all(len(link.interface) < 16 for link in links), "longer names are refused by Linux"
    assert (Link(7).node, Link(7).machine) == (str(RANGE[7 * 256 + 1]), str(RANGE[7 * 256 + 2]))


def test_every_finding_that_is_bad_says_what_to_do() -> None:
    """Before the first build, once, and all of it together."""
    for finding in check.findings("scale"):
        assert finding.good or finding.mend, finding
    assert not check.memory(1 << 20).good
    bad = check.disk(Path("/"), 1 << 20)
    assert "XDG_CACHE_HOME" in bad.mend


@pytest.mark.parametrize(("swap", "good"), [(0, False), (2, True)])
def test_swap_is_memory(swap: int, good: bool) -> None:
    """To add some is the mend that is told."""
    told = f"MemTotal: 4194304 kB\nMemAvailable: {3 << 20} kB\nSwapTotal: 8 kB\nSwapFree: {swap << 20} kB\n"
    assert check.memory(4, told).good == good


def test_the_kernel_is_looked_at_before_the_build() -> None:
    """A node without the module would be refused after minutes."""
    assert "kernel" in {finding.subject for finding in check.findings("node")}


def test_a_node_without_root_is_refused_with_what_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is built."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/tmp")
    with without_root(), pytest.raises(Refused, match="SIZE=api"):
        check.require("node", runs=True)


@contextmanager
def without_root() -> Iterator[None]:
    """As an ordinary user, for a moment, whoever runs the tests."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_versions_are_read_where_they_are_pinned() -> None:
    """One place: the module files that Go builds from."""
    assert versions.kubernetes().startswith("v1.")
    assert versions.module_version("sigs.k8s.io/kwok", versions.SOURCES / "kwok" / "go.mod").startswith("v0.")
    with pytest.raises(LookupError, match=r"example\.org/none"):
        versions.module_version("example.org/none")


def test_the_makefile_lists_what_a_person_must_know() -> None:
    """Each target that is for people, in one line."""
    told = subprocess.run(["make", "help"], cwd=versions.CHECKOUT, capture_output=True, text=True, check=True).stdout
    assert sorted(line.split()[1] for line in told.splitlines()) == ["bench", "cluster", "demo", "down", "soak", "test"]
