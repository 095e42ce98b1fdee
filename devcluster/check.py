"""What this machine needs before a cluster is built on it, each with its mend."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from devcluster import versions
from devcluster.bridges import GET, MODULE, BridgeFilter
from devcluster.build import are_built
from devcluster.console import Refused, say
from devcluster.home import cache_folder
from devcluster.instances import Kind

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Need:
    """How much a cluster of a kind takes, in GiB, with room."""

    memory: int
    disk: int


TO_BUILD: Mapping[Kind, Need] = {"api": Need(3, 6), "node": Need(4, 9), "nodes": Need(4, 10), "scale": Need(5, 10)}
"""From nothing: Go's linker takes 2.4 GiB of memory; all caches together, also Go's and uv's, held 6.0 GiB after it."""

TO_RUN: Mapping[Kind, Need] = {"api": Need(1, 1), "node": Need(2, 2), "nodes": Need(3, 3), "scale": Need(4, 3)}
"""Once it has been built: an API server takes 0.5 GiB of memory, a node 1.2, and 1 GiB of disk."""

FAMILIES = {"debian", "ubuntu"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    found: str
    good: bool
    mend: str = ""


def require(kind: Kind, *, runs: bool) -> None:
    """Raise, with every mend, if this machine cannot have a cluster of this kind, or mend the one that runs."""
    looked_at = rights(kind) if runs else findings(kind)
    if bad := [finding for finding in looked_at if not finding.good]:
        lines = [f"{finding.subject}: {finding.found}. {finding.mend}" for finding in bad]
        raise Refused("This machine lacks something:\n" + "\n".join(f"  {line}" for line in lines))


def show(kind: Kind) -> bool:
    """Say what was found, and whether all of it is good."""
    found = list(findings(kind))
    for finding in found:
        say(finding.subject, finding.found if finding.good else f"{finding.found}. {finding.mend}")
    return all(finding.good for finding in found)


def findings(kind: Kind) -> Iterator[Finding]:
    """Everything that a cluster of this kind needs, looked at."""
    need = need_of(kind)
    yield system(kind)
    yield python()
    yield from rights(kind)
    yield memory(need.memory)
    yield disk(cache_folder(), need.disk)
    if kind != "api":
        yield programs()
        yield bridge_filter()
        yield file_system(cache_folder())


def need_of(kind: Kind) -> Need:
    """What it takes now; what was built from other sources does not help."""
    return (TO_RUN if are_built(kind) else TO_BUILD)[kind]


def system(kind: Kind) -> Finding:
    """Linux, and for a node a Debian or Ubuntu whose apt serves packages."""
    try:
        told = platform.freedesktop_os_release()
    except OSError:
        told = {"PRETTY_NAME": platform.system(), "ID": "unknown"}
    family = {told["ID"], *told.get("ID_LIKE", "").split()}
    good = sys.platform == "linux" and platform.machine() in {"x86_64", "aarch64"}
    if kind != "api":
        good = good and bool(family & FAMILIES) and shutil.which("apt-get") is not None
    return Finding(
        subject="system",
        found=f"{told.get('PRETTY_NAME', told['ID'])} on {platform.machine()}",
        good=good,
        mend="A node needs Debian or Ubuntu on x86_64 or aarch64. SIZE=api works on any Linux; on another system use a"
        " virtual machine, or a cluster that you have: make demo KUBECONTEXT=name",
    )


def python() -> Finding:
    """The interpreter that runs this."""
    return Finding(
        subject="Python",
        found=platform.python_version(),
        good=sys.version_info >= versions.PYTHON,
        mend="Install Python 3.11 or newer, remove .venv, and try again",
    )


def rights(kind: Kind) -> Iterator[Finding]:
    """Namespaces, mounts and iptables are root's."""
    if kind != "api":
        yield Finding(
            subject="rights",
            found="root" if os.geteuid() == 0 else "not root",
            good=os.geteuid() == 0,
            mend="A node needs root: put sudo in front. Without root: make cluster SIZE=api",
        )


def memory(gib: int, told: str | None = None) -> Finding:
    """What is free for programs now, swap included: the linker is slower there, but ends."""
    lines = dict(line.split(":") for line in (told or Path("/proc/meminfo").read_text()).splitlines())
    free = sum(int(lines[name].split()[0]) for name in ("MemAvailable", "SwapFree")) * 1024 / GIB
    return Finding(
        subject="memory",
        found=f"{free:.1f} GiB free, swap included",
        good=free >= gib,
        mend=f"{gib} GiB are needed: end other programs, or add swap",
    )


def disk(folder: Path, gib: int) -> Finding:
    """What is free where the cache lies."""
    free = shutil.disk_usage(folder).free / GIB
    return Finding(
        subject="disk",
        found=f"{free:.1f} GiB free at {folder}",
        good=free >= gib,
        mend=f"{gib} GiB are needed: make room, or let XDG_CACHE_HOME name a folder on a larger disk",
    )


def programs() -> Finding:
    """Programs of util-linux and dpkg that every Debian has."""
    missing = [
        name for name in ("nsenter", "unshare", "mount", "dpkg-deb", "apt-cache", "ldd") if not shutil.which(name)
    ]
    return Finding(
        subject="programs",
        found=f"missing: {', '.join(missing)}" if missing else "all there",
        good=not missing,
        mend="Install util-linux, dpkg, apt and libc-bin",
    )


def bridge_filter() -> Finding:
    """A module of the kernel, asked for before minutes are spent on a build."""
    good = BridgeFilter().can_load()
    return Finding(
        subject="kernel",
        found=f"{os.uname().release}, {'with' if good else 'without'} {MODULE}",
        good=good,
        mend=GET,
    )


def file_system(folder: Path) -> Finding:
    """Containerd stacks layers by overlayfs, which does not lie on every file system."""
    kind = file_system_of(folder)
    return Finding(
        subject="file system",
        found=f"{kind} at {folder}",
        good=kind not in {"overlay", "nfs", "nfs4", "fuse", "ecryptfs", "9p", "vboxsf"},
        mend="Containers cannot be unpacked there: let XDG_CACHE_HOME name a folder on ext4, xfs, btrfs or tmpfs",
    )


def file_system_of(folder: Path) -> str:
    """The kind of file system that a folder lies on."""
    best, kind = "", "unknown"
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, point, its_kind, *_ = line.split()
        if folder.resolve().is_relative_to(point) and len(point) >= len(best):
            best, kind = point, its_kind
    return kind
