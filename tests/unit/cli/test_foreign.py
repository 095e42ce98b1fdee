"""How dask-kubernetes' operator and a second one of ours are recognized."""

from __future__ import annotations

import pytest

from dask_k8s.cli import foreign, manifest
from dask_k8s.cli.foreign import Foreign
from dask_k8s.kinds.value import Manifest


def deployment(image: str, labels: dict[str, str] | None = None, replicas: int | None = None) -> Manifest:
    spec = {"template": {"spec": {"containers": [{"name": "main", "image": image}]}}}
    return {
        "metadata": {"name": "op", "namespace": "elsewhere", "labels": labels},
        "spec": spec if replicas is None else {**spec, "replicas": replicas},
    }


OURS = manifest.operator()[-1]
PEER = deployment("ghcr.io/dask/dask-kubernetes-operator:2025.7.0", replicas=2)


@pytest.mark.parametrize(
    ("found", "peer", "ours"),
    [
        pytest.param(PEER, True, False, id="by its image"),
        pytest.param(
            deployment("mirror.example/abc@sha256:1", {"app.kubernetes.io/name": "dask-kubernetes-operator"}),
            True,
            False,
            id="by its chart's label, whatever its image",
        ),
        pytest.param(OURS, False, True, id="ours"),
        pytest.param(deployment("nginx", {"app.kubernetes.io/name": "dask-operator"}), False, False, id="a namesake"),
        pytest.param(deployment("ghcr.io/dask/dask:latest"), False, False, id="some Dask program"),
    ],
)
def test_operators_are_told_apart(found: Manifest, peer: bool, ours: bool) -> None:
    """By labels and image; names of releases are their users' affair."""
    assert (foreign.is_peer(found), foreign.is_ours(found)) == (peer, ours)


@pytest.mark.parametrize(("replicas", "runs"), [(None, True), (1, True), (0, False)])
def test_one_that_is_scaled_down_is_no_obstacle(replicas: int | None, runs: bool) -> None:
    """So ``--replace`` need not be said again."""
    assert foreign.runs(deployment("any", replicas=replicas)) is runs


def test_the_refusal_says_what_would_be_done() -> None:
    """Each step, with the command that undoes it."""
    found = Foreign(crds=("daskclusters.kubernetes.dask.org",), operators=(PEER,))
    assert str(foreign.refusal(found)) == (
        "dask-kubernetes is installed in this cluster. Nothing was changed. With --replace, this command would\n"
        "  - take over the definitions of daskclusters.kubernetes.dask.org; objects of these kinds stay\n"
        "  - scale down Deployment elsewhere/op (ghcr.io/dask/dask-kubernetes-operator:2025.7.0), "
        "which could be undone by: kubectl -n elsewhere scale deployment op --replicas=2\n"
        "  - install dask-k8s."
    )


def test_an_empty_cluster_has_nothing_foreign() -> None:
    """Nothing in the way is false, and anything is true."""
    assert not Foreign(crds=(), operators=())
    assert Foreign(crds=("a",), operators=())
    assert Foreign(crds=(), operators=(PEER,))
