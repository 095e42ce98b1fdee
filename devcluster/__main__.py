"""``python -m devcluster``: clusters from a shell, as the Makefile uses it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import get_args

from devcluster import Cluster, Kind, Refused, check, down, up
from devcluster.console import say
from devcluster.instances import Instance, instances
from devcluster.supplies import supply


def main(words: Sequence[str]) -> int:
    """Run one command, and return its exit code."""
    arguments = parser().parse_args(words)
    try:
        return int(arguments.run(arguments) or 0)
    except Refused as refusal:
        print(f"\n{refusal}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. What has been built stays; `make down` removes what runs.", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m devcluster", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for run, told in {
        bring_up: "bring a cluster up, or mend it; prints a line for a shell to evaluate",
        take_down: "take all of this clone's clusters down",
        status: "say what runs",
        execute: "run a program in the cluster's network, with its DNS",
        build: "build what a cluster needs, and start nothing",
        look: "say whether this machine has what a cluster needs",
    }.items():
        command = commands.add_parser(NAMES[run.__name__], help=told)
        command.set_defaults(run=run)
        if run in {bring_up, execute, build, look}:
            command.add_argument("--size", choices=get_args(Kind), default="node", help="default: node")
            command.add_argument("--name", default="", help="of a further cluster of that size")
        if run is execute:
            command.add_argument("command", nargs=argparse.REMAINDER)
    return top


NAMES = {
    "bring_up": "up",
    "take_down": "down",
    "status": "status",
    "execute": "exec",
    "build": "build",
    "look": "check",
}
