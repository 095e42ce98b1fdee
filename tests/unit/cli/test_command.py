"""``dask k8s`` before it speaks to any cluster."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

from dask_k8s.cli import k8s, packed
from dask_k8s.operator.__main__ import main

HEAVY = ("aiohttp", "asyncio", "dask", "distributed", "kopf", "kubernetes_asyncio", "yaml")


def test_every_dask_command_stays_quick() -> None:
    """Dask loads this package for each of its commands, ``dask worker`` included."""
    code = f"import sys, dask_k8s.cli; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_dask_finds_the_command() -> None:
    """By the entry point that Dask's command line reads."""
    (entry,) = entry_points(group="dask_cli", name="k8s")
    assert entry.load() is k8s


@pytest.mark.parametrize(
    ("command", "arguments", "sentence"),
    [
        pytest.param(k8s, ["install", "--timeout", "0"], "x>0", id="no time at all"),
        pytest.param(k8s, ["uninstall", "--delete-clusters"], "together with --crds", id="half a wish"),
        pytest.param(main, [], "--all-namespaces, or --namespace", id="an operator for nothing"),
        pytest.param(main, ["-A", "-n", "a"], "--all-namespaces, or --namespace", id="an operator for all and some"),
        pytest.param(main, ["-A", "-v", "-q"], "contradict", id="more and less"),
        pytest.param(main, ["-A", "--probes-port", "70000"], "65535", id="no port"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused(command: click.Command, arguments: list[str], sentence: str) -> None:
    """With exit code 2, as every command line has it, and a sentence."""
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 2
    assert sentence in done.output


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_no_log_in_is_told_in_a_sentence(command: str, tmp_path: Path) -> None:
    """Exit code 1, no traceback."""
    done = CliRunner().invoke(k8s, [command, "--kubeconfig", str(tmp_path / "absent")])
    assert done.exit_code == 1
    assert done.output == f"Error: There is no kubeconfig at {tmp_path / 'absent'}.\n"


def test_the_packed_kinds_are_those_of_the_checkout() -> None:
    """An editable installation reads them where they are written."""
    folder = Path(__file__).parents[3] / "crds"
    assert packed.crds() == [yaml.safe_load(path.read_text()) for path in sorted(folder.glob("*.yaml"))]
