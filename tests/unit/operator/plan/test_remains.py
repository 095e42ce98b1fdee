"""The Pods of a worker group that is gone: which of them are taken away."""

from __future__ import annotations

import pytest

from dask_k8s.kinds.value import Ref
from dask_k8s.operator.observed import Phase, Worker
from dask_k8s.operator.plan.remains import plan
from tests.unit.given import worker
from tests.unit.operator.plan.words import deeds

GROUP = Ref(kind="DaskWorkerGroup", namespace="default", name="simple-default", uid="uid-1")

TABLE: list[tuple[str, list[Worker], list[str]]] = [
    ("nothing is left", [], []),
    ("all of its Pods", [worker("a"), worker("b", phase=Phase.PENDING)], ["clear a b"]),
    ("not those that go already", [worker("a"), worker("b", phase=Phase.LEAVING)], ["clear a"]),
    ("those that ended too", [worker("a", phase=Phase.ENDED)], ["clear a"]),
    ("all go already", [worker("a", phase=Phase.LEAVING)], []),
]


@pytest.mark.parametrize(("_fact", "workers", "expected"), TABLE, ids=[row[0] for row in TABLE])
def test_what_is_left_goes(_fact: str, workers: list[Worker], expected: list[str]) -> None:
    assert deeds(plan(GROUP, workers)) == expected


def test_only_the_uid_has_to_be_the_same() -> None:
    """A Pod that has begun to run meanwhile goes as well: there is nobody for whom it could hold anything."""
    pending = worker("a", phase=Phase.PENDING)
    (clear,) = plan(GROUP, [pending]).actions
    assert [(ref.uid, ref.version) for ref in clear.left] == [(pending.ref.uid, None)]  # type: ignore[union-attr]
