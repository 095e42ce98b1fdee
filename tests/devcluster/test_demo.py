"""``make demo`` from its first command to its last, with programs that only write down what they are told."""

from __future__ import annotations

import os
import runpy
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from devcluster import versions

DEMO = versions.CHECKOUT / "examples" / "demo.py"
THERE = ["--kubecontext", "theirs"]
IMAGE = "registry.example.org/operator:1"

PROGRAM = """\
#!/bin/sh
echo "$(basename "$0") $*" >> {log}
case "$*" in
{failing}) exit 1 ;;
"config view"*) echo kubeconfig ;;
port-forward*) echo "Forwarding from 127.0.0.1:4711 -> 8786" ;;
"apply -f -") cat >> {log} ;;
"get nodes") echo "KUBECONFIG=$KUBECONFIG" >> {log} ;;
esac
"""

Run = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the demo; its exit code, and what the programs were told."""
    programs, scratch, log = tmp_path / "bin", tmp_path / "scratch", tmp_path / "log"
    for folder in (programs, scratch):
        folder.mkdir()
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("KUBECONFIG", "/the/persons/own")
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    main = runpy.run_path(str(DEMO))["main"]
    monkeypatch.setattr(sys, "executable", str(programs / "python"))

    def run(arguments: Sequence[str], failing: str = "nothing") -> tuple[int, list[str]]:
        for name in ("kubectl", "python"):
            (programs / name).write_text(PROGRAM.format(log=log, failing=failing))
            (programs / name).chmod(0o755)
        code = main(arguments)
        assert list(scratch.iterdir()) == [], "a copy of the person's credentials is left"
        return code, log.read_text().splitlines()

    return run


def namespace_of(told: Sequence[str]) -> str:
    (created,) = [line for line in told if line.startswith("kubectl create namespace ")]
    return created.split()[-1]


@pytest.mark.parametrize("failing", ["nothing", "wait*", "*install*"])
def test_all_that_it_makes_is_in_a_namespace_of_its_own(demo: Run, failing: str) -> None:
    """Where no resource of a person's is overwritten or deleted; it goes, however the demo ends."""
    code, told = demo([*THERE, "--image", IMAGE], failing)
    namespace = namespace_of(told)
    assert code == (failing != "nothing")
    assert f"kubectl config set-context --current --namespace={namespace}" in told
    assert told[-1] == f"kubectl delete namespace {namespace} --wait=false"
    assert "KUBECONFIG=/the/persons/own" not in told


def test_the_job_goes_where_it_is_waited_for(demo: Run) -> None:
    """Its manifest names the namespace ``default``."""
    _, told = demo([*THERE, "--image", IMAGE])
    assert f"  namespace: {namespace_of(told)}" in told
    assert "  namespace: default" not in told


def test_with_an_image_it_shows_all_of_it(demo: Run) -> None:
    """The operator's image is not published: that of the person is installed."""
    _, told = demo([*THERE, "--image", IMAGE])
    assert f"python -m dask k8s install --image {IMAGE}" in told
    assert "kubectl delete daskjob simple-job" in told


def test_without_an_image_it_comes_to_an_end(demo: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """What needs no operator is shown, and how to see the rest, and how to go on, is said."""
    code, told = demo(THERE)
    assert code == 0
    assert [line for line in told if " install" in line] == ["python -m dask k8s install --crds-only"]
    printed = capsys.readouterr().out
    assert "make demo KUBECONTEXT=theirs IMAGE=" in printed
    assert "kubectl config use-context theirs" in printed


def test_a_context_that_is_not_there_is_said(demo: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """And nothing is made anywhere."""
    code, told = demo(THERE, failing="config*")
    assert (code, told) == (1, ["kubectl config view --raw --minify --flatten --context theirs"])
    assert "There is no such context" in capsys.readouterr().err
