"""Writes layers of an image: plain tar files in the cache, each made once."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from devcluster.home import cache_folder, give, make_folder
from devcluster.instances import Lock

KEPT = 3
"""How many layers of one kind stay in the cache: other clones and branches may use older ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A finished layer in the cache."""

    path: Path
    digest: str
    """SHA-256 of the file. It is not compressed, so the digest of the blob is that of its content too."""


class Writer:
    """A layer that is being written: everything belongs to root and can be read by everyone."""

    def __init__(self, output: IO[bytes]) -> None:
        self._tar = tarfile.open(fileobj=output, mode="w|", format=tarfile.PAX_FORMAT)  # noqa: SIM115

    def close(self) -> None:
        """Write the end."""
        self._tar.close()

    def folder(self, name: str, mode: int = 0o755) -> None:
        """An empty folder."""
        member = tarfile.TarInfo(name)
        member.type, member.mode = tarfile.DIRTYPE, mode
        self._tar.addfile(member)

    def link(self, name: str, target: str) -> None:
        """A symbolic link."""
        member = tarfile.TarInfo(name)
        member.type, member.linkname = tarfile.SYMTYPE, target
        self._tar.addfile(member)

    def file(self, name: str, content: bytes, mode: int = 0o644, mtime: float = 0) -> None:
        """A file."""
        member = tarfile.TarInfo(name)
        member.size, member.mode, member.mtime = len(content), mode, mtime
        self._tar.addfile(member, io.BytesIO(content))

    def copy(self, source: Path, name: str) -> None:
        """A file as it is; its time is kept, which compiled modules compare."""
        found = source.stat()
        self.file(name, source.read_bytes(), 0o755 if found.st_mode & 0o111 else 0o644, found.st_mtime)

    def tree(self, source: Path, name: str, *, without: frozenset[str] = frozenset()) -> None:
        """A folder with all that is in it, but for folders and files of some names."""
        for entry in sorted(os.scandir(source), key=lambda entry: entry.name):
            if entry.name in without:
                continue
            target = f"{name}/{entry.name}"
            if entry.is_symlink():
                self.link(target, str(Path(entry.path).readlink()))
            elif entry.is_dir():
                self.folder(target)
                self.tree(Path(entry.path), target, without=without)
            else:
                self.copy(Path(entry.path), target)


def folder() -> Path:
    """Where layers lie."""
    return make_folder(cache_folder() / "images")


def layer(kind: str, key: str, fill: Callable[[Writer], None]) -> Layer:
    """The layer of this key, filled where it is not in the cache."""
    path = folder() / f"{kind}-{key}.tar"
    noted = path.with_suffix(".sha256")
    with Lock(folder() / f"{kind}.lock", f"another command that makes the {kind} layer"):
        if not noted.exists():
            write(path, noted, fill)
        os.utime(noted)
        forget(kind)
    return Layer(path=path, digest=noted.read_text())


def write(path: Path, noted: Path, fill: Callable[[Writer], None]) -> None:
    """Write a layer, and its digest last: a layer without one is not whole."""
    with path.open("wb") as file, closing(Writer(file)) as writer:
        fill(writer)
    with path.open("rb") as written:
        noted.write_text(hashlib.file_digest(written, "sha256").hexdigest())
    give(path)
    give(noted)


def forget(kind: str) -> None:
    """Remove the layers of a kind that were not used for longest."""
    by_age = sorted(folder().glob(f"{kind}-*.sha256"), key=lambda noted: noted.stat().st_mtime, reverse=True)
    for noted in by_age[KEPT:]:
        noted.unlink()
        noted.with_suffix(".tar").unlink(missing_ok=True)
