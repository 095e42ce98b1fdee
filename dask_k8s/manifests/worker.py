"""The Pod of a worker, and the ``worker`` section of a cluster's spec."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dask_k8s import metadata, names
from dask_k8s.kinds.value import Manifest
from dask_k8s.kinds.worker_group import WorkerGroup
from dask_k8s.manifests import container, handover
from dask_k8s.manifests.pod import pod


def worker_pod(group: WorkerGroup, name: str) -> dict[str, Any]:
    """A worker's Pod, as it is POSTed.

    Parameters
    ----------
    name
        Chosen by the plan, so that a repeated POST meets itself.
    """
    return worker_pods(group)(name)


def worker_pods(group: WorkerGroup) -> Callable[[str], dict[str, Any]]:
    """What makes the Pods of a group by their names: what they have in common is worked out once."""
    base = metadata.Metadata(
        labels=metadata.worker_labels(group.cluster, group.head.ref.name),
        annotations={names.TEMPLATE_HASH: metadata.template_hash(group.worker.template.spec)},
    )
    merged = metadata.merge(group.head.metadata, group.worker.template.metadata, base, defaults=metadata.MAY_GO)
    owner, spec_of = group.head.owner(), _spec_of(group)

    def made(name: str) -> dict[str, Any]:
        return pod(name=name, namespace=group.head.ref.namespace, metadata=merged, owner=owner, spec=spec_of(name))

    return made


def _spec_of(group: WorkerGroup) -> Callable[[str], dict[str, Any]]:
    spec = group.worker.template.spec
    containers = list(spec["containers"])
    index = container.main_container(containers, container.Program.WORKER)
    grace = spec.get("terminationGracePeriodSeconds")
    limit = handover.time_limit(grace if isinstance(grace, int) else handover.GRACE_PERIOD)
    started = _started(containers[index], limit)
    address = names.scheduler_address(group.cluster, group.head.ref.namespace)

    def made(name: str) -> dict[str, Any]:
        ours = {"DASK_WORKER_NAME": name, "DASK_SCHEDULER_ADDRESS": address}
        worker = container.with_environment(started, ours)
        others = [*containers[:index], worker, *containers[index + 1 :]]
        return {"terminationGracePeriodSeconds": handover.GRACE_PERIOD, **spec, "containers": others}

    return made


def _started(worker: Manifest, limit: int) -> dict[str, Any]:
    start = container.start_of(worker)
    if start is None:
        return dict(worker)
    if start.program is not container.Program.WORKER:
        return container.modernised(worker, start)
    return container.modernised(worker, start, _handover_options(worker, limit))


def _handover_options(worker: Manifest, limit: int) -> list[str]:
    if container.has_option(worker, "--no-nanny"):
        load_configured = not container.has_option(worker, "--preload")
        return ["--preload", handover.of_worker(limit, load_configured=load_configured)]
    return ["--preload-nanny", handover.of_nanny(limit)]


def bears_its_name(pod: Manifest) -> bool:
    """Whether a worker of this Pod is named as the Pod is, with a number behind it where there are several.

    Within a shell's text nobody can tell.
    """
    containers = (pod.get("spec") or {}).get("containers") or ()
    return any(_is_named(each, pod["metadata"]["name"]) for each in containers)


def _is_named(worker: Manifest, name: str) -> bool:
    """Asked of each event of each Pod, so the cheapest question comes first."""
    ours = {"name": "DASK_WORKER_NAME", "value": name} in (worker.get("env") or ())
    return ours and container.option(worker, "--name") in (name, "$(DASK_WORKER_NAME)")
