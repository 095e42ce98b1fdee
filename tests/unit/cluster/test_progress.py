"""What a person sees of a start-up: the steps that are over, and the one that it failed at."""

from __future__ import annotations

import contextlib
import io

import pytest
from rich.console import Console

from dask_k8s.cluster.progress import Progress
from dask_k8s.errors import StartError


def shown(console: Console) -> str:
    """The last look of the panel."""
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().rsplit("╭", 1)[-1]


@pytest.fixture
def console() -> Console:
    """A terminal that keeps what is written to it."""
    return Console(file=io.StringIO(), force_terminal=True, width=100)


def test_a_start_that_succeeds_has_a_tick_at_each_step(console: Console) -> None:
    """Nothing turns any more at the end, and what was told on the way is gone."""
    with Progress("Cluster", quiet=False, console=console) as progress:
        progress.begin("First")
        progress.tell("is slow")
        progress.begin("Second")
    assert shown(console).count("✓") == 2
    assert "is slow" not in shown(console)


def test_what_was_decided_stays(console: Console) -> None:
    """Such as the image, which nobody may have named."""
    with Progress("Cluster", quiet=False, console=console) as progress:
        progress.begin("First")
        progress.note("image mine:1")
        progress.begin("Second")
    assert "image mine:1" in shown(console)


def test_a_start_that_fails_has_a_cross_where_it_failed(console: Console) -> None:
    """With what was known about that step."""
    with contextlib.suppress(StartError), Progress("Cluster", quiet=False, console=console) as progress:
        progress.begin("First")
        progress.begin("Second")
        progress.tell("no image")
        raise StartError("Second", "no image", "Choose another image=.")
    lines = shown(console).splitlines()
    assert any("✗" in line and "Second" in line for line in lines)
    assert any("no image" in line for line in lines)
    assert shown(console).count("✓") == 1
