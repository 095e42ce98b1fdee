"""What a pass says that it did."""

from __future__ import annotations

import pytest

from dask_k8s.kinds.value import Ref
from dask_k8s.operator.actions import Action, Create, Delete, Patch, Retire
from dask_k8s.operator.deeds import Deeds
from dask_k8s.operator.engine.queue import Key

KEY = Key("DaskWorkerGroup", "team", "simple-default")
OTHER = Key("DaskWorkerGroup", "team", "other")
CLUSTER = Ref(kind="DaskCluster", namespace="team", name="simple")


def pod(name: str) -> Ref:
    return Ref(kind="Pod", namespace="team", name=name)


def create(kind: str, name: str) -> Create:
    return Create(manifest={"kind": kind, "metadata": {"name": name, "namespace": "team"}})


def retire(*workers: str) -> Retire:
    return Retire(cluster=CLUSTER, workers=frozenset(map(pod, workers)), timeout=60, final=False)


@pytest.mark.parametrize(
    ("actions", "told"),
    [
        ([], ""),
        ([create("Pod", "a")], "Created Pod a."),
        ([create("Pod", str(index)) for index in range(20)], "Created 20 Pods."),
        ([create("Pod", "s"), create("Service", "s")], "Created Pod s, Service s."),
        ([Delete(target=pod("a")), Delete(target=pod("b")), create("Pod", "c")], "Deleted 2 Pods; created Pod c."),
        ([Patch(target=CLUSTER, patch={})], "Changed DaskCluster simple."),
        ([retire("a", "b")], "Began to drain 2 Pods."),
        ([retire()], ""),
    ],
)
def test_one_is_named_and_many_are_counted(actions: list[Action], told: str) -> None:
    """A thousand Pods are one line."""
    deeds = Deeds()
    for action in actions:
        deeds.done(KEY, action)
    assert deeds.told(KEY) == told


def test_each_deed_is_told_once_and_counted_for_good() -> None:
    """To the pass that did it, and to no other."""
    deeds = Deeds()
    deeds.done(KEY, create("Pod", "a"))
    deeds.done(OTHER, retire("b", "c"))
    assert (deeds.told(OTHER), deeds.told(OTHER), deeds.told(KEY)) == ("Began to drain 2 Pods.", "", "Created Pod a.")
    assert deeds.totals == {("create", "Pod"): 1, ("drain", "Pod"): 2}
