"""A resource that cannot be read: nothing is done for it, and a condition names the field."""

from __future__ import annotations

from datetime import datetime

from dask_k8s.errors import InvalidResource
from dask_k8s.kinds.value import Manifest
from dask_k8s.operator.actions import Plan
from dask_k8s.operator.plan.conditions import Condition, Type, changes, merged


def plan(manifest: Manifest, error: InvalidResource, now: datetime) -> Plan:
    """The status with the reason; the rest of it stays as it was."""
    status = manifest.get("status") or {}
    generation = manifest["metadata"].get("generation", 0)
    wanted = [Condition(type=Type.DEGRADED, holds=True, reason="InvalidSpec", message=str(error))]
    return Plan(
        status={
            **status,
            "observedGeneration": generation,
            "conditions": merged(status, wanted, now, generation=generation),
        },
        events=changes(status, wanted),
    )
