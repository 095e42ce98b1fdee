"""``python -m benchmarks [part …]``: each part prints a table with what it ran on; without a name, all of them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence

from benchmarks import burst, idle, profiling, scale, start, workers
from devcluster import exit_code

PARTS: Mapping[str, Callable[[int | None], None]] = {
    "start": start.main,
    "shrink": workers.shrink,
    "grow": workers.grow,
    "burst": burst.main,
    "idle": idle.main,
    "scale": scale.create,
    "resize": scale.resize,
    "growth": scale.growth,
    "restart": scale.restart,
    "fairness": scale.fairness,
    "many": scale.many,
    "profile": profiling.main,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--rounds", type=int, help="measurements of each kind (default: as many as the docs have)")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.parts) - PARTS.keys():
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    return exit_code(lambda: measure(asked.parts or list(PARTS), asked.rounds))


def measure(chosen: Sequence[str], rounds: int | None) -> int:
    """One part after the other; one that fails keeps the others from nothing, and is named again at the end."""
    failed = list[str]()
    for done, name in enumerate(chosen):
        left = ", ".join(chosen[done + 1 :]) or "none"
        print(f"{name} ({done + 1} of {len(chosen)}; after it: {left})", file=sys.stderr, flush=True)
        try:
            PARTS[name](rounds)
        except Exception as error:
            if len(chosen) == 1:
                raise
            failed.append(name)
            print(f"{name} failed: {error!r}", file=sys.stderr, flush=True)
    if failed:
        print(f"Failed: {', '.join(failed)}", file=sys.stderr, flush=True)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
