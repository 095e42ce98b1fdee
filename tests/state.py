"""What a failed test shows beside its own text: the operator's log, the Pods, Dask's resources, the Events."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

WHERE = pytest.StashKey[Mapping[str, str]]()
"""The environment in which kubectl finds the cluster of the session; set by the fixture that brought it up."""

LONGEST = 6000
DASK = ",".join(path.stem for path in sorted((Path(__file__).parents[1] / "crds").glob("*.yaml")))
QUESTIONS = {
    "The operator's log": ("logs", "--namespace=dask-operator", "deployment/dask-operator", "--tail=80"),
    "Pods": ("get", "pods", "--all-namespaces", "--output=wide"),
    "Dask's resources": ("get", DASK, "--all-namespaces", "--output=yaml"),
    "Events": ("get", "events", "--all-namespaces", "--sort-by=.metadata.creationTimestamp"),
}


def state(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """A title and the last lines for each; what cannot be had says why."""
    for title, words in QUESTIONS.items():
        done = subprocess.run(["kubectl", *words], env=dict(environment), capture_output=True, text=True, check=False)
        yield title, (done.stdout + done.stderr)[-LONGEST:]
