"""What a person sees while a cluster starts: the steps, how long each took, and what Kubernetes says meanwhile."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

logger = logging.getLogger(__name__)

WIDTH = 80
"""Columns of the panel: a notebook beside its folder has no room for more, and cuts off what is wider."""


@dataclass(slots=True)
class Step:
    """One step of the start-up.

    Parameters
    ----------
    detail
        What is known about it; replaced as more is.
    fact
        What was decided in it, which stays.
    took
        Seconds, once it is over.
    """

    title: str
    began: float
    detail: str = ""
    fact: str = ""
    took: float | None = None
    failed: bool = False


class Progress:
    """A panel in a terminal or notebook, lines in the log everywhere else.

    Parameters
    ----------
    title
        What is started.
    quiet
        Whether nothing is shown.
    """

    def __init__(self, title: str, *, quiet: bool, console: Console | None = None) -> None:
        self._title = title
        self._began = time.monotonic()
        self._steps: list[Step] = []
        console = console or Console(stderr=True)
        shown = not quiet and (console.is_terminal or console.is_jupyter)
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=8) if shown else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._steps and error is not None:
            self._steps[-1].failed = True
        self._finish()
        if self._live is not None:
            if self._live.console.is_jupyter:
                self._live.refresh()  # a notebook would keep the last look before the end
            self._live.__exit__(kind, error, trace)

    @property
    def step(self) -> str:
        """The title of the step that is under way."""
        return self._steps[-1].title if self._steps else self._title

    def begin(self, title: str) -> None:
        """The next step; the one before it is over."""
        self._finish()
        self._steps.append(Step(title=title, began=time.monotonic()))
        logger.info("%s: %s", self._title, title)

    def tell(self, detail: str) -> None:
        """What is known about the present step."""
        if self._steps and self._steps[-1].detail != detail:
            self._steps[-1].detail = detail
            if detail:
                logger.info("%s: %s: %s", self._title, self._steps[-1].title, detail)

    def note(self, fact: str) -> None:
        """What was decided in the present step; it stays to be read."""
        self._steps[-1].fact = fact
        logger.info("%s: %s: %s", self._title, self._steps[-1].title, fact)

    def _finish(self) -> None:
        if self._steps and self._steps[-1].took is None:
            self._steps[-1].took = time.monotonic() - self._steps[-1].began

    def _render(self) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        for step in self._steps:
            mark: RenderableType = Spinner("dots") if step.took is None else Text("✓", style="green")
            if step.failed:
                mark = Text("✗", style="red")
            seconds = time.monotonic() - step.began if step.took is None else step.took
            table.add_row(mark, Text(step.title), Text(f"{seconds:.1f} s", style="dim"))
            if step.fact:
                table.add_row("", Text(step.fact, style="dim"), "")
            if step.detail and (step.took is None or step.failed):
                table.add_row("", Text(step.detail, style="yellow"), "")
        total = Text(f"{time.monotonic() - self._began:.1f} s", style="dim")
        return Panel(
            Group(table), title=self._title, subtitle=total, title_align="left", subtitle_align="right", width=WIDTH
        )
