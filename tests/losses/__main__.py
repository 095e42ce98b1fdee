"""``python -m tests.losses``: one run, its figures as JSON; it fails where anything was lost.

It uses this clone's own node, or two of them where nodes are drained, and needs root as they do. The logs of all Pods
and a timeline stay in a folder.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from devcluster import exit_code
from devcluster.nodes import SECOND
from tests.losses.options import SUBJECTS, Options
from tests.losses.start import FAULTS, run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; 1 where something was lost."""
    parser = argparse.ArgumentParser(prog="tests.losses", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--keys", type=int, default=10_000, help="how many are scattered, and how many computed")
    parser.add_argument("--kill-operator", action="store_true", help="every 20 to 60 seconds")
    parser.add_argument("--drain", action="store_true", help="drain nodes of some workers, and a second node of all")
    parser.add_argument("--subject", choices=SUBJECTS, default=SUBJECTS[0])
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--folder", type=Path, help="where the logs go")
    asked = parser.parse_args(arguments)
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="losses-"))
    folder.mkdir(parents=True, exist_ok=True)
    options = Options(
        subject=asked.subject,
        seconds=60 * asked.minutes,
        keys=asked.keys,
        seed=asked.seed,
        kill_every=(20, 60) if asked.kill_operator else None,
        drains=asked.drain,
        second_node=SECOND.name if asked.drain else "",
        folder=str(folder.resolve()),
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as after Ctrl-C, the namespace goes
    sys.stderr.write(f"seed {options.seed}, logs in {options.folder}\n")
    return exit_code(lambda: _run(options, folder))


def _run(options: Options, folder: Path) -> int:
    figures = run(options)
    text = json.dumps(figures, indent=1)
    (folder / "figures.json").write_text(text)
    sys.stdout.write(f"{text}\n")
    return int(any(figures[fault] for fault in FAULTS))


if __name__ == "__main__":
    sys.exit(main())
