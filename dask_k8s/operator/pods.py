"""Where a Pod stands and how it ended, from its slimmed JSON: PURE."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from dask_k8s import diagnosis, names
from dask_k8s.errors import InvalidResource
from dask_k8s.kinds.cluster import Cluster
from dask_k8s.kinds.fields import moment
from dask_k8s.kinds.value import Manifest, Ref
from dask_k8s.manifests import container
from dask_k8s.operator.observed import Phase, Worker
from dask_k8s.operator.observed_job import Ending, Runner

_UNTOLD = "ContainerStatusUnknown"
"""The kubelet's word for a container that vanished: its node began anew under it."""

STARTING = (Phase.PENDING, Phase.RUNNING, Phase.READY)
"""The phases of a Pod whose start goes well, in their order."""

_PROGRAMS_OWN_END = frozenset({"DeadlineExceeded"})
"""Reasons of a Pod's failure that stand in its own spec."""


def phase_of(pod: Manifest) -> Phase:
    """Where a Pod stands."""
    status = pod["status"]
    if "deletionTimestamp" in pod["metadata"]:
        return Phase.LEAVING
    if status.get("phase") in ("Succeeded", "Failed"):
        return Phase.ENDED
    if any(each["type"] == "Ready" and each["status"] == "True" for each in status["conditions"]):
        return Phase.READY
    return Phase.RUNNING if any(map(_has_run, status["containerStatuses"])) else Phase.PENDING


def worker_phase_of(pod: Manifest) -> Phase:
    """Where a worker's Pod stands: one whose container ended, and waits to be started again, holds nothing."""
    phase = phase_of(pod)
    runs = any("running" in (each.get("state") or {}) for each in pod["status"]["containerStatuses"])
    return Phase.PENDING if phase is Phase.RUNNING and not runs else phase


def read_worker(pod: Manifest) -> Worker:
    """What a worker's Pod says of it, as nobody was chosen to leave.

    The kubelet writes a Pod's status all the time, and the uid is precondition enough, but for one thing: that no
    container of it runs must still be true when it is deleted for that.
    """
    meta, phase = pod["metadata"], worker_phase_of(pod)
    version = meta["resourceVersion"] if phase is Phase.PENDING else None
    return Worker(
        ref=Ref(kind="Pod", namespace=meta["namespace"], name=meta["name"], uid=meta["uid"], version=version),
        phase=phase,
        template=meta["annotations"].get(names.TEMPLATE_HASH, ""),
        created=moment(meta["creationTimestamp"]),
        ended=ended_at(pod),
        retiring_since=None,
        placed=bool(pod["spec"].get("nodeName")),
        trouble=diagnosis.of_pod(pod),
    )


def starts(old: Manifest | None, new: Manifest) -> bool:
    """Whether a worker's Pod has only come further on its way to being ready: nothing has to be done for that."""
    before, after = Phase.PENDING if old is None else phase_of(old), phase_of(new)
    if before not in STARTING or after not in STARTING or STARTING.index(after) < STARTING.index(before):
        return False
    return old is None or (_mark(old) == _mark(new) and restart_count(old) == restart_count(new))


def _mark(pod: Manifest) -> str | None:
    mark: str | None = pod["metadata"]["annotations"].get(names.RETIRING_SINCE)
    return mark


def marked_at(mark: str, now: datetime) -> datetime | None:
    """When a mark says that a worker was chosen to leave; None where that is no time, or none that has come.

    Anybody may write annotations: what one of them says must not stop the group of its Pod.
    """
    try:
        told = moment(mark)
    except InvalidResource:
        return None
    return told if told <= now else None


def ended_at(pod: Manifest) -> datetime | None:
    """When the last of its containers ended, for a Pod that has ended."""
    if pod["status"].get("phase") not in ("Succeeded", "Failed"):
        return None
    ends = (end["finishedAt"] for end in _ends(pod) if end.get("finishedAt"))
    return max((moment(end) for end in ends), default=None)


def restart_count(pod: Manifest) -> int:
    """How often containers of it were started again."""
    return sum(each.get("restartCount", 0) for each in pod["status"]["containerStatuses"])


def restarts_of(pod: Manifest, cluster: Cluster) -> int:
    """How often its Dask container was started again: a sidecar that is started again loses no state."""
    containers = cluster.spec.scheduler.template.spec["containers"]
    name = containers[container.main_container(containers, container.Program.SCHEDULER)]["name"]
    statuses: list[dict[str, Any]] = pod["status"]["containerStatuses"]
    return next((each.get("restartCount", 0) for each in statuses if each.get("name") == name), 0)


