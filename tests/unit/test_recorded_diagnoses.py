"""The diagnosis of what a real node said; ``python -m tests.node.record`` records it again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dask_k8s import diagnosis
from dask_k8s.diagnosis import Cause
from dask_k8s.operator.caches import slim_pod

RECORDINGS = sorted((Path(__file__).parent / "recorded").glob("*.json"))
FINAL = {Cause.IMAGE_NOT_FOUND, Cause.IMAGE_NAME, Cause.CRASHING}


def test_every_cause_but_two_is_recorded() -> None:
    """A registry that denies, and an eviction, cannot be had on the local node."""
    recorded = {path.stem.partition("-")[0] for path in RECORDINGS}
    assert recorded == {cause.value for cause in Cause} - {Cause.IMAGE_DENIED.value, Cause.EVICTED.value}


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_a_recorded_pod(path: Path) -> None:
    """The cause is the one that was made to happen, the Pod is named, and what cannot mend itself is final."""
    recording = json.loads(path.read_text())
    found = diagnosis.of_pod(recording["pod"], recording["events"])
    assert found is not None
    assert found.cause == path.stem.partition("-")[0]
    assert recording["pod"]["metadata"]["name"] in found.sentence
    assert found.mend
    assert not (found.cause in FINAL and not found.final)


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_the_operator_sees_the_same_in_its_slimmed_pods(path: Path) -> None:
    """What the caches cut away is nothing that the diagnosis reads; Events are read by clients alone."""
    pod = json.loads(path.read_text())["pod"]
    assert diagnosis.of_pod(slim_pod(pod)) == diagnosis.of_pod(pod)
