"""A worker group that is gone: its Pods go too.

The garbage collector would come for them, and does where no operator runs. By default it asks the API server 20 times a
second, twice for each Pod, for all namespaces together: a thousand workers would run on for minutes.
"""

from __future__ import annotations

from dask_k8s.kinds.value import Ref
from dask_k8s.operator.actions import NOTHING, Clear, Plan


def plan(owner: Ref, left: tuple[Ref, ...]) -> Plan:
    """All that is left, each in the version that was read.

    Pods that are to be kept lose their owner before it goes (``--cascade=orphan``), which a cache may learn later than
    that the owner went; but then their version is another one.
    """
    return Plan(actions=(Clear(owner=owner, left=left),)) if left else NOTHING
