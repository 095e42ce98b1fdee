"""Worker groups as a user names and orders them: what is refused, what is made, and which one is meant."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from dask_k8s import ConflictingArguments, InvalidResource, NotFound, make_worker_spec
from dask_k8s.cluster.groups import Order, called, check_deletable, checked, ordered, taken
from dask_k8s.kinds.worker_group import WorkerGroup
from tests.unit import given as g

SIDECAR = {"name": "proxy", "image": "proxy"}
CONTAINER = {
    "name": "worker",
    "image": "dask",
    "command": ["dask", "worker"],
    "env": [{"name": "A", "value": "1"}],
    "resources": {"limits": {"cpu": "1"}},
}
WORKER = {
    "replicas": 7,
    "drainTimeout": 5,
    "metadata": {"labels": {"team": "blue"}},
    "spec": {"containers": [SIDECAR, CONTAINER], "imagePullSecrets": [{"name": "key"}]},
}


def made(name: str = "big", **arguments: Any) -> dict[str, Any]:
    """The group that is made for these arguments beside workers with a sidecar."""
    return ordered(checked(Order(name=name, **arguments), "simple"), g.cluster(worker=WORKER))


def dask(group: dict[str, Any]) -> dict[str, Any]:
    """Its Dask container."""
    container: dict[str, Any] = group["spec"]["worker"]["spec"]["containers"][1]
    return container


def test_without_arguments_it_is_like_the_clusters_own_workers() -> None:
    """Sidecars, secrets, labels and the time to drain too; only the number is 3, as the default says."""
    group = made()
    assert group["metadata"]["name"] == "simple-big"
    assert group["metadata"]["labels"]["team"] == "blue"
    assert [owner["name"] for owner in group["metadata"]["ownerReferences"]] == ["simple"]
    assert group["spec"]["cluster"] == "simple"
    assert group["spec"]["worker"] == {"replicas": 3, "drainTimeout": 5, "spec": WORKER["spec"]}
    assert WorkerGroup.from_manifest(g.read_back(group)).worker.drain_timeout == 5


@pytest.mark.parametrize(
    ("arguments", "changed"),
    [
        ({"image": "dask:gpu"}, {"image": "dask:gpu"}),
        ({"env": {"B": "2"}}, {"env": [{"name": "B", "value": "2"}]}),
        ({"env": {}}, {"env": None}),
        ({"resources": {"limits": {"memory": "1Gi"}}}, {"resources": {"limits": {"memory": "1Gi"}}}),
        ({"resources": {}}, {"resources": None}),
        (
            {"worker_command": "dask cuda worker"},
            {
                "command": None,
                "args": make_worker_spec(worker_command="dask cuda worker")["spec"]["containers"][0]["args"],
            },
        ),
    ],
)
def test_an_argument_replaces_that_one_thing(arguments: dict[str, Any], changed: dict[str, Any]) -> None:
    """And an empty one takes it away; the sidecar is left alone."""
    group = made(**arguments)
    wanted = {key: each for key, each in {**CONTAINER, **changed}.items() if each is not None}
    assert dask(group) == wanted
    assert group["spec"]["worker"]["spec"]["containers"][0] == SIDECAR


def test_a_spec_of_ones_own_is_taken_whole() -> None:
    """Only the number is laid over it, and nothing is written into what was given."""
    spec = make_worker_spec(image="own", n_workers=4)
    before = deepcopy(spec)
    assert made(custom_spec=spec)["spec"]["worker"] == spec
    assert made(custom_spec=spec, n_workers=0)["spec"]["worker"] == {**spec, "replicas": 0}
    assert spec == before


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (Order(name="default"), r"cluster\.scale\(n\)"),
        (Order(name="Big"), "'Big' makes 'simple-Big', which must hold only lower-case"),
        (Order(name=""), "must hold only"),
        (Order(name="x" * 57), "has 64 characters; at most 63 fit"),
        (Order(name="big", n_workers=-1), "n_workers: must be a whole number"),
        (Order(name="big", worker_command=""), "worker_command: must name a program"),
        (Order(name="big", custom_spec={"replicas": 1}), r"custom_spec\.spec: is required"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_sent(order: Order, message: str) -> None:
    """With the argument's name."""
    with pytest.raises(InvalidResource, match=message):
        checked(order, "simple")


@pytest.mark.parametrize("argument", ["image", "resources", "env", "worker_command"])
def test_no_argument_is_silently_lost_beside_a_spec(argument: str) -> None:
    """As beside ``custom_cluster_spec``."""
    given: dict[str, Any] = {argument: "a"}
    with pytest.raises(ConflictingArguments, match=f"{argument}= and custom_spec="):
        checked(Order(name="big", custom_spec=make_worker_spec(), **given), "simple")


@pytest.mark.parametrize(
    ("metadata", "cluster", "message"),
    [
        ({}, "simple", r"cluster\.scale\(n, worker_group='big'\)"),
        ({"deletionTimestamp": g.CREATED}, "simple", "is being deleted: try again"),
        ({}, "sim", "belongs to the cluster sim: choose another name"),
    ],
)
def test_a_name_that_is_taken(metadata: dict[str, Any], cluster: str, message: str) -> None:
    """Whose it is decides what to do."""
    there = {"metadata": {"name": "simple-big", **metadata}, "spec": {"cluster": cluster}}
    assert message.replace("\\", "") in str(taken("big", there, "simple"))


def group(name: str, cluster: str = "simple", **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **metadata}, "spec": {"cluster": cluster}}


THERE = [
    group("simple-default"),
    group("simple-big"),
    group("big"),
    group("gpus"),
    group("simple-going", deletionTimestamp=g.CREATED),
    group("simple-more-default", "simple-more"),
]


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("default", "simple-default"),
        ("big", "simple-big"),
        ("simple-big", "simple-big"),
        ("gpus", "gpus"),
    ],
)
def test_which_group_is_meant(name: str, full: str) -> None:
    """The short name first, then a full one."""
    assert called(name, THERE, "simple")["metadata"]["name"] == full


@pytest.mark.parametrize("name", ["small", "going", "more-default", "simple-more-default"])
def test_a_group_that_is_not_the_clusters(name: str) -> None:
    """One of another cluster is none, however alike the names; those that there are are named."""
    with pytest.raises(NotFound, match=f"no worker group '{name}'. It has: big, default, gpus"):
        called(name, THERE, "simple")


@pytest.mark.parametrize("name", ["default", "simple-default"])
def test_the_default_group_stays(name: str) -> None:
    """By either name."""
    with pytest.raises(InvalidResource, match=r"cluster\.scale\(0\)"):
        check_deletable(name, "simple")
