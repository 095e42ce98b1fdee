"""Which binaries a cluster of a kind has, and whether they are built."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest

from devcluster import check
from devcluster.build import are_built, folder_of_binaries, wanted
from devcluster.components import components
from devcluster.instances import Kind
from tests.devcluster.test_components import SITE

KINDS: tuple[Kind, ...] = get_args(Kind)
GROWING: tuple[tuple[Kind, ...], ...] = (("api", "node", "nodes"), ("api", "node", "scale"))


def names(kind: Kind) -> set[str]:
    return {name for binary in wanted(kind) for name in (binary.name, *binary.called)}


@pytest.mark.parametrize("kinds", GROWING)
def test_a_larger_size_has_all_that_a_smaller_one_has(kinds: tuple[Kind, ...]) -> None:
    """Binaries are built for it, and never less is asked of the machine."""
    for smaller, larger in pairwise(kinds):
        assert names(smaller) <= names(larger)
        for needs in (check.TO_BUILD, check.TO_RUN):
            assert needs[smaller].memory <= needs[larger].memory
            assert needs[smaller].disk <= needs[larger].disk


def test_no_size_is_forgotten() -> None:
    """A new one stands in the order of sizes."""
    assert {kind for kinds in GROWING for kind in kinds} == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_what_runs_is_built(kind: Kind) -> None:
    """Each component's program, and where Pods run the one that holds their namespaces."""
    programs = {Path(component.command[0]) for component in components(SITE, kind)}
    assert {path.name for path in programs if path.parent == SITE.bin} <= names(kind)
    assert kind == "api" or "pause" in names(kind)


def test_what_was_built_from_other_sources_helps_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine needs room for a build until that of today's sources is there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    make(tmp_path / "dask-k8s" / "kubernetes-v1.0.0-other", "node")
    assert not are_built("node")
    assert check.need_of("node") == check.TO_BUILD["node"]
    make(folder_of_binaries(), "node")
    assert check.need_of("node") == check.TO_RUN["node"]
    assert check.need_of("scale") == check.TO_BUILD["scale"], "KWOK is missing"


def make(folder: Path, kind: Kind) -> None:
    for name in names(kind):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
