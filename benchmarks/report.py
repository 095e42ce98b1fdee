"""Figures as a table: median, spread and ratio to what ran beside it."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

Samples = Sequence[Mapping[str, float]]


def summary(samples: Samples, figure: str) -> str:
    """``3.4 s (3.1-3.9)``."""
    seconds = [sample[figure] for sample in samples]
    return f"{statistics.median(seconds):.2f} s ({min(seconds):.2f}-{max(seconds):.2f})"


def ratio(ours: Samples, raw: Samples, figure: str) -> float:
    """Of the medians."""
    return statistics.median(s[figure] for s in ours) / statistics.median(s[figure] for s in raw)


def machine() -> str:
    """What it ran on, in one line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = Path("/proc/loadavg").read_text().split()[0]
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"{now}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}, load at the end {load}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that is also Markdown."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )
