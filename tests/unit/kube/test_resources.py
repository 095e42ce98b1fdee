"""Where objects are served, and which kind a manifest is of."""

from __future__ import annotations

import pytest

from dask_k8s.errors import InvalidResource
from dask_k8s.kinds.value import Manifest
from dask_k8s.kube import resources
from dask_k8s.kube.resources import DASK_CLUSTER, NAMESPACE, POD, Resource


@pytest.mark.parametrize(
    ("resource", "arguments", "path"),
    [
        (POD, (), "/api/v1/pods"),
        (POD, ("ns",), "/api/v1/namespaces/ns/pods"),
        (POD, ("ns", "p"), "/api/v1/namespaces/ns/pods/p"),
        (POD, ("ns", "p", "log"), "/api/v1/namespaces/ns/pods/p/log"),
        (NAMESPACE, (None, "ns"), "/api/v1/namespaces/ns"),
        (NAMESPACE, ("ignored", "ns"), "/api/v1/namespaces/ns"),
        (DASK_CLUSTER, ("ns", "c"), "/apis/kubernetes.dask.org/v1/namespaces/ns/daskclusters/c"),
        (resources.CLUSTER_ROLE, (None, "a:b"), "/apis/rbac.authorization.k8s.io/v1/clusterroles/a%3Ab"),
        (POD, ("ns", "a?b#c%d"), "/api/v1/namespaces/ns/pods/a%3Fb%23c%25d"),
    ],
)
def test_paths(resource: Resource, arguments: tuple[str, ...], path: str) -> None:
    """Core and other groups, namespaced or not; what means something in an address is quoted."""
    assert resource.path(*arguments) == path


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../secrets/s"])
def test_a_name_stays_within_its_place(name: str) -> None:
    """An empty name would mean all objects, and a path in it others."""
    with pytest.raises(InvalidResource, match=r"metadata\.name"):
        POD.path("ns", name)
    with pytest.raises(InvalidResource, match=r"metadata\.namespace"):
        POD.path(name)


def test_one_object_needs_its_namespace() -> None:
    """Without one it would be looked for where nothing is served."""
    with pytest.raises(InvalidResource, match=r"metadata\.namespace: is needed for Pod p"):
        POD.path(None, "p")


def test_each_resource_is_found_by_its_own_manifest() -> None:
    """The kind tells the resource, and the version has to agree."""
    for resource in resources.KNOWN:
        assert resources.of({"apiVersion": resource.api_version, "kind": resource.kind}) == resource
        assert resources.named(resource.kind) == resource


def test_an_event_is_read_by_its_old_group_and_written_by_its_new_one() -> None:
    """Both are one kind; what a manifest says decides, and the kind alone means what people read."""
    assert resources.named("Event") == resources.EVENT
    assert resources.of({"apiVersion": "events.k8s.io/v1", "kind": "Event"}) == resources.RECORDED_EVENT


@pytest.mark.parametrize(
    ("manifest", "sentence"),
    [
        ({"apiVersion": "v1"}, "kind: is missing"),
        ({"kind": "Pod"}, "apiVersion: is missing"),
        ({"apiVersion": "v1", "kind": "Pdo"}, "kind: Pdo is none that dask-k8s works with"),
        ({"apiVersion": "v2", "kind": "Pod"}, "apiVersion: must be v1 for Pod, not v2"),
    ],
)
def test_a_manifest_of_no_known_kind_is_refused_with_a_sentence(manifest: Manifest, sentence: str) -> None:
    """It names the field and what is wrong with it."""
    with pytest.raises(InvalidResource) as refusal:
        resources.of(manifest)
    assert str(refusal.value) == sentence
