"""Raw JSON ends at the door: it becomes a value, or one error names the field."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_k8s.errors import InvalidResource
from dask_k8s.kinds.autoscaler import Autoscaler
from dask_k8s.kinds.cluster import Cluster
from dask_k8s.kinds.fields import moment
from dask_k8s.kinds.job import Job
from dask_k8s.kinds.value import Manifest
from dask_k8s.kinds.worker_group import WorkerGroup
from tests.unit import crds
from tests.unit import given as g

Parse = Callable[[Manifest], Cluster | WorkerGroup | Job | Autoscaler]
PARSERS: dict[str, Parse] = {
    "daskclusters": Cluster.from_manifest,
    "daskworkergroups": WorkerGroup.from_manifest,
    "daskjobs": Job.from_manifest,
    "daskautoscalers": Autoscaler.from_manifest,
}
REQUIRED = {
    "daskclusters": ["spec", "spec.worker", "spec.worker.spec", "spec.scheduler.service", "metadata", "metadata.name"],
    "daskworkergroups": ["spec", "spec.cluster", "spec.worker", "spec.worker.spec", "metadata", "metadata.name"],
    "daskjobs": ["spec", "spec.job", "spec.job.spec", "spec.cluster", "spec.cluster.spec", "spec.cluster.spec.worker"],
    "daskautoscalers": ["spec", "spec.cluster", "metadata", "metadata.name"],
}
HEAD = {
    "metadata.name": "string",
    "metadata.namespace": "string",
    "metadata.uid": "string",
    "metadata.resourceVersion": "string",
    "metadata.generation": "integer",
    "metadata.creationTimestamp": "string",
    "metadata.labels": "object",
    "metadata.annotations": "object",
    "metadata.ownerReferences": "array",
    "status": "object",
}
WRONG = {"string": 7, "integer": "seven", "object": "a text", "array": {"a": 1}, "boolean": 0}


def _manifest(plural: str) -> dict[str, Any]:
    """A good resource with every optional object in it."""
    if plural == "daskclusters":
        return g.cluster_manifest(worker=_with_metadata("worker"), scheduler=_with_metadata("scheduler"))
    if plural == "daskjobs":
        manifest = _replaced(
            g.job_manifest(), "spec.cluster", {"spec": _manifest("daskclusters")["spec"], **_metadata()}
        )
        return _replaced(manifest, "spec.job", {**manifest["spec"]["job"], **_metadata()})
    if plural == "daskautoscalers":
        return g.autoscaler_manifest(scaleDown={})
    return _replaced(g.group_manifest(), "spec.worker", _with_metadata("worker"))


def _metadata() -> dict[str, Any]:
    return {"metadata": {"labels": {}, "annotations": {}}}


def _with_metadata(part: str) -> dict[str, Any]:
    made: dict[str, Any] = g.cluster_manifest()["spec"][part]
    return {**made, **_metadata()}


def _typed_fields() -> Iterator[tuple[str, str, str]]:
    """Each field that is spelled out, with its type: those of the CRD's spec, and what a head needs."""
    for plural in PARSERS:
        for path, schema in crds.fields(crds.schema(plural)):
            if path.startswith("spec."):
                yield plural, path, schema["type"]
        yield from ((plural, path, kind) for path, kind in HEAD.items())


def _replaced(manifest: Manifest, path: str, content: object) -> dict[str, Any]:
    """A manifest with another content at a path; of a list, in its first item."""
    changed = deepcopy(dict(manifest))
    *parents, last = path.replace("[]", ".0").split(".")
    where: Any = changed
    for step in parents:
        where = where[int(step)] if step.isdigit() else where.setdefault(step, {})
    where[last] = content
    return changed


TYPED_FIELDS = list(_typed_fields())


@pytest.mark.parametrize(("plural", "path", "kind"), TYPED_FIELDS)
def test_a_field_of_a_wrong_type_is_named(plural: str, path: str, kind: str) -> None:
    """The error begins with the path of the field and says what would be right."""
    with pytest.raises(InvalidResource) as caught:
        PARSERS[plural](_replaced(_manifest(plural), path, WRONG[kind]))
    assert caught.value.path == path.replace("[]", "[0]")
    assert "must be" in caught.value.problem


@pytest.mark.parametrize(("plural", "path"), [(plural, path) for plural, paths in REQUIRED.items() for path in paths])
@pytest.mark.parametrize("absent", ["null", "missing"])
def test_a_required_field_that_is_missing_is_named(plural: str, path: str, absent: str) -> None:
    """Null is what an absent field may look like, and is no value."""
    manifest = _replaced(_manifest(plural), path, None)
    if absent == "missing":
        *parents, last = path.split(".")
        where: Any = manifest
        for step in parents:
            where = where[step]
        del where[last]
    with pytest.raises(InvalidResource) as caught:
        PARSERS[plural](manifest)
    assert (caught.value.path, "is required" in caught.value.problem) == (path, True)


