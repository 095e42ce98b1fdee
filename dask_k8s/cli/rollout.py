"""Waits until a Deployment is what it should be, and says why it is not."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from dask_k8s import diagnosis
from dask_k8s.cli.session import Say
from dask_k8s.diagnosis import Cause, Diagnosis
from dask_k8s.errors import ApiError, StartError, StartTimeout
from dask_k8s.kinds.value import Manifest
from dask_k8s.kube.client import Client
from dask_k8s.kube.resources import DEPLOYMENT, EVENT, POD

EVERY = 0.5
LOG_LINES = 12

_MENDS: Mapping[Cause, str] = {
    Cause.IMAGE_NOT_FOUND: "Name an image that is there, by --image.",
    Cause.IMAGE_NAME: "Correct --image.",
    Cause.IMAGE_DENIED: "Name an image that the nodes may pull, by --image.",
    Cause.IMAGE_UNREACHABLE: "Name an image that the nodes can reach, by --image: Kubernetes keeps trying meanwhile.",
    Cause.UNSCHEDULABLE: "Add a node, or free one: Kubernetes keeps trying meanwhile.",
}
"""Where the mend of the diagnosis speaks of KubeCluster's arguments."""


async def available(client: Client, namespace: str, name: str, say: Say, within: float) -> None:
    """Return when the newest version of a Deployment is available; say in between what it waits for.

    Raises
    ------
    StartError
        At once where waiting cannot help.
    StartTimeout
        When its time is over.
    """
    said: str | None = None
    problem: Diagnosis | None = None
    try:
        async with asyncio.timeout(within):
            while True:
                check_count(deployment := await client.get(DEPLOYMENT, namespace, name))
                if is_available(deployment):
                    return
                problem = await _problem(client, deployment)
                if problem is not None and problem.final:
                    raise StartError(_step(name), await _whole(client, namespace, problem), _mend(problem))
                if problem is not None and problem.sentence != said:
                    said = problem.sentence
                    say(f"  waiting: {said}")
                await asyncio.sleep(EVERY)
    except TimeoutError:
        deployment = await client.get(DEPLOYMENT, namespace, name)
        cause, mend = _after_all(deployment, problem)
        raise StartTimeout(f"{_step(name)} within {within:.0f} s", cause, mend) from None


def check_count(deployment: Manifest) -> None:
    """The count is an administrator's; where it is 0 there is nothing to wait for, and nobody serves.

    Raises
    ------
    StartError
        Where it is 0.
    """
    if deployment["spec"].get("replicas", 1) == 0:
        metadata = deployment["metadata"]
        where = f"kubectl -n {metadata['namespace']} scale deployment/{metadata['name']} --replicas=1"
        raise StartError(_step(metadata["name"]), "It is scaled to 0, so no operator runs.", f"Start one: {where}")


def is_available(deployment: Manifest) -> bool:
    """Whether all replicas are of the newest version and available, as ``kubectl rollout status`` sees it."""
    status, wanted = deployment.get("status") or {}, deployment["spec"].get("replicas", 1)
    return (
        _is_observed(deployment)
        and status.get("updatedReplicas", 0) == wanted
        and status.get("replicas", 0) == wanted
        and status.get("availableReplicas", 0) == wanted
    )


def complaint(deployment: Manifest) -> str | None:
    """What Kubernetes says about a Deployment that gets no Pods or no further."""
    failing = {"ReplicaFailure": "True", "Progressing": "False"}
    for condition in (deployment.get("status") or {}).get("conditions") or ():
        if failing.get(condition["type"]) == condition["status"]:
            return f"{condition.get('reason', condition['type'])}: {condition.get('message', '')}"
    return None


async def _problem(client: Client, deployment: Manifest) -> Diagnosis | None:
    """What is wrong with the newest Pod, once there is one of this version."""
    if not _is_observed(deployment) or not deployment["status"].get("updatedReplicas"):
        return None
    namespace = deployment["metadata"]["namespace"]
    labels = ",".join(f"{key}={text}" for key, text in deployment["spec"]["selector"]["matchLabels"].items())
    pods = (await client.list(POD, namespace, labels=labels))["items"]
    if not pods:
        return None
    newest = max(pods, key=lambda pod: pod["metadata"]["creationTimestamp"])
    return diagnosis.of_pod(newest, await _events(client, newest))


async def _events(client: Client, pod: Manifest) -> list[str]:
    selector = f"involvedObject.uid={pod['metadata']['uid']},type=Warning"
    return diagnosis.messages((await client.list(EVENT, pod["metadata"]["namespace"], fields=selector))["items"])


async def _whole(client: Client, namespace: str, problem: Diagnosis) -> str:
    """The sentence of a problem, with the last log lines where a container crashed."""
    if problem.cause is not Cause.CRASHING:
        return problem.sentence
    try:
        lines = await client.logs(namespace, problem.pod, tail=LOG_LINES, previous=True)
    except ApiError as error:
        return f"{problem.sentence} Its log cannot be read: {error}"
    return f"{problem.sentence}\n{lines.rstrip()}"


def _after_all(deployment: Manifest, problem: Diagnosis | None) -> tuple[str, str]:
    """Cause and mend of a time that is over."""
    if problem is not None:
        return problem.sentence, _mend(problem)
    metadata = deployment["metadata"]
    look = f"Look at it: kubectl -n {metadata['namespace']} describe deployment {metadata['name']}"
    if told := complaint(deployment):
        return told, look
    if not _is_observed(deployment):
        return "Kubernetes has not looked at the Deployment.", "Look whether this cluster's controller manager runs."
    return "its Pods are not ready, and Kubernetes says nothing about it.", look


def _is_observed(deployment: Manifest) -> bool:
    observed: int = (deployment.get("status") or {}).get("observedGeneration", 0)
    return observed >= int(deployment["metadata"]["generation"])


def _mend(problem: Diagnosis) -> str:
    return _MENDS.get(problem.cause, problem.mend)


def _step(name: str) -> str:
    return f"The Deployment {name} did not become available"
