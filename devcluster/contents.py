"""What the layers of the Dask image hold: the environment of ``uv.lock`` with its interpreter, and the package."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from devcluster import layers, versions
from devcluster.build import uv
from devcluster.console import told
from devcluster.home import give
from devcluster.layers import Layer, Writer
from devcluster.packages import Tools

PYTHON = "opt/python"
ENVIRONMENT = "opt/dask"
"""Where the interpreter and the environment lie in the image."""

UNUSED = frozenset(
    {"ensurepip", "idlelib", "lib2to3", "site-packages", "dist-packages", "test", "tests", "tkinter", "turtledemo"}
)
"""Folders of the standard library that no worker imports."""

OF_TESTS = frozenset({"tests"})
"""Folders of packages that hold their own tests: a fifth of the environment."""

LOCKED = ("--frozen", "--no-default-groups", "--group", "runtime")
"""The part of ``uv.lock`` that the image holds."""

PACKAGE_SOURCES = ("dask_k8s", "crds", "pyproject.toml")

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
dask:x:1000:1000:dask:/tmp:/bin/sh
nobody:x:65534:65534:nobody:/tmp:/bin/sh
"""


def environment_layer(tools: Tools) -> Layer:
    """Python, what the lock names, a shell, tini, and the libraries that these need."""
    key = hashlib.sha256()
    key.update(uv(["export", "--quiet", "--no-emit-project", *LOCKED]).encode())
    key.update(f"{sys.version} {interpreter()} {platform.machine()}".encode())
    for recipe in (__file__, layers.__file__):
        key.update(Path(recipe).read_bytes())
    return layers.layer("environment", key.hexdigest()[:16], partial(fill_environment, tools))


def package_layer() -> Layer:
    """The package as its wheel installs it."""
    key = hashlib.sha256(f"{sys.version_info.major}.{sys.version_info.minor}".encode())
    for path in sorted(files_of(versions.CHECKOUT / name for name in PACKAGE_SOURCES)):
        key.update(str(path.relative_to(versions.CHECKOUT)).encode() + b"\0" + path.read_bytes())
    return layers.layer("package", key.hexdigest()[:16], fill_package)


def files_of(roots: Iterable[Path]) -> Iterator[Path]:
    """Every source file below these."""
    for root in roots:
        found = [root] if root.is_file() else root.rglob("*")
        yield from (path for path in found if path.is_file() and "__pycache__" not in path.parts)


def interpreter() -> Path:
    """The interpreter that the environment was made with, itself and not a link to it."""
    return Path(getattr(sys, "_base_executable", sys.executable)).resolve()


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is removed in the end, in the cache: on one file system uv links its files into it."""
    with tempfile.TemporaryDirectory(dir=layers.folder(), prefix=".scratch-") as name:
        give(Path(name))
        yield Path(name)


def fill_environment(tools: Tools, writer: Writer) -> None:
    """Write the environment's layer."""
    with told("image", "making the environment of uv.lock (Dask and what it needs)"), scratch() as stage:
        prefix = stage / "dask"
        arguments = ["sync", "--quiet", "--no-install-project", "--compile-bytecode", *LOCKED]
        uv([*arguments, "--python", str(interpreter())], UV_PROJECT_ENVIRONMENT=str(prefix))
        write_system(writer, tools)
        write_python(writer)
        write_environment(writer, prefix)
        write_libraries(writer, prefix)


def write_system(writer: Writer, tools: Tools) -> None:
    """What every image has: folders, accounts, a shell with its usual tools, and the init of the official image."""
    for name in ("etc", "dev", "proc", "run", "sys", "opt", "root", "var", "usr/bin", "usr/lib", "usr/lib64"):
        writer.folder(name)
    for name in ("tmp", "var/tmp"):
        writer.folder(name, 0o1777)
    for name in ("bin", "lib", "lib64"):
        writer.link(name, f"usr/{name}")
    writer.link("sbin", "usr/bin")
    writer.link("var/run", "/run")
    writer.file("etc/passwd", PASSWD.encode())
    writer.file("etc/group", b"root:x:0:\ndask:x:1000:\nnogroup:x:65534:\n")
    writer.file("etc/nsswitch.conf", b"hosts: files dns\n")
    authorities = Path("/etc/ssl/certs/ca-certificates.crt")
    if authorities.exists():
        writer.copy(authorities, "etc/ssl/certs/ca-certificates.crt")
    busybox = tools.find("busybox")
    writer.copy(Path(tools.find("tini-static")), "usr/bin/tini")
    writer.copy(Path(busybox), "usr/bin/busybox")
    for name in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if name != "busybox":
            writer.link(f"usr/bin/{name}", "busybox")


def write_python(writer: Writer) -> None:
    """The interpreter and its standard library, moved to a place of their own: it finds the one from the other."""
    library = Path(sysconfig.get_path("stdlib"))
    configuration = {entry.name for entry in library.glob("config-*")}
    writer.copy(interpreter(), f"{PYTHON}/bin/python")
    writer.tree(library, f"{PYTHON}/lib/{library.name}", without=UNUSED | configuration)


def write_environment(writer: Writer, prefix: Path) -> None:
    """The virtual environment, moved: what names its folder is written anew."""
    writer.file(f"{ENVIRONMENT}/pyvenv.cfg", f"home = /{PYTHON}/bin\ninclude-system-site-packages = false\n".encode())
    writer.tree(prefix / "lib", f"{ENVIRONMENT}/lib", without=OF_TESTS)
    for script in sorted((prefix / "bin").iterdir()):
        name = f"{ENVIRONMENT}/bin/{script.name}"
        if script.name.startswith("python"):
            writer.link(name, f"/{PYTHON}/bin/python")
        elif script.is_file():
            content = script.read_bytes().replace(os.fsencode(prefix), b"/" + ENVIRONMENT.encode())
            writer.file(name, content, 0o755)


def write_libraries(writer: Writer, prefix: Path) -> None:
    """The machine's shared libraries that the interpreter and the packages link, where the loader looks for all."""
    # Asked for under "stdlib": in a virtual environment "platstdlib" is the environment's own folder, without them.
    binaries = [interpreter(), *Path(sysconfig.get_path("stdlib"), "lib-dynload").glob("*.so")]
    own = sorted(prefix.rglob("*.so*"))
    for library in sorted(linked([*binaries, *own])):
        if not library.is_relative_to(prefix):
            # The loader's whole path is written into every program; the rest it looks for by name.
            loader = library.name.startswith("ld-")
            folder = str(library.parent.resolve())[1:] if loader else "usr/lib"
            writer.copy(library, f"{folder}/{library.name}")


def linked(binaries: Sequence[Path]) -> set[Path]:
    """The shared libraries that these files link, the loader included."""
    found = set()
    for first in range(0, len(binaries), 100):
        command = ["ldd", *map(str, binaries[first : first + 100])]
        lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
        found |= {
            Path(word) for line in lines for word in line.split() if word.startswith("/") and not word.endswith(":")
        }
    return found


def fill_package(writer: Writer) -> None:
    """Write the package's layer."""
    with told("image", "making the layer of dask_k8s"), scratch() as stage:
        uv(["build", "--quiet", "--wheel", "--out-dir", str(stage)])
        (wheel,) = stage.glob("*.whl")
        site = stage / "site"
        options = ["--quiet", "--no-deps", "--compile-bytecode", "--python", str(interpreter())]
        uv(["pip", "install", *options, "--target", str(site), str(wheel)])
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        writer.tree(site, f"{ENVIRONMENT}/lib/{version}/site-packages", without=frozenset({"bin"}))
