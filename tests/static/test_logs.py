"""Lines of the log are about something, and say so to machines as well."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "dask_k8s"
FILES = sorted([*(PACKAGE / "operator").rglob("*.py"), *(PACKAGE / "kube").rglob("*.py")])
LEVELS = {"debug", "info", "warning", "error", "critical", "exception", "log"}
OF_THE_PROCESS = {
    "Stopping",
    "The operator ends by a bug of its own",
    "Schedulers are reached through port-forwards: this process stands outside the cluster network",
    "%s %s: the API server warns: %s",
    "The log-in could not be renewed ahead of its end: %s",
    "%s",
}
"""Lines that are about no object."""


def lines(path: Path) -> Iterator[ast.Call]:
    """The calls that log something."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="logger"), attr=level)) if level in LEVELS:
                yield node


@pytest.mark.parametrize(
    "path", [path for path in FILES if list(lines(path))], ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_a_line_says_what_it_is_about(path: Path) -> None:
    """By ``extra``; those of the process as a whole are listed here."""
    silent = [node for node in lines(path) if "extra" not in {keyword.arg for keyword in node.keywords}]
    texts = [each.value for node in silent for each in node.args if isinstance(each, ast.Constant)]
    assert [text for text in texts if text not in OF_THE_PROCESS] == []
    assert len(texts) == len(silent)


def test_there_are_such_lines() -> None:
    """The test above looks at something."""
    assert sum(len(list(lines(path))) for path in FILES) > 15
