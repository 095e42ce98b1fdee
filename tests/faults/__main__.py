"""``python -m tests.faults``: the soak, its figures as JSON; it fails where there is something to complain about."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.faults.place import run
from tests.faults.soak import Options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; 1 where something was not as it should be."""
    parser = argparse.ArgumentParser(prog="tests.faults", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--kills", type=int, default=0, help="how often the operator is killed meanwhile")
    parser.add_argument("--no-faults", action="store_true", help="the API server is well")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--folder", type=Path, help="where the logs go")
    asked = parser.parse_args(arguments)
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    sys.stderr.write(f"seed {asked.seed}, logs in {folder}\n")
    options = Options(
        seconds=60 * asked.minutes,
        seed=asked.seed,
        folder=str(folder.resolve()),
        kills=asked.kills,
        faults=not asked.no_faults,
    )
    figures = run(options)
    text = json.dumps(figures, indent=1)
    (folder / "figures.json").write_text(text)
    sys.stdout.write(f"{text}\n")
    return int(bool(figures["complaints"]))


if __name__ == "__main__":
    sys.exit(main())
