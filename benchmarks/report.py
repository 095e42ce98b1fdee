"""Figures as a table: median, spread and ratio to what ran beside it; every one of them for the documentation."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import peer
from devcluster.versions import kubernetes

FIGURES = Path(__file__).parents[1] / "docs" / "reference" / "figures"

Samples = Sequence[Mapping[str, float]]


def summary(samples: Samples, figure: str) -> str:
    """``3.4 s (3.1-3.9)``."""
    seconds = [sample[figure] for sample in samples]
    return f"{statistics.median(seconds):.2f} s ({min(seconds):.2f}-{max(seconds):.2f})"


def ratio(ours: Samples, raw: Samples, figure: str) -> float:
    """Of the medians."""
    return statistics.median(s[figure] for s in ours) / statistics.median(s[figure] for s in raw)


def publish(
    part: str, header: Sequence[str], rows: Sequence[Sequence[str]], note: str, runs: Mapping[str, Any]
) -> None:
    """Print a table and how it came about, and write both for the documentation, with every run's own figures.

    Parameters
    ----------
    runs
        By what was measured: anything that JSON has.
    """
    text = f"{table(header, rows)}\n\n{note} {machine()}\n"
    print(text)
    if runs:
        every = "\n".join(f"{what}: {json.dumps(figures)}" for what, figures in runs.items())
        text += f"\n````{{dropdown}} Every run\n```text\n{every}\n```\n````\n"
    FIGURES.mkdir(exist_ok=True)
    (FIGURES / f"{part}.md").write_text(text)


def machine() -> str:
    """What it ran on, in one line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = Path("/proc/loadavg").read_text().split()[0]
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    versions = ", ".join(f"{name} {version(name)}" for name in ("dask-k8s", "distributed", "aiohttp"))
    return (
        f"{now}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}, load at the end {load}. "
        f"Kubernetes {kubernetes()}, Python {platform.python_version()}, {versions}, "
        f"dask-kubernetes {peer.RELEASE} where it takes part."
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that is also Markdown."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )
