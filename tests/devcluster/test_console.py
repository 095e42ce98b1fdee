"""What a person is told, and how a program ends."""

from __future__ import annotations

import runpy

import pytest

import devcluster
from benchmarks import __main__ as benchmarks
from devcluster import Cluster, Refused, exit_code, versions

MEND = "A node needs root: put sudo in front."


def refused(*_: object) -> Cluster:
    raise Refused(MEND)


def interrupted() -> int:
    raise KeyboardInterrupt


def test_a_refusal_is_told_in_its_own_words_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """They say what to do; a traceback would hide that."""
    assert exit_code(refused) == 1  # type: ignore[arg-type]
    assert capsys.readouterr() == ("", f"\n{MEND}\n")


def test_an_interruption_is_none_of_our_faults(capsys: pytest.CaptureFixture[str]) -> None:
    """As for any program of a shell: 128 and the signal's number."""
    assert exit_code(interrupted) == 130
    assert "make down" in capsys.readouterr().err


def test_benchmarks_end_as_clusters_do(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the machine cannot have a node."""
    monkeypatch.setattr(benchmarks, "PARTS", {"start": refused})
    assert benchmarks.main(["start"]) == 1
    assert MEND in capsys.readouterr().err


def test_the_demo_ends_as_clusters_do(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the machine cannot have a node."""
    monkeypatch.setattr(devcluster, "up", refused)
    demo = runpy.run_path(str(versions.CHECKOUT / "examples" / "demo.py"))
    assert demo["main"]([]) == 1
    assert MEND in capsys.readouterr().err
