"""The whole gate: ``python -m tests``, as ``make test`` and CI run it.

What needs no cluster, and what needs only an API server, runs in parallel; what needs a node runs after it, alone.
The last line is pytest's own. Arguments are handed on to pytest.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.pythons import missing

PARALLEL = ["tests/unit", "tests/golden", "tests/static", "tests/integration", "tests/api"]
ALONE = ["tests/devcluster"]
ON_A_NODE = ["tests/node", "tests/docs"]


def main(arguments: list[str]) -> int:
    """Run all of it, and say what did not run and why."""
    if missing():
        print(f"Not run: unit and golden tests under Python {', '.join(missing())}, which is not here", flush=True)
    # pytest-kind's cluster has one name: of two processes the second could not make it.
    at_once = [] if "--kind" in arguments else ["-n", "2"]
    runs = [(PARALLEL, [*at_once, *arguments]), (ALONE, arguments)]
    if os.geteuid() == 0 or any(argument.startswith(("--kubecontext", "--kind")) for argument in arguments):
        runs.append((ON_A_NODE, arguments))
    else:
        missing_here = "it needs root (a node of one's own), --kubecontext or --kind"
        print(f"Not run, since {missing_here}: {' '.join(ON_A_NODE)}", flush=True)
    failed: list[str] = []
    for folders, options in runs:
        if failed:
            print(f"== FAILED already: {' '.join(failed)}", file=sys.stderr, flush=True)
        if run(folders, options):
            failed += folders
    return 1 if failed else 0


def run(folders: list[str], arguments: list[str]) -> int:
    """One run of pytest, whose closing line is the last; 0 if it passed."""
    there = [folder for folder in folders if Path(folder).is_dir()]
    print(f"== {' '.join(there)}", file=sys.stderr, flush=True)
    return subprocess.run([sys.executable, "-m", "pytest", *there, *arguments], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
