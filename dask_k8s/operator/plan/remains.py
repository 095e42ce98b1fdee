"""A worker group that is gone: its Pods go too.

The garbage collector would come for them, and does where no operator runs. By default it asks the API server 20 times a
second, twice for each Pod, for all namespaces together: a thousand workers would run on for minutes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from dask_k8s.kinds.value import Ref
from dask_k8s.operator.actions import Clear, Plan
from dask_k8s.operator.observed import Phase, Worker


def plan(owner: Ref, workers: Iterable[Worker]) -> Plan:
    """Every Pod that is not on its way out already. Those that are to be kept have lost their owner before it went."""
    left = tuple(replace(worker.ref, version=None) for worker in workers if worker.phase is not Phase.LEAVING)
    return Plan(actions=(Clear(owner=owner, left=left),) if left else ())
