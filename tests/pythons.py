"""The Pythons that the package claims to run under, and those of them that this machine has."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

CLAIMED = [(3, 11), (3, 12), (3, 13)]
WANTED = [*CLAIMED, (3, 14)]  # the last is claimed once somebody has seen it pass


@cache
def found() -> dict[tuple[int, int], str]:
    """Interpreters by version: those on the PATH, and pyenv's, which a PATH may show and yet not run."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    candidates = {
        (major, minor): [
            shutil.which(f"python{major}.{minor}"),
            *sorted(map(str, pyenv.glob(f"{major}.{minor}.*/bin/python")), reverse=True),
        ]
        for major, minor in WANTED
    }
    return {
        version: python
        for version, paths in candidates.items()
        if (python := next((path for path in paths if path and _is(path, version)), None))
    }


def missing() -> list[str]:
    """The versions that nothing here can try."""
    return [f"{major}.{minor}" for major, minor in WANTED if (major, minor) not in found()]


def _is(python: str, version: tuple[int, int]) -> bool:
    """Whether it runs, and is what its name says."""
    ask = [python, "-c", "import sys; print(*sys.version_info[:2])"]
    told = subprocess.run(ask, capture_output=True, text=True, check=False)
    return told.returncode == 0 and told.stdout.split() == [str(number) for number in version]
