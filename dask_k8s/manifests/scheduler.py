"""The scheduler's Pod, made by the operator from what the user wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dask_k8s import metadata, names
from dask_k8s.kinds.cluster import Cluster
from dask_k8s.kinds.value import Manifest
from dask_k8s.manifests import container
from dask_k8s.manifests.pod import pod

LAST_PORT = 65_535


def scheduler_pod(cluster: Cluster) -> dict[str, Any]:
    """The Pod of a cluster's scheduler, as it is POSTed."""
    template = cluster.spec.scheduler.template
    base = metadata.Metadata(
        labels=metadata.scheduler_labels(cluster.head.ref.name),
        annotations={names.TEMPLATE_HASH: metadata.template_hash(template.spec)},
    )
    return pod(
        name=names.scheduler_pod(cluster.head.ref.name),
        namespace=cluster.head.ref.namespace,
        metadata=metadata.merge(cluster.head.metadata, template.metadata, base, defaults=metadata.MUST_STAY),
        owner=cluster.head.owner(),
        spec={**template.spec, "containers": [_started(each) for each in template.spec["containers"]]},
    )


def comm_port(scheduler_spec: Manifest) -> int:
    """The port on which a scheduler's Pod speaks Dask: the one called ``tcp-comm``, else 8786."""
    return _port(scheduler_spec, (names.COMM_PORT_NAME,), names.SCHEDULER_PORT)


def dashboard_port(scheduler_spec: Manifest) -> int:
    """The port of a scheduler Pod's dashboard: called ``http-dashboard`` or ``dashboard``, else 8787."""
    return _port(scheduler_spec, names.DASHBOARD_PORT_NAMES, names.DASHBOARD_PORT)


def _port(spec: Manifest, wanted: tuple[str, ...], default: int) -> int:
    """Total: what is no port is left for the API server to refuse, and nobody listens there."""
    lists = [each.get("ports") for each in spec["containers"]]
    ports = [port for ports in lists if isinstance(ports, list) for port in ports if isinstance(port, Mapping)]
    numbers = (port.get("containerPort") for port in ports if port.get("name") in wanted)
    return next((number for number in numbers if isinstance(number, int) and 0 < number <= LAST_PORT), default)


def _started(each: Manifest) -> dict[str, Any]:
    start = container.start_of(each)
    return dict(each) if start is None else container.modernised(each, start)
