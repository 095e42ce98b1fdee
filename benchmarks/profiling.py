"""Where an operator's processor time goes while 10,000 worker Pods are made: samples of its stack, 100 a second.

A profiler outside of the process looks at it, and stops it for a moment each time: how long it takes is not measured
here.
"""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks import report
from benchmarks.field import OURS, clusters, field
from benchmarks.scale import A_CLUSTER

PODS = 10_000
RATE = 100
SHOWN = 24
"""Lines of each table."""

LEAST = 0.01
OWN = "dask_k8s/"
FRAME = re.compile(r"(?P<function>\S+) \((?P<path>.*?)(?::\d+)?\)$")

Stack = Sequence[tuple[str, str]]
"""From the outermost call to the innermost: the path of the file and the function."""


def main(rounds: int | None) -> None:
    """Profile once; rounds are not repeated, since shares vary little."""
    del rounds
    samples = asyncio.run(_sampled())
    total = sum(count for _, count in samples)
    rows = [
        *_lines("within", within(samples), total),
        *_lines("itself", itself(samples), total),
    ]
    note = f"{total} samples that were on a processor, {RATE} a second."
    report.publish("profile", ("", "where", "share"), rows, note, {})


async def _sampled() -> list[tuple[Stack, int]]:
    count = PODS // A_CLUSTER
    async with field() as place, place.namespace() as namespace:
        with place.operator(OURS, [namespace]) as used, tempfile.TemporaryDirectory() as folder:
            await place.make(namespace, clusters(count, 0))
            await place.pods(namespace, least=count)
            await asyncio.sleep(5)  # their schedulers run, and nothing more happens
            path = Path(folder) / "stacks"
            with _profiler(used.pid, path):
                await place.scale(namespace, [f"c{number}" for number in range(count)], A_CLUSTER)
                await place.pods(namespace, least=count * (A_CLUSTER + 1))
            return list(read(path.read_text().splitlines()))


@contextmanager
def _profiler(pid: int, path: Path) -> Iterator[None]:
    command = Path(sys.executable).parent / "py-spy"
    argv = ["record", "--pid", str(pid), "--rate", str(RATE), "--format", "raw", "--output", str(path)]
    profiler = subprocess.Popen([command, *argv], stdout=subprocess.DEVNULL, stderr=sys.stderr)
    try:
        yield
    finally:
        profiler.send_signal(signal.SIGINT)
        profiler.wait()


def read(lines: Iterable[str]) -> Iterator[tuple[Stack, int]]:
    """Each line has one stack, and how often it was seen."""
    for line in lines:
        frames, _, count = line.rpartition(" ")
        found = [FRAME.match(frame) for frame in frames.split(";")]
        yield [(match["path"], match["function"]) for match in found if match is not None], int(count)


def within(samples: Iterable[tuple[Stack, int]]) -> Counter[str]:
    """Our own functions, with all that they call; a function that calls itself counts once."""
    found: Counter[str] = Counter()
    for stack, count in samples:
        for name in {f"{_own(path)} {function}" for path, function in stack if OWN in path}:
            found[name] += count
    return found


def itself(samples: Iterable[tuple[Stack, int]]) -> Counter[str]:
    """The files whose own code ran, and what of it has no frame: decoding, encryption, system calls."""
    found: Counter[str] = Counter()
    for stack, count in samples:
        path, function = stack[-1]
        found[f"{_own(path) if OWN in path else path} {function}"] += count
    return found


def _own(path: str) -> str:
    return OWN + path.rpartition(OWN)[2]


def _lines(what: str, counts: Counter[str], total: int) -> Iterator[tuple[str, ...]]:
    for where, count in counts.most_common(SHOWN):
        if count >= LEAST * total:
            yield what, f"`{where}`", f"{count / total:.1%}"
