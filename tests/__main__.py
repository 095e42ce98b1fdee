"""The whole gate: ``python -m tests``, as ``make test`` and CI run it.

What needs no cluster, and what needs only an API server, runs in parallel; what needs a node runs after it, alone.
The last line is pytest's own. Arguments are handed on to pytest.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.pythons import missing

PARALLEL = ["tests/unit", "tests/golden", "tests/static", "tests/integration", "tests/api"]
ALONE = ["tests/devcluster"]
ON_A_NODE = ["tests/node", "tests/docs"]


def main(arguments: list[str]) -> int:
    """Run all of it, and say what did not run and why."""
    if missing():
        print(f"Not run: unit and golden tests under Python {', '.join(missing())}, which is not here", flush=True)
    failures = 0
    failures += run(PARALLEL, ["-n", "2", *arguments])
    failures += run(ALONE, arguments)
    if os.geteuid() == 0 or any(argument.startswith("--kube") for argument in arguments):
        failures += run(ON_A_NODE, arguments)
    else:
        print(f"Not run, since it needs root (a node of one's own) or --kubecontext: {' '.join(ON_A_NODE)}", flush=True)
    return 1 if failures else 0


def run(folders: list[str], arguments: list[str]) -> int:
    """One run of pytest; 0 if it passed."""
    there = [folder for folder in folders if Path(folder).is_dir()]
    print(f"== {' '.join(there)}", file=sys.stderr, flush=True)
    began = time.monotonic()
    code = subprocess.run([sys.executable, "-m", "pytest", *there, *arguments], check=False).returncode
    verdict = "passed" if code == 0 else "FAILED"
    print(f"== {verdict} after {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
