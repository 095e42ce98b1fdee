"""From what a kubelet and a scheduler say to a cause, a sentence and a mend: their words as they write them."""

from __future__ import annotations

from typing import Any

import pytest

from dask_k8s.diagnosis import Cause, messages, of_pod
from dask_k8s.kinds.value import Manifest

IMAGE = "ghcr.io/dask/dask:no-such-tag"
NOT_FOUND = (
    'failed to pull and unpack image "ghcr.io/dask/dask:no-such-tag": failed to resolve reference '
    '"ghcr.io/dask/dask:no-such-tag": ghcr.io/dask/dask:no-such-tag: not found'
)
BACK_OFF = f'Back-off pulling image "{IMAGE}": ErrImagePull: rpc error: code = NotFound desc = {NOT_FOUND}'
DENIED = (
    "failed to authorize: failed to fetch anonymous token: unexpected status from GET request to "
    "https://ghcr.io/token: 403 Forbidden"
)
PULL_DENIED = (
    "pull access denied, repository does not exist or may require authorization: server message: "
    "insufficient_scope: authorization failed"
)
NO_HOST = (
    'failed to do request: Head "https://registry.invalid/v2/dask/manifests/1": dial tcp: lookup registry.invalid: '
    "no such host"
)
TIME_OUT = 'failed to do request: Head "https://10.255.255.1/v2/": dial tcp 10.255.255.1:443: i/o timeout'


def pod(*statuses: Manifest, phase: str = "Pending", conditions: tuple[Manifest, ...] = (), **status: Any) -> Manifest:
    """A Pod with the statuses of its containers."""
    return {
        "metadata": {"name": "simple-scheduler"},
        "status": {"phase": phase, "containerStatuses": list(statuses), "conditions": list(conditions), **status},
    }


def waiting(reason: str, message: str = "", **fields: Any) -> Manifest:
    state = {"waiting": {"reason": reason, **({"message": message} if message else {})}}
    return {"name": "scheduler", "image": IMAGE, "restartCount": 0, "state": state, **fields}


def terminated(code: int, reason: str = "Error", message: str = "") -> Manifest:
    return {"terminated": {"exitCode": code, "reason": reason, **({"message": message} if message else {})}}


def ended(code: int, reason: str = "Error", *, restarts: int = 0) -> Manifest:
    return {"name": "scheduler", "image": IMAGE, "restartCount": restarts, "state": terminated(code, reason)}


def crashing(code: int, reason: str = "Error", *, restarts: int = 3) -> Manifest:
    back_off = "back-off 40s restarting failed container=scheduler pod=simple-scheduler_default(uid)"
    return waiting("CrashLoopBackOff", back_off, restartCount=restarts, lastState=terminated(code, reason))


DENIED_HOST = NO_HOST.replace("registry.invalid", "denied.invalid")

PULLS = [
    ("ErrImagePull", NOT_FOUND, Cause.IMAGE_NOT_FOUND, True),
    ("ImagePullBackOff", BACK_OFF, Cause.IMAGE_NOT_FOUND, True),
    ("ErrImagePull", "manifest unknown", Cause.IMAGE_NOT_FOUND, True),
    ("ErrImagePull", DENIED, Cause.IMAGE_DENIED, True),
    ("ErrImagePull", PULL_DENIED, Cause.IMAGE_DENIED, True),
    ("ErrImagePull", "unexpected status code 401 Unauthorized", Cause.IMAGE_DENIED, True),
    ("ErrImagePull", NO_HOST, Cause.IMAGE_UNREACHABLE, False),
    ("ErrImagePull", DENIED_HOST, Cause.IMAGE_UNREACHABLE, False),
    ("ErrImagePull", TIME_OUT, Cause.IMAGE_UNREACHABLE, False),
    (
        "ErrImagePull",
        "rpc error: code = DeadlineExceeded desc = context deadline exceeded",
        Cause.IMAGE_UNREACHABLE,
        False,
    ),
    ("ImagePullBackOff", 'Back-off pulling image "x"', Cause.IMAGE_UNREACHABLE, False),
    ("ImagePullBackOff", "", Cause.IMAGE_UNREACHABLE, False),
    ("ErrImageNeverPull", "Container image is not present with pull policy of Never", Cause.IMAGE_UNREACHABLE, False),
]


@pytest.mark.parametrize(("reason", "message", "cause", "final"), PULLS)
def test_an_image_that_cannot_be_pulled(reason: str, message: str, cause: Cause, final: bool) -> None:
    """Not there and not allowed do not mend themselves; a registry that cannot be reached may."""
    found = of_pod(pod(waiting(reason, message)))
    assert found is not None
    assert (found.cause, found.final) == (cause, final)
    assert (message or reason) in found.sentence
    assert IMAGE in found.sentence
    assert "image=" in found.mend


ONE_NODE = (
    "0/1 nodes are available: 1 Insufficient memory. preemption: 0/1 nodes are available: "
    "1 No preemption victims found for incoming pod."
)
UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": ONE_NODE}

