"""Whose resources an operator decides about."""

from __future__ import annotations

from typing import Any

import pytest

from dask_k8s import names
from dask_k8s.operator.actions import NOTHING
from dask_k8s.operator.controllers import Controllers
from dask_k8s.operator.drains import Drains
from dask_k8s.operator.engine.expectations import Expectations
from dask_k8s.operator.engine.queue import Key, Queue
from dask_k8s.operator.observe import Observer
from dask_k8s.operator.refusals import Refusals
from dask_k8s.operator.schedulers import Schedulers
from dask_k8s.settings import Timing
from tests.unit.given import NOW
from tests.unit.operator.conftest import Lease, Way, caches

UNREADABLE = {"spec": {"cluster": "theirs", "worker": "none", "minimum": "none"}, "status": {"replicas": 2}}


@pytest.mark.parametrize(("me", "tells"), [(names.DEPLOYED, True), ("embedded-0123456789", False)])
@pytest.mark.parametrize("kind", [names.WORKER_GROUP, names.AUTOSCALER])
async def test_who_does_not_serve_a_resource_says_nothing_of_it(kind: str, me: str, tells: bool) -> None:
    """Also where it cannot read it: a newer operator may, and they would take turns in writing its status."""
    there, way, timing, expectations = caches(), Way(""), Timing(), Expectations()
    found: dict[str, Any] = {
        **UNREADABLE,
        "metadata": {"namespace": "default", "name": "a", "uid": "u", "generation": 1},
    }
    for cache in (there.groups, there.autoscalers):
        cache.get = lambda *_: found  # type: ignore[method-assign]
    schedulers = Schedulers(there, way, lambda _: None, timing)
    drains = Drains(there, way, lambda _: None, timing, permit=Lease().check)
    observer = Observer(there, expectations, Refusals(), schedulers, drains)
    controllers = Controllers(there, Queue(), expectations, observer, me=me, max_workers=1, timing=timing)
    decided = controllers.decide(Key(kind, "default", "a"), NOW, "draw")
    assert decided is not None
    assert (decided.plan.status is not None, decided.plan == NOTHING) == (tells, not tells)
