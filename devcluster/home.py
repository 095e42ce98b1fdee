"""Whose machine this is: the person whose cache is used, also when the work is done as root by ``sudo``."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOTS_HOME = Path(pwd.getpwuid(0).pw_dir)


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The person who asked: the caller, or under ``sudo`` the one who called it."""

    uid: int
    gid: int
    name: str
    home: Path
    borrowed_root: bool

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of ``subprocess.run`` by which a program runs as this person, and leaves files that are theirs."""
        if not self.borrowed_root:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def run(self, command: Sequence[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a program as this person to its end; whoever called looks at its exit code."""
        return subprocess.run(
            command,
            cwd=folder,
            env={**self.environment(), **environment},
            capture_output=True,
            text=True,
            check=False,
            **self.arguments,
        )

    def environment(self) -> dict[str, str]:
        """The environment of a program that runs as this person."""
        return {**os.environ, "HOME": str(self.home), "USER": self.name, "LOGNAME": self.name}


@cache
def owner() -> Owner:
    """The person who asked for what this process does."""
    return owner_in(os.environ, os.geteuid())


def owner_in(environment: Mapping[str, str], euid: int) -> Owner:
    """The person behind an effective user and its environment."""
    borrowed = euid == 0 and environment.get("SUDO_UID", "0") != "0"
    uid = int(environment["SUDO_UID"]) if borrowed else euid
    try:
        entry = pwd.getpwuid(uid)
        name, gid, home = entry.pw_name, entry.pw_gid, entry.pw_dir
    except KeyError:  # a container that runs under a number without a name
        name, gid, home = str(uid), os.getegid(), "/"
    if not borrowed:
        home = environment.get("HOME", home)
    return Owner(uid=uid, gid=gid, name=name, home=Path(home), borrowed_root=borrowed)


def cache_folder() -> Path:
    """The folder that holds all that is built, and the state of running clusters."""
    return make_folder(cache_folder_of(owner(), os.environ))


def cache_folder_of(person: Owner, environment: Mapping[str, str]) -> Path:
    """Where a person's cache lies; as the XDG specification says, a relative path in the variable is ignored."""
    told = environment.get("XDG_CACHE_HOME", "")
    # root's own cache is not the person's, should sudo hand root's variable on.
    named = told.startswith("/") and not (person.borrowed_root and Path(told).is_relative_to(ROOTS_HOME))
    return (Path(told) if named else person.home / ".cache") / "dask-k8s"


def make_folder(path: Path) -> Path:
    """The folder, made where it is missing, with its parents, as the person's own."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        give(folder)
    return path


def give(path: Path) -> None:
    """Make a file or folder that root has made the person's own."""
    person = owner()
    if person.borrowed_root:
        os.chown(path, person.uid, person.gid, follow_symlinks=False)


def give_all(path: Path) -> None:
    """The same for a folder and everything below it."""
    if owner().borrowed_root:
        for folder, folders, files in os.walk(path):
            for name in (".", *folders, *files):
                give(Path(folder, name))
