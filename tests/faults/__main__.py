"""``python -m tests.faults soak``, ``away`` or ``takeovers``: figures as JSON; 1 where there are complaints."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from devcluster import exit_code
from tests.faults import place
from tests.faults.away import Options as Away
from tests.faults.soak import Options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of them; 1 where something was not as it should be."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    common.add_argument("--folder", type=Path, help="where the logs go")
    parser = argparse.ArgumentParser(prog="tests.faults")
    parts = parser.add_subparsers(dest="part", required=True)
    soak = parts.add_parser("soak", parents=[common], help="people, nodes and a failing API server at random")
    soak.add_argument("--minutes", type=float, default=10)
    soak.add_argument("--kills", type=int, default=0, help="how often the operator is killed meanwhile")
    soak.add_argument("--no-faults", action="store_true", help="the API server is well")
    away = parts.add_parser("away", parents=[common], help="an API server that does not answer for minutes")
    away.add_argument("--minutes", type=float, default=10)
    takeovers = parts.add_parser("takeovers", parents=[common], help="two operators, of which one always leads")
    takeovers.add_argument("--count", type=int, default=30)
    asked = parser.parse_args(arguments)
    return exit_code(lambda: _run(asked))


def _run(asked: argparse.Namespace) -> int:
    folder = asked.folder or Path(tempfile.mkdtemp(prefix=f"{asked.part}-"))
    folder.mkdir(parents=True, exist_ok=True)
    sys.stderr.write(f"seed {asked.seed}, logs in {folder}\n")
    match asked.part:
        case "soak":
            figures = _soak(asked, folder)
        case "away":
            figures = place.away(Away(seconds=60 * asked.minutes, folder=str(folder.resolve())))
        case _:
            figures = place.takeovers(folder, asked.count, asked.seed)
    text = json.dumps(figures, indent=1)
    (folder / "figures.json").write_text(text)
    sys.stdout.write(f"{text}\n")
    return int(bool(figures["complaints"]))


def _soak(asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    return place.soak(
        Options(
            seconds=60 * asked.minutes,
            seed=asked.seed,
            folder=str(folder.resolve()),
            kills=asked.kills,
            faults=not asked.no_faults,
        )
    )


if __name__ == "__main__":
    sys.exit(main())
