"""Figures over time as a picture for the docs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LINES = ("the scheduler's target", "Pods of workers", "workers that joined")


def steps(path: Path, series: Mapping[str, Sequence[Sequence[float]]]) -> None:
    """One panel a subject: rows of time, target, Pods, joined, and tasks that are left."""
    figure = _figure(path, (8, 2.6 * len(series)))
    longest = max(rows[-1][0] for rows in series.values())
    for index, (subject, rows) in enumerate(series.items(), start=1):
        panel = figure.add_subplot(len(series), 1, index)
        seconds, *columns = zip(*rows, strict=True)
        for label, column in zip(LINES, columns, strict=False):
            panel.step(seconds, column, where="post", label=label)
        done = next((row[0] for row in rows if row[4] == 0), None)
        if done is not None:
            panel.axvline(done, color="grey", linestyle=":", label="all tasks are done")
        panel.set_title(subject, loc="left")
        panel.set_ylim(bottom=0)
        panel.set_xlim(0, longest)
        panel.set_xlabel("seconds since the burst")
        panel.legend(loc="upper right", fontsize="small")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def growth(path: Path, points: Mapping[str, Sequence[tuple[int, float]]]) -> None:
    """Seconds over numbers, both logarithmic, a line for each subject."""
    figure = _figure(path, (7, 4))
    panel = figure.add_subplot()
    for subject, line in points.items():
        panel.loglog(*zip(*line, strict=True), marker="o", label=subject)
    panel.set_xlabel("worker Pods")
    panel.set_ylabel("seconds until all exist")
    panel.grid(visible=True, which="major", linestyle=":")
    panel.legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def _figure(path: Path, size: tuple[float, float]) -> Figure:
    """An empty one, whose file is the same each time that the same is drawn."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = path.stem
    from matplotlib import pyplot

    return pyplot.figure(figsize=size)
