"""``python -m devcluster``: clusters from a shell, as the Makefile uses it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import get_args

from devcluster import Cluster, Kind, Refused, check, down, up
from devcluster.build import FOR_PEOPLE
from devcluster.console import exit_code, say
from devcluster.instances import instance_of, instances
from devcluster.supplies import supply


def main(words: Sequence[str]) -> int:
    """Run one command, and return its exit code."""
    arguments = parser().parse_args(words)
    _, run = COMMANDS[arguments.verb]
    return exit_code(lambda: run(arguments))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m devcluster", description="A real Kubernetes on this machine.")
    verbs = top.add_subparsers(required=True, metavar="COMMAND", dest="verb")
    for verb, (told, _) in COMMANDS.items():
        command = verbs.add_parser(verb, help=told, description=told)
        if verb not in {"down", "status"}:
            command.add_argument(
                "--size", choices=get_args(Kind), default="node", help="api, node (the default), nodes or scale"
            )
        if verb == "exec":
            command.add_argument("program", nargs=argparse.REMAINDER, metavar="PROGRAM …")
    return top


def bring_up(arguments: argparse.Namespace) -> int:
    """Bring a cluster up; the last line, alone on stdout, is for a shell."""
    print(up(arguments.size).shell_line())
    return 0


def take_down(arguments: argparse.Namespace) -> int:
    """Take all of this clone's clusters down."""
    del arguments
    if not instances():
        say("down", "nothing of this clone runs")
    down()
    return 0


def status(arguments: argparse.Namespace) -> int:
    """Say what runs."""
    del arguments
    for each in instances():
        record = each.record
        if record is None:
            continue
        print(f"{each.name}  SIZE={record.kind}  https://{record.host}:{record.api_port}  {each.kubeconfig}")
        for name, started in record.started.items():
            print(f"  {name:<26}{'runs' if started.process.alive else 'ENDED':<7}{started.process.pid}")
    return 0


def execute(arguments: argparse.Namespace) -> int:
    """Become a program in the cluster's network."""
    words = arguments.program[1:] if arguments.program[:1] == ["--"] else arguments.program
    each = instance_of(arguments.size)
    if each.record is None or not words:
        raise Refused(f"There is no cluster: make cluster SIZE={arguments.size}" if words else "Which program?")
    cluster = Cluster(kind=arguments.size, instance=each, bin=supply("api").bin / FOR_PEOPLE)
    command = cluster.inside(words)
    os.execvpe(command[0], command, {**os.environ, **cluster.environment()})


def build(arguments: argparse.Namespace) -> int:
    """Build what a cluster needs, and start nothing."""
    check.require(arguments.size, runs=False)
    supply(arguments.size)
    return 0


def look(arguments: argparse.Namespace) -> int:
    """Say whether this machine has what a cluster needs."""
    return 0 if check.show(arguments.size) else 1


COMMANDS: Mapping[str, tuple[str, Callable[[argparse.Namespace], int]]] = {
    "up": ("bring a cluster up, or mend it; prints a line for a shell to evaluate", bring_up),
    "down": ("take all of this clone's clusters down", take_down),
    "status": ("say what runs", status),
    "exec": ("run a program in the cluster's network, with its DNS", execute),
    "build": ("build what a cluster needs, and start nothing", build),
    "check": ("say whether this machine has what a cluster needs", look),
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