@pytest.mark.parametrize(
    ("plural", "path", "content", "problem"),
    [
        ("daskclusters", "spec.worker.replicas", -1, "0 or more, not -1"),
        ("daskclusters", "spec.worker.replicas", True, "0 or more, not True"),
        ("daskclusters", "spec.worker.replicas", 2.5, "a whole number, not a float"),
        ("daskclusters", "spec.idleTimeout", -5, "0 or more, not -5"),
        ("daskclusters", "spec.worker.spec.containers", [], "at least one container"),
        ("daskclusters", "spec.worker.metadata.labels", {"a": 1}, "a text, not a whole number: quote it"),
        ("daskclusters", "kind", "DaskJob", "must be DaskCluster, not DaskJob"),
        ("daskclusters", "metadata.name", "Simple", "begin with a letter"),
        ("daskclusters", "metadata.name", "a" * 54, "at most 53"),
        ("daskclusters", "metadata.creationTimestamp", "yesterday", "a time such as"),
        ("daskclusters", "metadata.creationTimestamp", "2026-01-31T12:00:00", "time zone"),
        ("daskclusters", "metadata.ownerReferences", [{"kind": "Job"}], "is required"),
        ("daskworkergroups", "spec.cluster", "", "must not be empty"),
        ("daskworkergroups", "metadata.name", "a" * 64, "at most 63"),
        ("daskjobs", "metadata.name", "a" * 54, "at most 53"),
        ("daskjobs", "spec.job.spec.restartPolicy", "Always", "OnFailure or Never"),
        ("daskjobs", "spec.cluster.spec.worker.replicas", -1, "0 or more"),
        ("daskautoscalers", "spec.maximum", 0, "at least spec.minimum, which is 1"),
    ],
)
def test_a_bad_content_is_told_in_a_sentence(plural: str, path: str, content: object, problem: str) -> None:
    """What the type alone does not say."""
    with pytest.raises(InvalidResource) as caught:
        PARSERS[plural](_replaced(_manifest(plural), path, content))
    assert caught.value.path.startswith(path)
    assert problem in caught.value.problem
    assert str(caught.value) == f"{caught.value.path}: {caught.value.problem}"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.sampled_from(sorted(PARSERS)), st.data())
def test_whatever_json_comes_is_read_or_refused(plural: str, data: st.DataObject) -> None:
    """One field after another replaced by anything: never another error than ``InvalidResource``."""
    paths = sorted({path for each, path, _ in TYPED_FIELDS if each == plural} | {"spec", "metadata", "kind"})
    manifest: Any = _manifest(plural)
    for path in data.draw(st.lists(st.sampled_from(paths), min_size=1, max_size=3)):
        content = data.draw(json_values)
        try:
            manifest = _replaced(manifest, path, content)
        except (TypeError, AttributeError, IndexError, KeyError):
            continue  # an earlier replacement left nothing below which this one could stand
    with suppress(InvalidResource):
        assert PARSERS[plural](manifest).head.ref.name


@given(st.sampled_from(sorted(PARSERS)), json_values)
def test_what_is_no_manifest_at_all_is_refused(plural: str, content: Any) -> None:
    """Also what is no object."""
    with pytest.raises(InvalidResource):
        PARSERS[plural](content)


def test_the_seeds_cluster_is_read() -> None:
    """The seed's DaskCluster, as the API server gives it back."""
    cluster = Cluster.from_manifest(g.read_back(g.example("cluster.yaml")))
    assert cluster.head.ref.name == "simple"
    assert (cluster.spec.worker.replicas, cluster.spec.worker.drain_timeout) == (2, 60)
    assert cluster.spec.scheduler.service["type"] == "NodePort"
    assert (cluster.spec.idle_timeout, cluster.spec.managed_by) == (0, None)


def test_the_seeds_worker_group_is_read() -> None:
    """The seed's DaskWorkerGroup, as the API server gives it back."""
    group = WorkerGroup.from_manifest(g.read_back(g.example("highmemworkers.yaml")))
    assert (group.head.ref.name, group.cluster, group.worker.replicas) == ("simple-highmem", "simple", 2)


def test_the_head_tells_who_a_resource_is_and_whether_it_goes() -> None:
    """What a plan has to know of any resource."""
    head = g.group(metadata={"deletionTimestamp": g.CREATED, "labels": {"a": "b"}}).head
    assert (head.ref.kind, head.ref.uid, head.ref.version, head.generation) == ("DaskWorkerGroup", "uid-2", "7", 1)
    assert head.created == datetime(2026, 1, 31, 11, tzinfo=UTC)
    assert head.deleting
    assert not g.group().head.deleting
    assert head.metadata.labels == {"a": "b"}
    assert head.controller == "uid-1"
    assert g.group(owned=False).head.controller is None


@pytest.mark.parametrize(
    "text",
    ["2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000000Z", "2026-01-31T13:00:00+01:00", "2026-01-31T12:00:00.0Z"],
)
def test_times_are_read_as_kubernetes_writes_them(text: str) -> None:
    """With and without fractions of a second (MicroTime in Leases and Events)."""
    assert moment(text) == g.NOW
