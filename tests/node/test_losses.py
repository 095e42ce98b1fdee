"""Nothing is lost on the way down: the short form of ``python -m tests.losses``."""

from __future__ import annotations

from pathlib import Path

import pytest

from devcluster import Cluster
from tests.losses.options import Options
from tests.losses.start import FAULTS, run_inside
from tests.node.conftest import Kubectl

SEED = 105
"""Draws a drain, an eviction, a deletion and a scale-down first, some at the same time."""


@pytest.mark.timeout(400)
def test_nothing_is_lost(node: Cluster, kubectl: Kubectl, deployed: None, tmp_path: Path) -> None:
    """Scaled, evicted, deleted and drained under load, the operator killed: every value is there, and was all along."""
    options = Options(
        subject="dask-k8s",
        seconds=35,
        keys=500,
        seed=SEED,
        kill_every=(12, 30),
        drains=True,
        second_node="",
        folder=str(tmp_path),
    )
    figures = run_inside(node, kubectl, options)
    assert not {fault: figures[fault] for fault in FAULTS if figures[fault]}, (tmp_path / "timeline.log").read_text()
    assert figures["most spilled MiB"] > 0
    assert figures["tasks finished"] > 0
