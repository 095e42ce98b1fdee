"""Which operator will serve a cluster: a deployed one's live Lease decides, before anything is made."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from dask_k8s import names
from dask_k8s.errors import Forbidden, InvalidResource, Missing
from dask_k8s.kinds.fields import Fields
from dask_k8s.kinds.value import Manifest
from dask_k8s.kube.client import Client
from dask_k8s.kube.resources import LEASE

CLOCK_DIFFERENCE = timedelta(seconds=30)
"""How far this machine's clock may be from the operator's before a live Lease looks dead."""

EVERYWHERE = "*"

_remembered: dict[tuple[str, str], bool] = {}


async def deployed_serves(client: Client, namespace: str, operator_namespace: str) -> bool | None:
    """Whether a deployed operator serves a namespace; None where its Lease may not be read.

    It is looked for where operators are installed, and in the namespace itself.
    """
    unreadable = False
    for place in dict.fromkeys((operator_namespace, namespace)):
        try:
            lease = await client.get(LEASE, place, names.OPERATOR)
        except Missing:
            continue
        except Forbidden:
            unreadable = True
            continue
        if is_live(lease, datetime.now(UTC)) and _covers(lease, namespace):
            return True
    return None if unreadable else False


def is_live(lease: Manifest, now: datetime) -> bool:
    """Whether somebody holds a Lease and renewed it in time, by this machine's clock."""
    fields = Fields(lease).inner_or_empty("spec")
    try:
        if not fields.text_or_none("holderIdentity") or not fields.has("renewTime"):
            return False
        age = now - fields.moment("renewTime")
        return age < timedelta(seconds=fields.count("leaseDurationSeconds", 0)) + CLOCK_DIFFERENCE
    except InvalidResource:
        return False


def remembered(server: str, namespace: str) -> bool | None:
    """What this process found out before: True for deployed, False for embedded, None for nothing."""
    return _remembered.get((server, namespace))


def remember(server: str, namespace: str, *, deployed: bool) -> None:
    """Found out by waiting, which need not be repeated."""
    _remembered[server, namespace] = deployed


def _covers(lease: Manifest, namespace: str) -> bool:
    """Whether the operator that holds a Lease serves a namespace; what it does not say, it serves."""
    annotations: Mapping[str, Any] = lease["metadata"].get("annotations") or {}
    served = str(annotations.get(names.SERVED_NAMESPACES, EVERYWHERE))
    return served == EVERYWHERE or namespace in served.split(",")
