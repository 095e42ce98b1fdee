"""Which operator serves a cluster: the deployed one, or one that is embedded in a notebook's process.

``spec.managedBy`` says it, with the meaning that it has in batch/v1. Absent: the deployed operator.
``dask.org/embedded-<id>``: the holder of the Lease of that id, while it renews it; after that the deployed operator
takes the Lease for good.
"""

from __future__ import annotations

from datetime import datetime
from enum import Enum, auto

from dask_k8s.kinds.value import Manifest, Ref, value
from dask_k8s.names import DEPLOYED, embedded_identity
from dask_k8s.operator.actions import Patch
from dask_k8s.operator.plan.conditions import timestamp


@value
class LeaseSeen:
    """The Lease of an embedded operator.

    Parameters
    ----------
    expires
        When it runs out by our own clock, counted from when its last renewal was seen.
    """

    ref: Ref
    holder: str
    expires: datetime


class Verdict(Enum):
    """What to do about a cluster."""

    SERVE = auto()
    LEAVE = auto()
    TAKE_OVER = auto()


def judge(
    managed_by: str | None, lease: LeaseSeen | None, me: str, now: datetime, *, missing_until: datetime
) -> Verdict:
    """Who serves a cluster.

    Parameters
    ----------
    me
        ``deployed``, or the id of an embedded operator.
    missing_until
        Until when a Lease that is not there may still come: it is made before its cluster, but may be seen after it;
        and where somebody deleted it, its holder trusts in it for as long as it would have lasted.
    """
    embedded = embedded_identity(managed_by)
    if me != DEPLOYED:
        return Verdict.SERVE if embedded == me else Verdict.LEAVE
    if managed_by is None:
        return Verdict.SERVE
    if embedded is None:
        return Verdict.LEAVE
    if lease is None:
        return Verdict.SERVE if now >= missing_until else Verdict.LEAVE
    if lease.holder == DEPLOYED:
        return Verdict.SERVE
    return Verdict.TAKE_OVER if now >= lease.expires or not lease.holder else Verdict.LEAVE


def take_over(lease: LeaseSeen, now: datetime) -> Patch:
    """The write that makes a cluster ours; it fails where the embedded operator renewed in the meantime."""
    spec: Manifest = {"holderIdentity": DEPLOYED, "renewTime": f"{timestamp(now)[:-1]}.000000Z"}
    return Patch(target=lease.ref, patch={"spec": spec})
