"""Pages of the documentation, as what a reader would type: blocks in their order, and what each is shown to print."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]

EXECUTED = ("README.md", "docs/tutorial/*.md", "docs/how-to/*.md")
"""Pages whose blocks are executed."""

DIRECTIVES = {"{figure}", "{literalinclude}", "{toctree}"}
"""Fences that are no code of the page's own."""

NOT_RUN = re.compile(r'not-run="(?P<why>[^"]{8,})"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block.

    Parameters
    ----------
    kind
        The first word behind the fence.
    not_run
        Why it is not executed, in the page's own words; None where it is to be.
    line
        Where it begins, from 1.
    """

    kind: str
    text: str
    not_run: str | None
    line: int

    @property
    def executed(self) -> bool:
        """Whether it is."""
        return self.kind in ("python", "console") and self.not_run is None

    @property
    def marked(self) -> bool:
        """Whether it is executed, or says why not, or is no code at all but a directive of the documentation."""
        return self.executed or self.not_run is not None or self.kind in DIRECTIVES


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A command or statement, and what it is shown to print."""

    source: str
    shown: str


def executed_pages() -> list[Path]:
    """Every page that a reader follows."""
    return [path for pattern in EXECUTED for path in sorted(ROOT.glob(pattern))]


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page."""
    for token in MarkdownIt().parse(text):
        if token.type == "fence" and token.map is not None:
            why = NOT_RUN.search(token.info)
            yield Block(
                kind=token.info.split()[0] if token.info.split() else "",
                text=token.content,
                not_run=why["why"] if why else None,
                line=token.map[0] + 1,
            )


def commands(text: str) -> Iterator[Step]:
    """The ``$`` lines of a console block, with the lines behind ``>`` that go on with them, and the output of each."""
    source: list[str] = []
    shown: list[str] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            if source:
                yield Step(source="\n".join(source), shown="\n".join(shown))
            source, shown = [line[2:]], []
        elif line.startswith("> ") and source and not shown:
            source.append(line[2:])
        else:
            shown.append(line)
    if source:
        yield Step(source="\n".join(source), shown="\n".join(shown))


def statements(text: str) -> Iterator[Step]:
    """A Python block: as a whole, or as a session of ``>>>`` lines with the output of each."""
    if not text.startswith(">>> "):
        yield Step(source=text, shown="")
        return
    source: list[str] = []
    shown: list[str] = []
    for line in text.splitlines():
        if line.startswith(">>> "):
            if source:
                yield Step(source="\n".join(source), shown="\n".join(shown))
            source, shown = [line[4:]], []
        elif line == "..." or line.startswith("... "):
            source.append(line[4:])
        else:
            shown.append(line)
    yield Step(source="\n".join(source), shown="\n".join(shown))


def shows(shown: str, printed: str) -> bool:
    """Whether an output is what the page shows, in substance.

    Words, their order and the number of lines count; the width of columns does not. ``…`` stands for any text within a
    line, and alone on a line for any number of lines. Where a page shows nothing, it says nothing about the output.
    """
    if not shown.strip():
        return True
    lines = [line for line in shown.splitlines() if line.strip()]
    pattern = "".join(r"(?:[^\n]*\n)*" if line.strip() == "…" else f"{_line(line)}\n" for line in lines)
    actual = "".join(f"{' '.join(line.split())}\n" for line in printed.splitlines() if line.strip())
    return re.fullmatch(pattern, actual) is not None


def _line(line: str) -> str:
    return re.escape(" ".join(line.split())).replace("…", "[^\n]*?")
