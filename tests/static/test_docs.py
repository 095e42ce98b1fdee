"""The documentation builds without a warning, its links lead somewhere, and its lists are complete."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from dask_k8s import names
from dask_k8s.diagnosis import Cause
from dask_k8s.kube.counts import NO_ANSWER
from dask_k8s.operator.deeds import DEEDS
from dask_k8s.operator.engine.expectations import Expectations
from dask_k8s.operator.engine.loop import Result
from dask_k8s.operator.metrics import METRICS, PREFIX
from dask_k8s.operator.observed import Drain
from dask_k8s.operator.plan.conditions import Type

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
PLANS = ROOT / "dask_k8s" / "operator" / "plan"
BOOLEANS = {"True", "False"}
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def test_builds_without_a_warning(tmp_path: Path) -> None:
    """Also with references that are looked up strictly; links between pages are among them."""
    argv = [sys.executable, "-m", "sphinx", "-W", "-n", "--keep-going", "-q", "-d", str(tmp_path / "doctrees")]
    done = subprocess.run(
        [*argv, str(ROOT / "docs"), str(tmp_path / "html")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "html" / "index.html").exists()


@pytest.mark.parametrize(
    "page", sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/*.md")]), ids=str
)
def test_links_to_files_lead_to_files(page: Path) -> None:
    """Pages are read in the repository as well, where no build looks at their links."""
    targets = [urlsplit(link) for link in LINK.findall(page.read_text())]
    paths = [target.path for target in targets if not target.scheme and target.path]
    assert [path for path in paths if not (page.parent / path).exists()] == []


def test_every_condition_and_reason_is_explained() -> None:
    """Those that plans and diagnosis have, as they stand in the source."""
    text = (REFERENCE / "conditions.md").read_text()
    known = {*Type, *Cause, *reasons()}
    assert [each for each in sorted(known) if f"`{each}`" not in text] == []


def reasons() -> Iterator[str]:
    """The words that plans write into conditions: texts that are one word in Kubernetes' case."""
    for path in PLANS.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            word = node.value if isinstance(node, ast.Constant) else None
            if isinstance(word, str) and re.fullmatch(r"(?:[A-Z][a-z]+)+", word):
                yield from {word} - BOOLEANS - {"Pod"}


def test_every_label_of_a_metric_and_what_it_may_say_is_explained() -> None:
    """The table of metrics makes itself; the values of labels are explained by hand."""
    text = (REFERENCE / "metrics.md").read_text()
    labels = {label for metric in METRICS for label in metric.labels} - {"version"}
    values = {*Result, *DEEDS, *(state.name.lower() for state in Drain), *Expectations().pending(), NO_ANSWER}
    assert [each for each in sorted(labels | values) if f"`{each}`" not in text] == []
    assert set(re.findall(rf"{PREFIX}\w+", text)) <= exposed()


def exposed() -> set[str]:
    """The names of all samples."""
    parts = ("", "_bucket", "_sum", "_count")
    return {PREFIX + metric.name + (part if metric.type == "histogram" else "") for metric in METRICS for part in parts}


def test_every_label_and_annotation_is_explained() -> None:
    """Those that ``names`` spells."""
    text = (REFERENCE / "labels.md").read_text()
    keys = [each for each in vars(names).values() if isinstance(each, str) and each.startswith(f"{names.DOMAIN}/")]
    assert keys
    assert [key for key in keys if f"`{key}`" not in text] == []
