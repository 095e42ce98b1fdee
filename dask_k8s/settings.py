"""What can be set by ``dask.config`` under ``kubernetes``, in a file or by an environment variable.

``DASK_KUBERNETES__RESOURCE_TIMEOUT=60`` sets ``kubernetes.resource-timeout``, and so on for the others. The
configuration is read once, at the edge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import dask.config
from dask.utils import parse_timedelta

from dask_k8s import names
from dask_k8s.errors import InvalidResource
from dask_k8s.kinds.value import value
from dask_k8s.kinds.worker_group import DEFAULT_REPLICAS


@value
class Timing:
    """How long an operator waits, in seconds; the defaults are right for people, and tests wait less.

    Parameters
    ----------
    lease_may_come
        Seconds after a cluster's creation until the Lease of its embedded operator counts as missing.
    refused_drain
        Seconds after which a drain that the scheduler refused is tried again: there may be room by then.
    silence
        Seconds at most between two attempts to reach a scheduler that does not answer.
    resync
        Seconds after which every resource is looked at again, though nothing may have happened.
    relist
        Seconds after which everything is listed again, though no watch broke: an event may have got lost on its way.
    """

    lease_may_come: float = 30.0
    refused_drain: float = 10.0
    silence: float = 5.0
    resync: float = 300.0
    relist: float = 600.0


DEFAULT_MAX_WORKERS = 1000

DEFAULTS: Mapping[str, Any] = {
    "name": "dask-{user}-{uuid}",
    "namespace": None,
    "image": None,
    "count": {"start": DEFAULT_REPLICAS},
    "resources": None,
    "env": None,
    "worker-command": "dask worker",
    "scheduler-service-type": "ClusterIP",
    "custom-cluster-spec": None,
    "idle-timeout": 0,
    "max-workers": DEFAULT_MAX_WORKERS,
    "create-mode": "CREATE_OR_CONNECT",
    "shutdown-on-close": None,
    "resource-timeout": "600s",
    "operator": "auto",
    "operator-namespace": names.OPERATOR_NAMESPACE,
    "take-up-timeout": "2s",
    "lease-duration": "15s",
    "timing": {each.name.replace("_", "-"): f"{each.default:g}s" for each in fields(Timing)},
}


@value
class Settings:
    """Everything that is read from the configuration.

    Parameters
    ----------
    name
        The name of a new cluster; ``{user}`` and ``{uuid}`` are filled in.
    namespace
        None for the kubeconfig's own.
    image
        None for the image that matches this process.
    n_workers
        How many workers a new cluster has.
    idle_timeout
        Seconds without work after which a new cluster goes; 0 for never.
    max_workers
        The most workers that an operator's autoscalers ask for, whatever a scheduler says.
    resource_timeout
        Seconds that the whole start-up of a cluster may take.
    operator
        ``auto``, ``deployed`` or ``embedded``.
    operator_namespace
        Where the deployed operator holds its Lease.
    take_up_timeout
        Seconds that a cluster waits for a deployed operator where its Lease cannot be read.
    lease_duration
        Seconds after which the Lease of an operator that is gone may be taken.
    timing
        What the operator waits for.
    """

    name: str
    namespace: str | None
    image: str | None
    n_workers: int
    resources: Mapping[str, Any] | None
    env: Mapping[str, str] | Sequence[Mapping[str, Any]] | None
    worker_command: str | Sequence[str]
    idle_timeout: float
    max_workers: int
    scheduler_service_type: str
    custom_cluster_spec: Mapping[str, Any] | str | None
    create_mode: str
    shutdown_on_close: bool | None
    resource_timeout: float
    operator: str
    operator_namespace: str
    take_up_timeout: float
    lease_duration: float
    timing: Timing


def read() -> Settings:
    """The settings as they are now.

    Raises
    ------
    InvalidResource
        Naming the key that cannot be read.
    """
    return Settings(
        name=_get("name"),
        namespace=_get("namespace"),
        image=_get("image"),
        n_workers=_get("count.start"),
        resources=_get("resources"),
        env=_get("env"),
        worker_command=_get("worker-command"),
        idle_timeout=seconds_or_never(_get("idle-timeout"), "kubernetes.idle-timeout"),
        max_workers=_count("max-workers"),
        scheduler_service_type=_get("scheduler-service-type"),
        custom_cluster_spec=_get("custom-cluster-spec"),
        create_mode=_get("create-mode"),
        shutdown_on_close=_get("shutdown-on-close"),
        resource_timeout=_seconds("resource-timeout"),
        operator=_get("operator"),
        operator_namespace=_get("operator-namespace"),
        take_up_timeout=_seconds("take-up-timeout"),
        lease_duration=_seconds("lease-duration"),
        timing=Timing(**{each.name: _seconds(f"timing.{each.name.replace('_', '-')}") for each in fields(Timing)}),
    )


def _get(key: str) -> Any:
    default: Any = DEFAULTS
    for part in key.split("."):
        default = default[part]
    return dask.config.get(f"kubernetes.{key}", default)


def seconds(given: object, path: str) -> float:
    """A time that is more than nothing, from a number of seconds or a text such as ``5 minutes``.

    Raises
    ------
    InvalidResource
        Naming the path.
    """
    parsed = _parsed(given, path)
    if parsed <= 0:
        raise InvalidResource(path, f"must be more than 0 s, not {given!r}")
    return parsed


def seconds_or_never(given: object, path: str) -> float:
    """The same, where 0 and None say: never.

    Raises
    ------
    InvalidResource
        Naming the path.
    """
    parsed = 0.0 if given is None else _parsed(given, path)
    if parsed < 0:
        raise InvalidResource(path, f"must be 0 s, for never, or more, not {given!r}")
    return parsed


def _parsed(given: object, path: str) -> float:
    try:
        return float(parse_timedelta(given, default="seconds"))
    except (ValueError, TypeError, KeyError, AttributeError):
        raise InvalidResource(path, f"must be a time such as 30s or 5 minutes, not {given!r}") from None


def _count(key: str) -> int:
    given = _get(key)
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise InvalidResource(f"kubernetes.{key}", f"must be a whole number of 1 or more, not {given!r}")
    return given


def _seconds(key: str) -> float:
    return seconds(_get(key), f"kubernetes.{key}")
