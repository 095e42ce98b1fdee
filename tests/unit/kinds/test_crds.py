"""The CRDs and the values that are read from them say the same, in both directions."""

from __future__ import annotations

from typing import Any

import pytest

from dask_k8s import names
from dask_k8s.kinds.cluster import Cluster
from dask_k8s.kinds.worker_group import WorkerGroup
from tests.unit import crds
from tests.unit import given as g
from tests.unit.kinds.recording import Recording

KINDS: list[tuple[str, type[Cluster] | type[WorkerGroup]]] = [
    ("daskclusters", Cluster),
    ("daskworkergroups", WorkerGroup),
]


def _whole(plural: str) -> dict[str, Any]:
    """A resource in which every field of its CRD is set."""
    schema = crds.schema(plural)
    spec = crds.sample(schema["properties"]["spec"])
    kind = crds.crd(plural)["spec"]["names"]["kind"]
    return g.read_back({"kind": kind, "metadata": {"name": "simple"}, "spec": spec})


def _read(plural: str, kind: type[Cluster] | type[WorkerGroup]) -> set[str]:
    """The fields of the spec that are read, those that are kept as they are included."""
    read: set[str] = set()
    parsed = kind.from_manifest(Recording(_whole(plural), read))
    assert isinstance(parsed, kind)
    return {path for path in read if path.startswith("spec.")}


def _below_maps(path: str) -> str:
    """The keys of a map of texts are nobody's fields."""
    return path.removesuffix(".key")


@pytest.mark.parametrize(("plural", "kind"), KINDS)
def test_what_is_read_is_what_the_crd_has(plural: str, kind: type[Cluster] | type[WorkerGroup]) -> None:
    """A field that the CRD lacks would be dropped at the door; one that nobody reads would do nothing, silently."""
    declared = {path for path, _ in crds.fields(crds.schema(plural)) if path.startswith("spec.")}
    assert {_below_maps(path) for path in _read(plural, kind)} == declared


@pytest.mark.parametrize(("plural", "kind"), KINDS)
def test_defaults_are_the_same_on_both_sides(plural: str, kind: type[Cluster] | type[WorkerGroup]) -> None:
    """An object reads the same whether the API server filled its defaults in or an older CRD did not."""
    whole = _whole(plural)
    defaults = {path for path, inner in crds.fields(crds.schema(plural)) if "default" in inner}
    assert defaults == {"spec.worker.replicas", "spec.worker.drainTimeout"}
    worker = {key: each for key, each in whole["spec"]["worker"].items() if f"spec.worker.{key}" not in defaults}
    bare = kind.from_manifest({**whole, "spec": {**whole["spec"], "worker": worker}})
    assert bare.worker == kind.from_manifest(whole).worker


def test_the_workers_of_both_crds_are_the_same() -> None:
    """``spec.worker`` moves from a cluster to its default group word by word."""
    cluster, group = crds.schema("daskclusters"), crds.schema("daskworkergroups")
    ours, theirs = (dict(each["properties"]["spec"]["properties"]["worker"]) for each in (cluster, group))
    assert ours.pop("description") != theirs.pop("description")
    assert ours == theirs


def test_conditions_of_both_crds_are_the_same() -> None:
    """One function writes both."""
    cluster, group = (crds.schema(plural)["properties"]["status"]["properties"] for plural, _ in KINDS)
    assert cluster["conditions"] == group["conditions"]


@pytest.mark.parametrize(("plural", "kind"), [(plural, kind.__name__) for plural, kind in KINDS])
def test_group_version_and_kind_are_those_of_names(plural: str, kind: str) -> None:
    """The CRD is found where the code looks for it."""
    spec = crds.crd(plural)["spec"]
    assert crds.crd(plural)["metadata"]["name"] == f"{plural}.{names.GROUP}"
    assert spec["group"] == names.GROUP
    assert [version["name"] for version in spec["versions"]] == [names.VERSION]
    assert spec["names"]["kind"] == f"Dask{kind}"
    assert spec["names"]["kind"] in (names.CLUSTER, names.WORKER_GROUP)


@pytest.mark.parametrize(
    ("plural", "limit"),
    [("daskclusters", names.CLUSTER_NAME_LIMIT), ("daskworkergroups", names.WORKER_GROUP_NAME_LIMIT)],
)
def test_the_door_has_the_names_limits(plural: str, limit: int) -> None:
    """A name that is too long is refused before anything is made from it."""
    rules = [rule["rule"] for rule in crds.schema(plural)["x-kubernetes-validations"]]
    assert f"self.metadata.name.size() <= {limit}" in rules


@pytest.mark.parametrize("plural", [plural for plural, _ in KINDS])
def test_every_field_of_ours_has_a_description(plural: str) -> None:
    """``kubectl explain`` reads well; Kubernetes' own fields explain themselves."""
    mute = [
        path
        for path, inner in crds.fields(crds.schema(plural))
        if "description" not in inner and path.split(".")[0] in ("spec", "status")
    ]
    assert [path for path in mute if not path.startswith(KNOWN_TO_EVERYBODY)] == []


KNOWN_TO_EVERYBODY = (
    "spec.worker.metadata.",
    "spec.worker.spec.containers",
    "spec.scheduler.metadata.",
    "spec.scheduler.spec.containers",
    "status.conditions[]",
    "status.scheduler.",
)


@pytest.mark.parametrize(
    ("plural", "manifest"), [("daskclusters", "cluster.yaml"), ("daskworkergroups", "highmemworkers.yaml")]
)
def test_the_seeds_manifests_pass_the_door_whole(plural: str, manifest: str) -> None:
    """Nothing in them is refused or dropped."""
    assert crds.problems(g.example(manifest)["spec"], plural, "spec") == []