def runner_of(pod: Manifest, phase: Phase) -> Runner:
    """A job's runner.

    How a Pod ends that is being deleted says nothing of its program: one that is told to end may well exit with 0.
    """
    meta = pod["metadata"]
    return Runner(
        ref=Ref(kind="Pod", namespace=meta["namespace"], name=meta["name"], uid=meta["uid"]),
        phase=phase,
        started=min(_starts(pod), default=None),
        ending=None if phase is Phase.LEAVING else _ending(pod),
        ended=ended_at(pod),
        why=_why(pod),
        restarts=sum(each.get("restartCount", 0) for each in _statuses(pod)),
        waits_for=_still_running(pod),
        trouble=diagnosis.of_pod(pod),
    )


def _ending(pod: Manifest) -> Ending | None:
    status = pod["status"]
    if status.get("phase") == "Succeeded":
        return Ending.SUCCEEDED
    if status.get("phase") != "Failed":
        return None
    return Ending.LOST if _was_taken_away(pod) else Ending.FAILED


def _was_taken_away(pod: Manifest) -> bool:
    """Whether a Pod failed for another reason than its program: the node's need, its loss, its refusal.

    One that went beyond its own limits is evicted too, without being called a disruption: that is its program's doing,
    which is final under Never, and is tried again as after any other failure else.
    """
    status = pod["status"]
    if any(each["type"] == "DisruptionTarget" and each["status"] == "True" for each in status["conditions"]):
        return True
    if status.get("reason") == "Evicted":
        return bool(pod["spec"].get("restartPolicy") != "Never")
    if status.get("reason"):
        return status["reason"] not in _PROGRAMS_OWN_END
    ends = list(_ends(pod))
    return not ends or any(end.get("reason") == _UNTOLD for end in ends)


def _why(pod: Manifest) -> str:
    """What ended it, or what ended it before it was started again, in the kubelet's words."""
    status = pod["status"]
    if status.get("reason"):
        return f"{status['reason']}: {status.get('message', '')}".rstrip(": ")
    # What prepares a program, or runs beside it, is looked at where the program itself never began.
    ends = list(_all_ends(status["containerStatuses"])) or list(_all_ends(status["initContainerStatuses"]))
    failed = [(name, end) for name, end in ends if end.get("exitCode") != 0]
    if not failed:
        return ""
    name, end = max(failed, key=lambda each: each[1].get("finishedAt") or "")
    words = f" ({end['reason']})" if end.get("reason") else ""
    message = f": {end['message'].strip()}" if end.get("message") else "."
    return f"Container {name} ended with exit code {end.get('exitCode')}{words}{message}"


def _still_running(pod: Manifest) -> tuple[str, ...]:
    """Those beside the first container, when that has succeeded and will not be started again."""
    statuses = {each["name"]: each.get("state") or {} for each in pod["status"]["containerStatuses"]}
    first = pod["spec"].get("containers", [""])[0]
    if statuses.get(first, {}).get("terminated", {}).get("exitCode") != 0:
        return ()
    return tuple(name for name, state in statuses.items() if "running" in state)


def _has_run(status: Manifest) -> bool:
    states = {**(status.get("state") or {}), **(status.get("lastState") or {})}
    return "running" in states or "terminated" in states or status.get("restartCount", 0) > 0


def _statuses(pod: Manifest) -> Iterator[Manifest]:
    yield from pod["status"]["initContainerStatuses"]
    yield from pod["status"]["containerStatuses"]


def _starts(pod: Manifest) -> Iterator[datetime]:
    for each in pod["status"]["containerStatuses"]:
        for state in ("state", "lastState"):
            for word in ("running", "terminated"):
                if started := ((each.get(state) or {}).get(word) or {}).get("startedAt"):
                    yield moment(started)


def _ends(pod: Manifest) -> Iterator[Manifest]:
    """How its containers ended, of those that did; one that prepares the others may end the Pod, too."""
    for each in _statuses(pod):
        if end := (each.get("state") or {}).get("terminated"):
            yield end


def _all_ends(statuses: Iterable[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """The ends that are known of each container: its last one, and the one before it was started again."""
    for each in statuses:
        for state in ("state", "lastState"):
            if end := (each.get(state) or {}).get("terminated"):
                yield each["name"], end
