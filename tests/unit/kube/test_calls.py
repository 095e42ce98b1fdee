"""A request in the words of a Role."""

from __future__ import annotations

import pytest

from dask_k8s.kube import calls
from dask_k8s.kube.calls import Call
from dask_k8s.kube.resources import KNOWN, NAMESPACE, POD, Resource


def call(verb: str, resource: str, group: str = "") -> Call:
    return Call(verb=verb, group=group, resource=resource)


@pytest.mark.parametrize(
    ("method", "path", "watch", "expected"),
    [
        ("GET", POD.path(), False, call("list", "pods")),
        ("GET", POD.path("ns"), False, call("list", "pods")),
        ("GET", POD.path("ns"), True, call("watch", "pods")),
        ("GET", POD.path(), True, call("watch", "pods")),
        ("GET", POD.path("ns", "p"), False, call("get", "pods")),
        ("GET", POD.path("ns", "p", "log"), False, call("get", "pods/log")),
        ("POST", POD.path("ns"), False, call("create", "pods")),
        ("PUT", POD.path("ns", "p"), False, call("update", "pods")),
        ("PATCH", POD.path("ns", "p", "status"), False, call("patch", "pods/status")),
        ("DELETE", POD.path("ns", "p"), False, call("delete", "pods")),
        ("GET", NAMESPACE.path(), False, call("list", "namespaces")),
        ("GET", NAMESPACE.path(None, "ns"), False, call("get", "namespaces")),
        ("GET", "/version", False, call("get", "")),
        ("GET", "/", False, call("get", "")),
    ],
)
def test_verbs(method: str, path: str, watch: bool, expected: Call) -> None:
    """A read is one of three verbs; a namespace in the path is no name, but for a namespace itself."""
    assert calls.of(method, path, watch=watch) == expected


@pytest.mark.parametrize("resource", KNOWN, ids=str)
def test_each_kind_is_found_again_by_its_path(resource: Resource) -> None:
    """In its group, whether it has a namespace or not."""
    assert calls.of("GET", resource.path("ns", "n")) == call("get", resource.plural, resource.group)
    assert calls.of("GET", resource.path("ns")) == call("list", resource.plural, resource.group)
