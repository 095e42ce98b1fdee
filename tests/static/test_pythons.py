"""Every Python that the package claims, and the oldest releases that its dependencies allow: unit and golden tests.

The gate itself runs under one Python with the locked releases. Each run here has an environment of its own.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest

from tests.environments import ROOT, passes, uv
from tests.pythons import CLAIMED, found

OWN = sys.version_info[:2]
OTHERS = {version: python for version, python in found().items() if version != OWN}
TESTS = ("tests/unit", "tests/golden")


@pytest.mark.parametrize("version", OTHERS, ids=lambda version: ".".join(map(str, version)))
def test_passes_under_another_python(version: tuple[int, int], tmp_path: Path) -> None:
    """With the locked releases."""
    environment = tmp_path / "environment"
    only_unit = ["--frozen", "--no-default-groups", "--group", "unit"]
    uv("sync", *only_unit, "--python", OTHERS[version], environment=environment)
    passes(environment, *TESTS)


def test_passes_with_the_oldest_releases_that_are_allowed(tmp_path: Path) -> None:
    """Each lower bound in pyproject.toml is one that somebody can be left with."""
    environment = tmp_path / "environment"
    uv("venv", "--python", sys.executable, environment, environment=environment)
    what = ["--resolution", "lowest-direct", "--editable", ".", "--group", "unit"]
    uv("pip", "install", "--python", environment, *what, environment=environment)
    passes(environment, "-m", "not locked", *TESTS)


def test_what_is_claimed_is_what_is_tried() -> None:
    """The classifiers of the package name the Pythons that these tests are for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    mark = "Programming Language :: Python :: 3."
    assert [each.removeprefix(mark) for each in project["classifiers"] if each.startswith(mark)] == [
        str(minor) for _, minor in CLAIMED
    ]
