"""dask-kubernetes, the newest on PyPI, in an environment of its own, so that both meet the same machine.

Its best position: its operator stands in the cluster's network, and its clusters start ``dask worker`` and ``dask
scheduler``, since its own ``dask-worker`` and ``dask-scheduler`` are gone from today's Dask.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from devcluster.home import cache_folder

RELEASE = "2026.3.0"
OPERATOR = ("-m", "kopf", "run", "--quiet", "-m", "dask_kubernetes.operator.controller")


def python() -> str:
    """Its environment's interpreter; made where it is not there yet, with this environment's Dask."""
    from distributed import __version__ as dask

    folder = cache_folder() / f"peer-{RELEASE}-{dask}"
    interpreter = folder / "bin" / "python"
    if not interpreter.exists():
        wanted = [f"dask-kubernetes=={RELEASE}", f"dask=={dask}", f"distributed=={dask}"]
        uv("venv", "--quiet", "--python", sys.executable, str(folder))
        uv("pip", "install", "--quiet", "--python", str(interpreter), *wanted)
    return str(interpreter)


def operator(namespace: str) -> list[str]:
    """What starts its operator for one namespace."""
    return [python(), *OPERATOR, "--namespace", namespace]


def uv(*words: str) -> None:
    """Run the lock's own uv."""
    subprocess.run([str(Path(sys.executable).parent / "uv"), *words], check=True, stdout=sys.stderr)
