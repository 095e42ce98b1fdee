"""Why a Pod does not do what it should: from what Kubernetes says to a cause, a sentence and a mend.

Pure: it reads the Pod's JSON (whole or slimmed) and the messages of its Events, and is tested on what a real kubelet
said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any

from dask_k8s.kinds.value import Manifest, value


class Cause(StrEnum):
    """What keeps a Pod from running; the values are the reasons of our conditions."""

    IMAGE_NOT_FOUND = "ImageNotFound"
    IMAGE_DENIED = "ImageDenied"
    IMAGE_UNREACHABLE = "ImageRegistryUnreachable"
    IMAGE_NAME = "ImageNameInvalid"
    UNSCHEDULABLE = "Unschedulable"
    CONTAINER = "ContainerNotCreated"
    CRASHING = "ContainerCrashes"
    SANDBOX = "PodNotSetUp"
    EVICTED = "Evicted"


@value
class Diagnosis:
    """What is wrong with one Pod.

    Parameters
    ----------
    sentence
        What Kubernetes says, in its own words, with the Pod and the container named.
    mend
        What the reader can do.
    final
        Whether waiting cannot help.
    """

    cause: Cause
    pod: str
    sentence: str
    mend: str
    final: bool


_PULL_REASONS = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "RegistryUnavailable"})
_CONTAINER_REASONS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_NOT_FOUND = re.compile(r"not found|NotFound|manifest unknown|name unknown|does not exist", re.IGNORECASE)
_DENIED = re.compile(r"\b401\b|\b403\b|unauthori[sz]ed|forbidden|denied|authentication required", re.IGNORECASE)
_UNREACHABLE = re.compile(
    r"no such host|dial tcp|i/o timeout|connection refused|deadline exceeded|no route to host|network is unreachable"
    r"|server misbehaving|TLS handshake|failed to do request",
    re.IGNORECASE,
)


def of_pod(pod: Manifest, events: Iterable[str] = ()) -> Diagnosis | None:
    """What is wrong with a Pod; None where nothing is, or nothing is known yet.

    Parameters
    ----------
    events
        The messages of the Pod's warning Events, the newest last: some troubles are told nowhere else.
    """
    return next(_findings(pod, tuple(events)), None)


def messages(events: Iterable[Manifest]) -> list[str]:
    """What Events of ``v1`` say, the newest last, in whichever way they tell their time."""
    return [event.get("message", "") for event in sorted(events, key=_told_last)]


def _told_last(event: Manifest) -> str:
    """As far as texts compare: to the second, since some have more."""
    series = event.get("series") or {}
    found = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime") or ""
    return str(found)[: len("2026-01-01T00:00:00")]


def _findings(pod: Manifest, events: tuple[str, ...]) -> Iterator[Diagnosis]:
    """The likeliest cause first; how a Pod ends that is being deleted is nobody's trouble."""
    if "deletionTimestamp" in pod["metadata"]:
        return
    name = pod["metadata"]["name"]
    status: Mapping[str, Any] = pod.get("status") or {}
    if status.get("reason") == "Evicted":
        yield _evicted(name, status.get("message", ""))
    for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        finding = _of_container(name, container)
        if finding is not None:
            yield finding
    for condition in status.get("conditions", ()):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            yield _unschedulable(name, condition)
    if status.get("phase") == "Pending" and events:
        yield _not_set_up(name, events[-1])


def _of_container(pod: str, container: Mapping[str, Any]) -> Diagnosis | None:
    waiting = (container.get("state") or {}).get("waiting") or {}
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in _PULL_REASONS:
        return _not_pulled(pod, container, message or reason)
    if reason == "InvalidImageName":
        return Diagnosis(
            cause=Cause.IMAGE_NAME,
            pod=pod,
            sentence=f"Pod {pod}: the image name {container.get('image')!r} is not valid. {message}".rstrip(),
            mend="Correct image=.",
            final=True,
        )
    if reason in _CONTAINER_REASONS:
        return Diagnosis(
            cause=Cause.CONTAINER,
            pod=pod,
            sentence=f"Pod {pod}, container {container['name']}: {reason}: {message}",
            mend="Look at what the message names: a Secret, a ConfigMap, a command or a volume of the Pod's spec.",
            final=reason == "RunContainerError",
        )
    return _crashed(pod, container)


def _not_pulled(pod: str, container: Mapping[str, Any], message: str) -> Diagnosis:
    image = container.get("image", "")
    sentence = f"Pod {pod}: the image {image} cannot be pulled: {message}"
    if _UNREACHABLE.search(message):
        mend = "Look at the registry's host in image=, and at the nodes' network: Kubernetes keeps trying."
        return Diagnosis(cause=Cause.IMAGE_UNREACHABLE, pod=pod, sentence=sentence, mend=mend, final=False)
    if _DENIED.search(message):
        mend = "Look at image=, or give the Pods imagePullSecrets that may read this image."
        return Diagnosis(cause=Cause.IMAGE_DENIED, pod=pod, sentence=sentence, mend=mend, final=True)
    if _NOT_FOUND.search(message):
        mend = "Look at image=: there is no such image or tag."
        return Diagnosis(cause=Cause.IMAGE_NOT_FOUND, pod=pod, sentence=sentence, mend=mend, final=True)
    mend = "Look at image= and at the node's registry settings: Kubernetes keeps trying."
    return Diagnosis(cause=Cause.IMAGE_UNREACHABLE, pod=pod, sentence=sentence, mend=mend, final=False)


def _crashed(pod: str, container: Mapping[str, Any]) -> Diagnosis | None:
    """A container that ended with an error and was, or will be, started again in vain."""
    state, last = container.get("state") or {}, container.get("lastState") or {}
    ended = state.get("terminated") or last.get("terminated") or {}
    again = (state.get("waiting") or {}).get("reason") == "CrashLoopBackOff"
    if not ended or ended.get("exitCode") == 0 or not (again or state.get("terminated")):
        return None
    killed = " (out of memory)" if ended.get("reason") == "OOMKilled" else ""
    times = container.get("restartCount", 0) + (1 if state.get("terminated") else 0)
    mend = "Raise the memory limit (resources=)." if killed else "Read its last log lines."
    return Diagnosis(
        cause=Cause.CRASHING,
        pod=pod,
        sentence=f"Pod {pod}: container {container['name']} ended with exit code {ended.get('exitCode')}{killed}, "
        f"{max(times, 1)} time{'s' if times > 1 else ''}. {ended.get('message', '')}".rstrip(),
        mend=mend,
        final=again,
    )


def _unschedulable(pod: str, condition: Mapping[str, Any]) -> Diagnosis:
    return Diagnosis(
        cause=Cause.UNSCHEDULABLE,
        pod=pod,
        sentence=f"Pod {pod} fits on no node: {condition.get('message') or condition.get('reason', '')}",
        mend="Ask for less (resources=), or add nodes: Kubernetes keeps trying.",
        final=False,
    )


def _evicted(pod: str, message: str) -> Diagnosis:
    return Diagnosis(
        cause=Cause.EVICTED,
        pod=pod,
        sentence=f"Pod {pod} was evicted: {message}",
        mend="Give the Pods requests (resources=) that match what they use.",
        final=False,
    )


def _not_set_up(pod: str, message: str) -> Diagnosis:
    return Diagnosis(
        cause=Cause.SANDBOX,
        pod=pod,
        sentence=f"Pod {pod} is not set up yet: {message}",
        mend="Look at the node's network and volumes: Kubernetes keeps trying.",
        final=False,
    )
