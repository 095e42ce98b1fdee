"""A DaskCluster from KubeCluster's arguments, always in the long form: users edit the result."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from copy import deepcopy
from importlib.metadata import version
from typing import Any

from dask_k8s import names
from dask_k8s.errors import InvalidResource
from dask_k8s.kinds.value import Manifest
from dask_k8s.kinds.worker_group import DEFAULT_REPLICAS

WORKER_COMMAND = ("dask", "worker")

Environment = Mapping[str, str] | Sequence[Manifest]
"""Variables by name, or Kubernetes' own list of them, which can also refer to Secrets."""


def default_image() -> str:
    """The image with this process's own Dask and Python, or the one that JupyterHub started it from."""
    from_hub = os.environ.get("JUPYTER_IMAGE_SPEC")
    return from_hub or f"ghcr.io/dask/dask:{version('dask')}-py{sys.version_info.major}.{sys.version_info.minor}"


def make_cluster_spec(
    name: str,
    image: str | None = None,
    n_workers: int = DEFAULT_REPLICAS,
    resources: Manifest | None = None,
    env: Environment | None = None,
    worker_command: str | Sequence[str] = WORKER_COMMAND,
    scheduler_service_type: str = "ClusterIP",
    idle_timeout: int = 0,
) -> dict[str, Any]:
    """A whole DaskCluster manifest, to be edited and given to ``KubeCluster(custom_cluster_spec=…)``.

    Parameters
    ----------
    name
        The cluster's name: at most 53 characters, begins with a letter.
    image
        The image of scheduler and workers; by default the one with this process's versions of Dask and Python, so that
        neither refuses what the other sends.
    n_workers
        How many workers to start with.
    resources
        ``requests`` and ``limits`` of scheduler and workers, as in a Pod.
    env
        Environment variables of scheduler and workers: a dictionary, or a list as in a Pod.
    worker_command
        What starts a worker: a text, which is split at its spaces, or a list of words.
    scheduler_service_type
        ``ClusterIP``, ``NodePort`` or ``LoadBalancer``.
    idle_timeout
        Seconds without work after which the cluster goes; 0 for never.

    Returns
    -------
    dict
        ``apiVersion``, ``kind``, ``metadata.name`` and ``spec`` with ``worker`` and ``scheduler``.

    Raises
    ------
    InvalidResource
        Where the name cannot be a cluster's, or the command is empty.
    """
    if problem := names.problem_of_cluster_name(name):
        raise InvalidResource("name", f"{name!r} {problem}")
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.CLUSTER,
        "metadata": {"name": name},
        "spec": {
            **({"idleTimeout": idle_timeout} if idle_timeout else {}),
            "worker": make_worker_spec(image, n_workers, resources, env, worker_command),
            "scheduler": make_scheduler_spec(name, env, resources, image, scheduler_service_type),
        },
    }


def make_worker_spec(
    image: str | None = None,
    n_workers: int = DEFAULT_REPLICAS,
    resources: Manifest | None = None,
    env: Environment | None = None,
    worker_command: str | Sequence[str] = WORKER_COMMAND,
) -> dict[str, Any]:
    """The ``spec.worker`` of a cluster or a worker group; the arguments are those of :func:`make_cluster_spec`."""
    worker = {
        "name": "worker",
        "image": image or default_image(),
        "args": worker_args(worker_command),
        "ports": [_port(names.DASHBOARD_PORT_NAME, names.WORKER_DASHBOARD_PORT)],
        **shared(resources, env),
    }
    return {"replicas": n_workers, "spec": {"containers": [worker]}}


def worker_args(worker_command: str | Sequence[str]) -> list[str]:
    """The words that start a worker in its container.

    Raises
    ------
    InvalidResource
        Where there is none.
    """
    command = worker_command.split() if isinstance(worker_command, str) else list(worker_command)
    if not command:
        raise InvalidResource("worker_command", "must name a program")
    dashboard = str(names.WORKER_DASHBOARD_PORT)
    return [*command, "--name", "$(DASK_WORKER_NAME)", "--dashboard", "--dashboard-address", dashboard]


def make_scheduler_spec(
    cluster_name: str,
    env: Environment | None = None,
    resources: Manifest | None = None,
    image: str | None = None,
    scheduler_service_type: str = "ClusterIP",
) -> dict[str, Any]:
    """The ``spec.scheduler`` of a cluster; the arguments are those of :func:`make_cluster_spec`.

    The liveness probe is patient: a scheduler whose event loop is busy for a while must not be killed with all its
    state.
    """
    health = {"httpGet": {"path": "/health", "port": names.DASHBOARD_PORT_NAME}}
    scheduler = {
        "name": "scheduler",
        "image": image or default_image(),
        "args": ["dask", "scheduler", "--dashboard", "--dashboard-address", str(names.DASHBOARD_PORT)],
        "ports": [
            _port(names.COMM_PORT_NAME, names.SCHEDULER_PORT),
            _port(names.DASHBOARD_PORT_NAME, names.DASHBOARD_PORT),
        ],
        "startupProbe": {**health, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 120},
        "readinessProbe": {**health, "periodSeconds": 5, "timeoutSeconds": 10},
        "livenessProbe": {**health, "periodSeconds": 20, "timeoutSeconds": 20, "failureThreshold": 9},
        **shared(resources, env),
    }
    return {
        "spec": {"containers": [scheduler]},
        "service": {
            "type": scheduler_service_type,
            "selector": {names.CLUSTER_NAME: cluster_name, names.COMPONENT: names.Component.SCHEDULER.value},
            "ports": [
                _service_port(names.COMM_PORT_NAME, names.SCHEDULER_PORT),
                _service_port(names.DASHBOARD_PORT_NAME, names.DASHBOARD_PORT),
            ],
        },
    }


def _port(name: str, number: int) -> dict[str, Any]:
    return {"name": name, "containerPort": number, "protocol": "TCP"}


def _service_port(name: str, number: int) -> dict[str, Any]:
    return {"name": name, "protocol": "TCP", "port": number, "targetPort": name}


def shared(resources: Manifest | None, env: Environment | None) -> dict[str, Any]:
    """What scheduler and workers get alike, each its own copy; nothing is guessed where nothing was said."""
    return {
        **({"env": _variables(env)} if env else {}),
        **({"resources": deepcopy(dict(resources))} if resources else {}),
    }


def _variables(env: Environment) -> list[dict[str, Any]]:
    if isinstance(env, Mapping):
        return [{"name": name, "value": str(text)} for name, text in env.items()]
    return [deepcopy(dict(variable)) for variable in env]
