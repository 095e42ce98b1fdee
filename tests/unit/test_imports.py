"""Who imports what: what a process pays for that wants a part alone, and what may not ask a clock."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import dask_k8s
from tests.unit.given import ROOT

LOADED = "import json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"


def loaded_by(statement: str) -> set[str]:
    """The packages that a fresh interpreter has loaded after a statement."""
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}\n{LOADED}"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import dask_k8s", {"distributed", "kopf", "kubernetes_asyncio", "aiohttp", "dask", "yaml"}),
        ("from dask_k8s import make_cluster_spec", {"distributed", "kopf", "kubernetes_asyncio", "aiohttp", "dask"}),
        ("import dask_k8s.operator", {"distributed", "kopf", "prometheus_client"}),
        ("import dask_k8s.cluster.kubecluster", {"kopf", "prometheus_client"}),
        ("import dask_k8s.cli", {"distributed", "kopf"}),
    ],
)
def test_a_part_loads_only_what_it_needs(statement: str, absent: set[str]) -> None:
    """The operator must not pay for distributed, nor a notebook for kopf, nor anybody for a page of names."""
    assert loaded_by(statement) & absent == set()


def test_the_probe_sees_what_is_loaded() -> None:
    """The test above can fail."""
    assert {"dask_k8s", "distributed"} <= loaded_by("from dask_k8s import KubeCluster")


def test_everything_public_is_there() -> None:
    """The public page is lazy, and has no name that leads nowhere."""
    for name in dask_k8s.__all__:
        assert getattr(dask_k8s, name).__name__ == name
    assert dir(dask_k8s) == sorted(dask_k8s.__all__)
    with pytest.raises(AttributeError, match="no attribute 'anything_else'"):
        _ = dask_k8s.anything_else


PURE = (
    "operator/plan",
    "operator/actions.py",
    "operator/observed.py",
    "manifests",
    "kinds",
    "metadata.py",
    "diagnosis.py",
)
CLOCKS = {"now", "utcnow", "today", "open", "print", "input"}


def _pure_files() -> list[Path]:
    package = ROOT / "dask_k8s"
    return [
        file for part in PURE for file in ([package / part] if part.endswith(".py") else (package / part).glob("*.py"))
    ]


def _calls(tree: ast.AST) -> set[str]:
    """The last names of everything that is called."""
    called = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {
        each.attr if isinstance(each, ast.Attribute) else each.id
        for each in called
        if isinstance(each, ast.Attribute | ast.Name)
    }


@pytest.mark.parametrize("file", _pure_files(), ids=lambda file: str(file.relative_to(ROOT)))
def test_what_decides_asks_no_clock(file: Path) -> None:
    """``datetime`` is imported for its type; the present comes as an argument. No import tells that."""
    assert _calls(ast.parse(file.read_text())) & CLOCKS == set()


def test_the_pure_files_are_found() -> None:
    """The test above looks at something."""
    assert len(_pure_files()) > 25
