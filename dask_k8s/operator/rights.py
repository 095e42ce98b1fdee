"""The verbs that the operator uses.

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


_READ = ("get", "list", "watch")

RIGHTS: tuple[Right, ...] = (
    Right(group="kubernetes.dask.org", resource="daskclusters", verbs=(*_READ, "delete")),
    Right(group="kubernetes.dask.org", resource="daskclusters/status", verbs=("patch",)),
    Right(group="kubernetes.dask.org", resource="daskworkergroups", verbs=(*_READ, "create", "patch")),
    Right(group="kubernetes.dask.org", resource="daskworkergroups/status", verbs=("patch",)),
    Right(group="kubernetes.dask.org", resource="daskautoscalers", verbs=(*_READ, "patch")),
    Right(group="kubernetes.dask.org", resource="daskautoscalers/status", verbs=("patch",)),
    Right(group="", resource="pods", verbs=(*_READ, "create", "patch", "delete")),
    Right(group="", resource="services", verbs=(*_READ, "create")),
    Right(group="events.k8s.io", resource="events", verbs=("create", "patch")),
    Right(group="coordination.k8s.io", resource="leases", verbs=(*_READ, "create", "update", "patch", "delete")),
)
"""What an operator needs for clusters, in each namespace that it serves."""

JOBS: tuple[Right, ...] = (
    Right(group="kubernetes.dask.org", resource="daskjobs", verbs=_READ),
    Right(group="kubernetes.dask.org", resource="daskjobs/status", verbs=("patch",)),
    Right(group="kubernetes.dask.org", resource="daskclusters", verbs=("create",)),
)
"""What it needs beside that for jobs, which an embedded operator does not serve."""

NODES = Right(group="", resource="nodes", verbs=("list", "watch"))
"""With it workers leave early where a node is about to go; only a ClusterRole grants it."""

BUDGETS = Right(group="policy", resource="poddisruptionbudgets", verbs=(*_READ, "create", "delete"))
"""With it ``spec.scheduler.podDisruptionBudget`` is acted on."""

OPTIONAL: tuple[Right, ...] = (NODES, BUDGETS)
"""What it uses where it has it, and does without else."""

FORWARDING = Right(group="", resource="pods/portforward", verbs=("get", "create"))
"""What it needs beside that where it stands outside the cluster network."""


def rules(rights: tuple[Right, ...]) -> list[dict[str, Any]]:
    """The rules of a Role or ClusterRole."""
    return [{"apiGroups": [right.group], "resources": [right.resource], "verbs": list(right.verbs)} for right in rights]
