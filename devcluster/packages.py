"""Debian packages that a node runs from the cache: downloaded and unpacked, never installed.

Installing them would change the machine, and containerd's would remove a user's Docker. apt works on lists of its own
in the cache, so that it needs neither root nor fresh lists on the machine.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from devcluster import versions
from devcluster.console import Refused, told
from devcluster.home import cache_folder, give, make_folder, owner
from devcluster.instances import Lock

OF_EVERY_SYSTEM = {"libc6", "libcrypt1", "libgcc-s1", "libstdc++6"}
"""Libraries that every system has; beside the running loader they would be of another build than it."""

IPTABLES = [f"{family}{verb}" for family in ("iptables", "ip6tables") for verb in ("", "-save", "-restore")]
"""Names that the package leaves to Debian's alternatives."""


@dataclass(frozen=True, slots=True)
class Tools:
    """The unpacked packages."""

    root: Path

    @property
    def path(self) -> str:
        """Where programs are found: these first, the system's after them."""
        ours = [self.root / folder for folder in ("usr/bin", "usr/sbin", "bin", "sbin")]
        return ":".join([*map(str, ours), "/usr/sbin", "/usr/bin", "/sbin", "/bin"])

    @property
    def cni(self) -> Path:
        """The folder of CNI's plug-ins."""
        return self.root / "usr/lib/cni"

    def environment(self) -> dict[str, str]:
        """The whole environment of a program that runs from here: nothing of the user's reaches a component."""
        libraries = [*self.root.glob("usr/lib/*-linux-gnu*"), *self.root.glob("lib/*-linux-gnu*")]
        extensions = [str(folder / "xtables") for folder in libraries if (folder / "xtables").is_dir()]
        return {
            "PATH": self.path,
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
            **({"XTABLES_LIBDIR": extensions[0]} if extensions else {}),
        }

    def find(self, program: str) -> str:
        """The path of a program of these packages or of the system."""
        found = shutil.which(program, path=self.path)
        if found is None:
            raise Refused(f"{program} is neither on this system nor in {self.root}; remove that folder and try again")
        return found

    def run(self, program: str, *arguments: str, before: Sequence[str] = (), check: bool = True) -> str:
        """Run a program to its end, and return what it prints."""
        command = [*before, self.find(program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=self.environment())
        if check and done.returncode != 0:
            raise Refused(f"{program} {' '.join(arguments)} failed: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout


def tools() -> Tools:
    """The unpacked packages, downloaded where they are missing."""
    root = cache_folder() / f"debian-{release()}-{packages_key()}"
    if root.exists():
        return Tools(root)
    with Lock(root.with_name(f"{root.name}.lock"), "a download by another process"):
        if not root.exists():
            download(root)
    return Tools(root)


def release() -> str:
    """The release of the system, such as ``debian-12``."""
    told = platform.freedesktop_os_release()
    return f"{told['ID']}-{told.get('VERSION_ID', 'unknown')}"


def packages_key() -> str:
    """Changes with the list of packages, and with the processor."""
    return hashlib.sha256(" ".join([platform.machine(), *versions.DEBIAN]).encode()).hexdigest()[:8]


def download(root: Path) -> None:
    """Fill the folder, whole or not at all."""
    with tempfile.TemporaryDirectory(dir=make_folder(root.parent), prefix=".packages-") as name:
        scratch = Path(name)
        give(scratch)
        apt = Apt(make_folder(scratch / "apt"))
        with told("packages", "asking apt for its lists, beside the system's own"):
            apt.get("update", "-qq")
        wanted = [*versions.DEBIAN, *apt.libraries(versions.DEBIAN)]
        with told("packages", f"downloading and unpacking {', '.join(versions.DEBIAN)}"):
            archives = make_folder(scratch / "archives")
            apt.get("download", "-qq", *wanted, folder=archives)
            unpacked = make_folder(scratch / "root")
            for archive in archives.glob("*.deb"):
                run(["dpkg-deb", "--extract", str(archive), str(unpacked)], unpacked)
        name_iptables(unpacked)
        unpacked.rename(root)


def name_iptables(root: Path) -> None:
    """Give iptables the names that Debian's alternatives would."""
    for name in IPTABLES:
        link = root / "usr/sbin" / name
        if not link.exists():
            link.symlink_to("xtables-nft-multi")
            give(link)


class Apt:
    """apt with a state of its own, below a folder."""

    def __init__(self, state: Path) -> None:
        make_folder(state / "lists" / "partial")
        make_folder(state / "cache" / "archives" / "partial")
        self._folder = state
        self._options = [
            f"-oDir::State::Lists={state}/lists",
            f"-oDir::Cache={state}/cache",
            "-oAPT::Sandbox::User=",
            "-oAPT::Install-Recommends=false",
            "-oAcquire::Languages=none",
            "-oDebug::NoLocking=true",
        ]

    def get(self, *arguments: str, folder: Path | None = None) -> str:
        """Run apt-get."""
        return run(["apt-get", *self._options, *arguments], folder or self._folder)

    def libraries(self, packages: Sequence[str]) -> list[str]:
        """The libraries that packages need, those of every system left out."""
        which = ["recommends", "suggests", "conflicts", "breaks", "replaces", "enhances"]
        arguments = ["depends", "--recurse", *(f"--no-{kind}" for kind in which), *packages]
        told = run(["apt-cache", *self._options, *arguments], self._folder)
        names = {line.strip() for line in told.splitlines() if not line.startswith((" ", "|", "<"))}
        return sorted(name for name in names if name.startswith("lib") and name not in OF_EVERY_SYSTEM)


def run(command: Sequence[str], folder: Path) -> str:
    """Run a program as the person, and return what it prints."""
    done = owner().run(command, folder, LC_ALL="C.UTF-8")
    if done.returncode != 0:
        raise Refused(f"{' '.join(command[:1])} failed: {done.stderr.strip()[-2000:]}")
    return str(done.stdout)
