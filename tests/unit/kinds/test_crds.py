"""The CRDs and the values that are read from them say the same, in both directions."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

import pytest

from dask_k8s import names
from dask_k8s.kinds.autoscaler import Autoscaler
from dask_k8s.kinds.cluster import Cluster
from dask_k8s.kinds.job import Job
from dask_k8s.kinds.worker_group import WorkerGroup
from dask_k8s.manifests.job import job_cluster
from tests.unit import crds
from tests.unit import given as g
from tests.unit.kinds.recording import Recording

Kind = type[Cluster] | type[WorkerGroup] | type[Job] | type[Autoscaler]
KINDS: list[tuple[str, Kind]] = [
    ("daskclusters", Cluster),
    ("daskworkergroups", WorkerGroup),
    ("daskjobs", Job),
    ("daskautoscalers", Autoscaler),
]
WORKER = {"replicas", "drainTimeout"}
DEFAULTS = {
    "daskclusters": {f"spec.worker.{field}" for field in WORKER},
    "daskworkergroups": {f"spec.worker.{field}" for field in WORKER},
    "daskjobs": {f"spec.cluster.spec.worker.{field}" for field in WORKER},
    "daskautoscalers": {"spec.minimum", "spec.interval", "spec.scaleDown", "spec.scaleDown.stabilizationSeconds"},
}


def _whole(plural: str) -> dict[str, Any]:
    """A resource in which every field of its CRD is set."""
    schema = crds.schema(plural)
    spec = crds.sample(schema["properties"]["spec"])
    if plural == "daskjobs":
        spec["job"]["spec"]["restartPolicy"] = "Never"  # words of Kubernetes' own, which have their rule
    kind = crds.crd(plural)["spec"]["names"]["kind"]
    return g.read_back({"kind": kind, "metadata": {"name": "simple"}, "spec": spec})


def _read(plural: str, kind: Kind) -> set[str]:
    """The fields of the spec that are read, those that are kept as they are included."""
    read: set[str] = set()
    parsed = kind.from_manifest(Recording(_whole(plural), read))
    assert isinstance(parsed, kind)
    return {path for path in read if path.startswith("spec.")}


def _below_maps(path: str) -> str:
    """The keys of a map of texts are nobody's fields."""
    return path.removesuffix(".key")


@pytest.mark.parametrize(("plural", "kind"), KINDS)
def test_what_is_read_is_what_the_crd_has(plural: str, kind: Kind) -> None:
    """A field that the CRD lacks would be dropped at the door; one that nobody reads would do nothing, silently."""
    declared = {path for path, _ in crds.fields(crds.schema(plural)) if path.startswith("spec.")}
    assert {_below_maps(path) for path in _read(plural, kind)} == declared


def _cluster_of(job: Job) -> Cluster:
    return Cluster.from_manifest(g.read_back(job_cluster(job)))


@pytest.mark.parametrize(("plural", "kind"), KINDS)
def test_defaults_are_the_same_on_both_sides(plural: str, kind: Kind) -> None:
    """An object reads the same whether the API server filled its defaults in or an older CRD did not."""
    defaults = {path for path, inner in crds.fields(crds.schema(plural)) if "default" in inner}
    assert defaults == DEFAULTS[plural]
    whole = _whole(plural)
    whole["spec"].pop("maximum", None)
    bare = deepcopy(whole)
    for path in defaults:
        *parents, last = path.split(".")
        where: Any = bare
        for step in parents:
            where = where.get(step, {})
        where.pop(last, None)
    ours, theirs = (kind.from_manifest(each) for each in (bare, whole))
    if isinstance(ours, Job) and isinstance(theirs, Job):
        ours, theirs = _cluster_of(ours), _cluster_of(theirs)
    if isinstance(ours, Cluster) and isinstance(theirs, Cluster):
        assert ours.spec.worker == theirs.spec.worker
    elif isinstance(ours, WorkerGroup) and isinstance(theirs, WorkerGroup):
        assert ours.worker == theirs.worker
    else:
        assert ours == theirs


def test_the_workers_of_both_crds_are_the_same() -> None:
    """``spec.worker`` moves from a cluster to its default group word by word."""
    cluster, group = crds.schema("daskclusters"), crds.schema("daskworkergroups")
    ours, theirs = (dict(each["properties"]["spec"]["properties"]["worker"]) for each in (cluster, group))
    assert ours.pop("description") != theirs.pop("description")
    assert ours == theirs


def test_a_jobs_cluster_is_a_cluster() -> None:
    """``spec.cluster.spec`` moves from a job to its DaskCluster word by word."""
    job, cluster = (crds.schema(plural)["properties"]["spec"] for plural in ("daskjobs", "daskclusters"))
    assert job["properties"]["cluster"]["properties"]["spec"] == cluster


def test_conditions_of_all_crds_are_the_same() -> None:
    """One function writes them."""
    first, *others = (crds.schema(plural)["properties"]["status"]["properties"]["conditions"] for plural, _ in KINDS)
    assert others == [first] * (len(KINDS) - 1)


@pytest.mark.parametrize(("plural", "kind"), [(plural, kind.__name__) for plural, kind in KINDS])
def test_group_version_and_kind_are_those_of_names(plural: str, kind: str) -> None:
    """The CRD is found where the code looks for it."""
    spec = crds.crd(plural)["spec"]
    assert crds.crd(plural)["metadata"]["name"] == f"{plural}.{names.GROUP}"
    assert spec["group"] == names.GROUP
    assert [version["name"] for version in spec["versions"]] == [names.VERSION]
    assert spec["names"]["kind"] == f"Dask{kind}"
    assert spec["names"]["kind"] in (names.CLUSTER, names.WORKER_GROUP, names.JOB, names.AUTOSCALER)


@pytest.mark.parametrize(
    ("plural", "limit"),
    [
        ("daskclusters", names.CLUSTER_NAME_LIMIT),
        ("daskworkergroups", names.WORKER_GROUP_NAME_LIMIT),
        ("daskjobs", names.CLUSTER_NAME_LIMIT),
    ],
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
    assert [path for path in mute if not KNOWN_TO_EVERYBODY.search(path)] == []


KNOWN_TO_EVERYBODY = re.compile(r"\.metadata\.|\.spec\.containers\[\]|^status\.(conditions\[\]|scheduler\.)")


@pytest.mark.parametrize(
    ("plural", "manifest"),
    [
        ("daskclusters", "cluster.yaml"),
        ("daskworkergroups", "highmemworkers.yaml"),
        ("daskjobs", "job.yaml"),
        ("daskautoscalers", "autoscaler.yaml"),
    ],
)
def test_the_seeds_manifests_pass_the_door_whole(plural: str, manifest: str) -> None:
    """Nothing in them is refused or dropped."""
    assert crds.problems(g.example(manifest)["spec"], plural, "spec") == []
