"""What has a name that is needed and still has to go: said where it is waited for, and as trouble once it is late."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from dask_k8s.operator.leftovers import Leftover
from dask_k8s.operator.plan.conditions import Condition, degraded, timestamp

REASON = "StillLeaving"

FOREGROUND = "foregroundDeletion"
"""The garbage collector's own finalizer."""

LATE = timedelta(seconds=10)
"""After its grace period a kubelet kills what is left of a Pod, and tells the API server within seconds."""


def waited_for(leftovers: Iterable[Leftover], *kinds: str) -> str:
    """Whose end has to be waited for, as sentences; empty where nothing of these kinds is in the way."""
    return " ".join(_sentence(each) for each in leftovers if each.ref.kind in kinds)


def troubles(leftovers: Iterable[Leftover], now: datetime) -> Iterator[Condition]:
    """Those that should have gone by now, and what a person can do."""
    for each in leftovers:
        if now >= each.until + LATE:
            yield degraded(REASON, f"{_sentence(each)} {_mend(each)}")


def deadlines(leftovers: Iterable[Leftover]) -> Iterator[datetime]:
    """When those are late that are still there."""
    return (each.until + LATE for each in leftovers)


def _sentence(leftover: Leftover) -> str:
    where = f" on node {leftover.node}" if leftover.node else ""
    told = f"{leftover.ref.kind} {leftover.ref.name}{where} is being deleted since {timestamp(leftover.since)}"
    return f"{told}: another one can be made when it is gone."


def _mend(leftover: Leftover) -> str:
    if others := [each for each in leftover.finalizers if each != FOREGROUND]:
        return f"It is held by its finalizers ({', '.join(others)}): look at whoever set them."
    if leftover.node:
        force = f"kubectl delete pod -n {leftover.ref.namespace} {leftover.ref.name} --grace-period=0 --force"
        return f"Look at the node. If it is gone for good, delete the node, or force the Pod: {force}"
    if leftover.finalizers:
        return "It goes when all that belongs to it has gone."
    where = f"-n {leftover.ref.namespace} {leftover.ref.kind.lower()} {leftover.ref.name}"
    return f"Look at what holds it: kubectl get -o yaml {where}"
