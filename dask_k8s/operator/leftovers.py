"""Objects on their way out whose names are needed again, from their JSON: PURE."""

from __future__ import annotations

from datetime import datetime, timedelta

from dask_k8s.kinds.fields import moment
from dask_k8s.kinds.value import Manifest, Ref, value


@value
class Leftover:
    """An object that is being deleted, and in whose place another one is to be made.

    Parameters
    ----------
    since, until
        When its deletion was asked for, and when its time to end by itself is over.
    finalizers
        Whoever set them has something to do before it goes.
    node
        Of a Pod: its kubelet has to end it. Empty where it has none.
    """

    ref: Ref
    since: datetime
    until: datetime
    finalizers: tuple[str, ...] = ()
    node: str = ""


def left_over(manifest: Manifest, kind: str) -> Leftover:
    """What an object that is being deleted says of its end. Its ``deletionTimestamp`` lies its grace period ahead."""
    meta = manifest["metadata"]
    until = moment(meta["deletionTimestamp"])
    return Leftover(
        ref=Ref.to(manifest, kind),
        since=until - timedelta(seconds=meta.get("deletionGracePeriodSeconds") or 0),
        until=until,
        finalizers=tuple(meta.get("finalizers") or ()),
        node=(manifest.get("spec") or {}).get("nodeName", "") if kind == "Pod" else "",
    )
