"""The verbs that the operator uses: each of them, and no other, as a test sees at the API server's door.

They are the source of the shipped Roles, and of what an embedded operator checks beforehand.
"""

from __future__ import annotations

from typing import Any

from dask_k8s.kinds.value import value


@value
class Right:
    """Verbs on one kind of object.

    Parameters
    ----------
    resource
        The plural, with a subresource behind a slash.
    """

    group: str
    resource: str
    verbs: tuple[str, ...]


_LOOK = ("list", "watch")
_MAKE = ("get", *_LOOK, "create")
"""Whoever makes objects under names that may be taken looks at whose they are."""

RIGHTS: tuple[Right, ...] = (
    Right(group="kubernetes.dask.org", resource="daskclusters", verbs=("get", *_LOOK, "delete")),
    Right(group="kubernetes.dask.org", resource="daskclusters/status", verbs=("patch",)),
    Right(group="kubernetes.dask.org", resource="daskworkergroups", verbs=(*_MAKE, "patch")),
    Right(group="kubernetes.dask.org", resource="daskworkergroups/status", verbs=("patch",)),
    Right(group="kubernetes.dask.org", resource="daskautoscalers", verbs=(*_LOOK, "patch")),
    Right(group="kubernetes.dask.org", resource="daskautoscalers/status", verbs=("patch",)),
    Right(group="", resource="pods", verbs=(*_MAKE, "patch", "delete")),
    Right(group="", resource="services", verbs=_MAKE),
    Right(group="events.k8s.io", resource="events", verbs=("create", "patch")),
    Right(group="coordination.k8s.io", resource="leases", verbs=(*_MAKE, "update")),
)
"""What an operator needs for clusters, in each namespace that it serves."""

DEPLOYED: tuple[Right, ...] = (
    Right(group="kubernetes.dask.org", resource="daskjobs", verbs=_LOOK),
    Right(group="kubernetes.dask.org", resource="daskjobs/status", verbs=("patch",)),
    Right(group="kubernetes.dask.org", resource="daskclusters", verbs=("create",)),
    Right(group="coordination.k8s.io", resource="leases", verbs=("patch",)),
)
"""What a deployed one needs beside that: for jobs, and to take over from an embedded one that is gone."""

EMBEDDED: tuple[Right, ...] = (Right(group="coordination.k8s.io", resource="leases", verbs=("patch", "delete")),)
"""What an embedded one needs beside that: its Lease goes with its cluster, or with its process."""

NODES = Right(group="", resource="nodes", verbs=_LOOK)
"""With it workers leave early where a node is about to go; only a ClusterRole grants it."""

BUDGETS = Right(group="policy", resource="poddisruptionbudgets", verbs=(*_MAKE, "delete"))
"""With it ``spec.scheduler.podDisruptionBudget`` is acted on."""

OPTIONAL: tuple[Right, ...] = (NODES, BUDGETS)
"""What it uses where it has it, and does without else."""

FORWARDING = Right(group="", resource="pods/portforward", verbs=("get", "create"))
"""What it needs beside that where it stands outside the cluster network: get, as which a WebSocket begins, and create,
for which the API server looks as well from Kubernetes 1.35 on."""


def rules(rights: tuple[Right, ...]) -> list[dict[str, Any]]:
    """The rules of a Role or ClusterRole."""
    return [{"apiGroups": [right.group], "resources": [right.resource], "verbs": list(right.verbs)} for right in rights]
