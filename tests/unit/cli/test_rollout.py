"""When a Deployment counts as available, and what Kubernetes complains about."""

from __future__ import annotations

from typing import Any

import pytest

from dask_k8s.cli.applied import content, label
from dask_k8s.cli.rollout import check_count, complaint, is_available
from dask_k8s.errors import StartError
from dask_k8s.kinds.value import Manifest

DONE = {"observedGeneration": 3, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}


def deployment(status: dict[str, Any] | None, spec: dict[str, Any] | None = None) -> Manifest:
    return {"metadata": {"generation": 3}, "spec": spec or {"replicas": 1}, "status": status}


@pytest.mark.parametrize(
    ("found", "available"),
    [
        pytest.param(deployment(DONE), True, id="done"),
        pytest.param(deployment(DONE, {"paused": False}), True, id="one replica where none is said"),
        pytest.param(deployment(None), False, id="nobody looked"),
        pytest.param(deployment({**DONE, "observedGeneration": 2}), False, id="what is told is of the version before"),
        pytest.param(deployment({**DONE, "updatedReplicas": 0}), False, id="the old Pod alone is available"),
        pytest.param(deployment({**DONE, "replicas": 2}), False, id="the old Pod is there still"),
        pytest.param(deployment({**DONE, "availableReplicas": 0}), False, id="not ready"),
        pytest.param(deployment(DONE, {"replicas": 2}), False, id="one of two"),
    ],
)
def test_available_means_the_newest_version_and_all_of_it(found: Manifest, available: bool) -> None:
    """As ``kubectl rollout status`` has it."""
    assert is_available(found) is available


def test_a_deployment_of_none_is_no_operator() -> None:
    """Somebody has stopped it: what starts it again is said, and nobody waits."""
    there = deployment(DONE, {"replicas": 0})
    there["metadata"].update(name="dask-operator", namespace="dask-operator")
    with pytest.raises(StartError, match="kubectl -n dask-operator scale deployment/dask-operator --replicas=1"):
        check_count(there)
    check_count(deployment(DONE, {"paused": False}))


@pytest.mark.parametrize(
    ("condition", "sentence"),
    [
        pytest.param(
            {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota"},
            "FailedCreate: exceeded quota",
            id="no Pod is allowed",
        ),
        pytest.param(
            {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"},
            "ProgressDeadlineExceeded: timed out",
            id="no progress",
        ),
        pytest.param({"type": "Progressing", "status": "True"}, None, id="progress"),
        pytest.param({"type": "Available", "status": "False"}, None, id="not available yet, which says nothing new"),
    ],
)
def test_what_kubernetes_complains_about_is_passed_on(condition: dict[str, str], sentence: str | None) -> None:
    """In its own words."""
    assert complaint(deployment({"conditions": [condition]})) == sentence


def test_a_changed_object_is_one_with_other_content() -> None:
    """What the API server keeps books of, and the status, are no change; a label is."""
    metadata = {"name": "a", "namespace": "b", "resourceVersion": "1", "generation": 1, "managedFields": []}
    before: Manifest = {"kind": "Thing", "metadata": metadata, "spec": {"a": 1}, "status": {"b": 1}}
    later = {"name": "a", "namespace": "b", "resourceVersion": "2", "generation": 2, "managedFields": [{}]}
    assert content(before) == content({**before, "metadata": later, "status": {"b": 2}})
    assert content(before) != content({**before, "metadata": {**metadata, "labels": {"c": "d"}}})
    assert content(before) != content({**before, "spec": {"a": 2}})


@pytest.mark.parametrize(
    ("metadata", "called"),
    [({"name": "a"}, "Thing a"), ({"name": "a", "namespace": "b"}, "Thing b/a")],
)
def test_objects_are_called_by_kind_namespace_and_name(metadata: dict[str, str], called: str) -> None:
    """What has no namespace is called without."""
    assert label({"kind": "Thing", "metadata": metadata}) == called