OTHERS = [
    ("no node fits", pod(conditions=(UNSCHEDULABLE,)), Cause.UNSCHEDULABLE, False, ONE_NODE, "resources="),
    (
        "an image name that is none",
        pod(waiting("InvalidImageName", 'Failed to apply default image tag "Dask": couldn\'t parse image name')),
        Cause.IMAGE_NAME,
        True,
        "couldn't parse image name",
        "image=",
    ),
    (
        "a Secret that is missing",
        pod(waiting("CreateContainerConfigError", 'secret "credentials" not found')),
        Cause.CONTAINER,
        False,
        'secret "credentials" not found',
        "Secret",
    ),
    (
        "a program that is not there",
        pod(waiting("RunContainerError", 'exec: "dask-scheduler": executable file not found in $PATH')),
        Cause.CONTAINER,
        True,
        "executable file not found",
        "command",
    ),
    ("a crash loop", pod(crashing(1), phase="Running"), Cause.CRASHING, True, "exit code 1, 3 times", "log"),
    ("a first crash", pod(ended(2), phase="Running"), Cause.CRASHING, False, "exit code 2, 1 time.", "log"),
    (
        "out of memory",
        pod(crashing(137, "OOMKilled"), phase="Running"),
        Cause.CRASHING,
        True,
        "exit code 137 (out of memory)",
        "memory limit",
    ),
    (
        "evicted",
        pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory."),
        Cause.EVICTED,
        False,
        "low on resource: memory",
        "requests",
    ),
    (
        "an init container crashes",
        pod(waiting("PodInitializing"), initContainerStatuses=[{**crashing(3), "name": "prepare"}]),
        Cause.CRASHING,
        True,
        "container prepare ended with exit code 3",
        "log",
    ),
]


@pytest.mark.parametrize(("_fact", "given", "cause", "final", "says", "mend"), OTHERS, ids=[row[0] for row in OTHERS])
def test_other_troubles(_fact: str, given: Manifest, cause: Cause, final: bool, says: str, mend: str) -> None:
    """Kubernetes' own words, whether waiting can help, and what the reader can do."""
    found = of_pod(given)
    assert found is not None
    assert (found.cause, found.final, found.pod) == (cause, final, "simple-scheduler")
    assert says in found.sentence
    assert mend in found.mend
    assert "simple-scheduler" in found.sentence


RUNNING = {"name": "scheduler", "image": IMAGE, "restartCount": 0, "state": {"running": {"startedAt": "…"}}}

SOUND = [
    ("nothing is known yet", {"metadata": {"name": "p"}}),
    ("a null status", {"metadata": {"name": "p"}, "status": None}),
    ("it is being made", pod(waiting("ContainerCreating"))),
    ("it is initialised", pod(waiting("PodInitializing"))),
    ("it runs", pod(RUNNING, phase="Running")),
    ("it runs again after a crash", pod({**RUNNING, "restartCount": 1, "lastState": terminated(1)}, phase="Running")),
    ("it ended well", pod(ended(0, "Completed"), phase="Succeeded")),
    ("it has a node", pod(conditions=({"type": "PodScheduled", "status": "True"},))),
]


@pytest.mark.parametrize(("_fact", "given"), SOUND, ids=[row[0] for row in SOUND])
def test_no_trouble_is_invented(_fact: str, given: Manifest) -> None:
    """A start takes its time, and a crash that is over is over."""
    assert of_pod(given) is None


SANDBOX = (
    "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox: plugin type="
    '"bridge" failed (add): no IP addresses available in range set'
)


def test_some_troubles_are_told_by_events_alone() -> None:
    """A Pod whose network or volumes cannot be set up has no status that says so; the newest Event does."""
    found = of_pod(pod(waiting("ContainerCreating")), ["an older one", SANDBOX])
    assert found is not None
    assert (found.cause, found.final) == (Cause.SANDBOX, False)
    assert SANDBOX in found.sentence


def test_events_of_a_pod_that_runs_are_history() -> None:
    """What stood in the way of its start does so no more."""
    assert of_pod(pod(RUNNING, phase="Running"), [SANDBOX]) is None


def test_what_a_container_says_goes_before_what_events_say() -> None:
    """The likelier cause first: the status is of now, the Events may be old."""
    found = of_pod(pod(waiting("ErrImagePull", NOT_FOUND)), [SANDBOX])
    assert found is not None
    assert found.cause is Cause.IMAGE_NOT_FOUND


def test_events_are_in_their_order_whoever_wrote_them() -> None:
    """A kubelet's have one time, a scheduler's another, and one that came again tells when."""
    events: list[Manifest] = [
        {"message": "kubelet", "lastTimestamp": "2026-01-01T00:00:02Z", "eventTime": None},
        {
            "message": "again",
            "eventTime": "2026-01-01T00:00:00.000001Z",
            "series": {"lastObservedTime": "2026-01-01T00:00:04.0Z"},
        },
        {"message": "scheduler", "lastTimestamp": None, "eventTime": "2026-01-01T00:00:03.500000Z"},
        {"message": "undated"},
        {"lastTimestamp": "2026-01-01T00:00:01Z"},
    ]
    assert messages(events) == ["undated", "", "kubelet", "scheduler", "again"]
