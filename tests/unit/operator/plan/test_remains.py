"""The Pods of a worker group that is gone."""

from __future__ import annotations

from dask_k8s.kinds.value import Ref
from dask_k8s.operator.actions import NOTHING, Clear
from dask_k8s.operator.plan.remains import plan

GROUP = Ref(kind="DaskWorkerGroup", namespace="default", name="simple-default", uid="uid-1")
PODS = tuple(Ref(kind="Pod", namespace="default", name=name, uid=name, version="7") for name in "ab")


def test_what_is_left_is_cleared_away_in_the_version_that_was_read() -> None:
    assert plan(GROUP, PODS).actions == (Clear(owner=GROUP, left=PODS),)


def test_nothing_is_done_where_nothing_is_left() -> None:
    assert plan(GROUP, ()) == NOTHING
