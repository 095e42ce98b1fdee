"""How a runner's Pod ended, from what a kubelet says of it: by its program, or taken away from it."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from dask_k8s import names
from dask_k8s.kinds.fields import moment
from dask_k8s.manifests.worker import worker_pod
from dask_k8s.operator.caches import slim_pod
from dask_k8s.operator.observed import Phase
from dask_k8s.operator.observed_job import Ending
from dask_k8s.operator.pods import marked_at, phase_of, runner_of, starts, worker_phase_of
from tests.unit.given import CREATED, NOW, group, later

THEN = "2026-01-31T11:30:00Z"
LATER = "2026-01-31T11:40:00Z"
RUNS = {"running": {"startedAt": THEN}}


def ended(code: int, reason: str = "Error", **more: Any) -> dict[str, Any]:
    """A container's state after its end."""
    return {"terminated": {"exitCode": code, "reason": reason, "startedAt": THEN, "finishedAt": LATER, **more}}


def pod(
    phase: str,
    *states: dict[str, Any],
    metadata: dict[str, Any] | None = None,
    policy: str = "OnFailure",
    **status: Any,
) -> dict[str, Any]:
    """A runner as the API server has it, with as many containers as states."""
    names = ["job", "beside"][: max(1, len(states))]
    meta = {"name": "simple-runner", "namespace": "default", "uid": "u", "creationTimestamp": CREATED}
    statuses = [
        {"name": name, "restartCount": 0, "state": state, **state.get("_", {})}
        for name, state in zip(names, states, strict=False)
    ]
    return dict(
        slim_pod(
            {
                "metadata": {**meta, **(metadata or {})},
                "spec": {"restartPolicy": policy, "containers": [{"name": name} for name in names]},
                "status": {"phase": phase, "containerStatuses": statuses, **status},
            }
        )
    )


WAITS = [{"name": "job", "restartCount": 0, "state": {"waiting": {"reason": "PodInitializing"}}}]
DISRUPTED = [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]

ENDINGS: list[tuple[str, dict[str, Any], Ending | None]] = [
    ("it runs", pod("Running", RUNS), None),
    ("it waits for its image", pod("Pending"), None),
    ("its program succeeded", pod("Succeeded", ended(0, "Completed")), Ending.SUCCEEDED),
    ("its program failed", pod("Failed", ended(3)), Ending.FAILED),
    ("it needed too much memory", pod("Failed", ended(137, "OOMKilled")), Ending.FAILED),
    ("its own deadline passed", pod("Failed", ended(137), reason="DeadlineExceeded"), Ending.FAILED),
    (
        "the kubelet needed the room",
        pod("Failed", ended(137), reason="Evicted", conditions=DISRUPTED, policy="Never"),
        Ending.LOST,
    ),
    ("it went beyond its own limit", pod("Failed", ended(137), reason="Evicted", policy="Never"), Ending.FAILED),
    ("beyond its limit, to be tried again", pod("Failed", ended(137), reason="Evicted"), Ending.LOST),
    ("the node shuts down", pod("Failed", ended(143), reason="Terminated"), Ending.LOST),
    ("it was chosen to make room", pod("Failed", ended(143), conditions=DISRUPTED), Ending.LOST),
    ("the node did not take it", pod("Failed", reason="OutOfmemory"), Ending.LOST),
    ("no container of it ever ran", pod("Failed"), Ending.LOST),
    (
        "what prepares it failed",
        pod("Failed", initContainerStatuses=[{"name": "init", "state": ended(1)}], containerStatuses=WAITS),
        Ending.FAILED,
    ),
    ("its node began anew", pod("Failed", ended(137, "ContainerStatusUnknown")), Ending.LOST),
    ("told to end, it exits with 0", pod("Succeeded", ended(0), metadata={"deletionTimestamp": LATER}), None),
]


@pytest.mark.parametrize(("_fact", "given", "expected"), ENDINGS, ids=[row[0] for row in ENDINGS])
def test_how_it_ended(_fact: str, given: dict[str, Any], expected: Ending | None) -> None:
    """Only a program's own end is the job's end."""
    assert runner_of(given, phase_of(given)).ending is expected


WORDS: list[tuple[dict[str, Any], str]] = [
    (pod("Failed", ended(3)), "Container job ended with exit code 3 (Error)."),
    (pod("Failed", ended(1, message="no data\n")), "Container job ended with exit code 1 (Error): no data"),
    (pod("Failed", reason="Evicted", message="The node was low on memory."), "Evicted: The node was low on memory."),
    (pod("Running", {**RUNS, "_": {"lastState": ended(7)}}), "Container job ended with exit code 7 (Error)."),
    (
        pod("Succeeded", {**ended(0, "Completed"), "_": {"lastState": ended(7)}}),
        "Container job ended with exit code 7 (Error).",
    ),
    (pod("Failed", ended(0, "Completed"), ended(2)), "Container beside ended with exit code 2 (Error)."),
    (
        pod("Failed", ended(3, message="no data"), initContainerStatuses=[{"name": "proxy", "state": ended(143)}]),
        "Container job ended with exit code 3 (Error): no data",
    ),
    (
        pod("Failed", initContainerStatuses=[{"name": "init", "state": ended(1)}], containerStatuses=WAITS),
        "Container init ended with exit code 1 (Error).",
    ),
    (pod("Running", RUNS), ""),
]


@pytest.mark.parametrize(("given", "words"), WORDS)
def test_why_in_the_kubelets_words(given: dict[str, Any], words: str) -> None:
    """With the container, its exit code and what it left as its last words."""
    assert runner_of(given, phase_of(given)).why == words


@pytest.mark.parametrize(
    ("given", "waits_for"),
    [
        (pod("Running", ended(0, "Completed"), RUNS), ("beside",)),
        (pod("Running", RUNS, RUNS), ()),
        (pod("Running", RUNS, ended(0)), ()),
        (pod("Running", ended(1), RUNS), ()),
    ],
)
def test_what_a_job_still_waits_for(given: dict[str, Any], waits_for: tuple[str, ...]) -> None:
    """A container beside the program that never ends keeps the job from its end."""
    assert runner_of(given, phase_of(given)).waits_for == waits_for


def test_restarts_and_times_are_counted() -> None:
    """The first start, the last end, every restart."""
    first = {"lastState": ended(1), "restartCount": 4}
    given = pod("Succeeded", {**ended(0, startedAt=LATER), "_": first})
    runner = runner_of(given, phase_of(given))
    assert (runner.restarts, runner.started, runner.ended) == (4, moment(THEN), moment(LATER))


CRASHED: dict[str, Any] = {"waiting": {"reason": "CrashLoopBackOff"}, "_": {"restartCount": 3, "lastState": ended(1)}}


@pytest.mark.parametrize(
    ("given", "phase"),
    [
        (pod("Pending", {"waiting": {"reason": "ContainerCreating"}}), Phase.PENDING),
        (pod("Running", RUNS), Phase.RUNNING),
        (pod("Running", CRASHED), Phase.PENDING),
        (pod("Running", CRASHED, RUNS), Phase.RUNNING),
        (pod("Running", RUNS, conditions=[{"type": "Ready", "status": "True"}]), Phase.READY),
        (pod("Failed", ended(1)), Phase.ENDED),
        (pod("Running", RUNS, metadata={"deletionTimestamp": LATER}), Phase.LEAVING),
    ],
    ids=["never ran", "runs", "ended and will be started again", "something else of it runs", "ready", "ended", "goes"],
)
def test_where_a_worker_stands(given: dict[str, Any], phase: Phase) -> None:
    """One whose program does not run holds nothing, though it held something once."""
    assert worker_phase_of(given) is phase


READY = pod("Running", RUNS, conditions=[{"type": "Ready", "status": "True"}])
AGAIN = pod("Running", {**RUNS, "_": {"restartCount": 1}})
MARKED = pod("Running", RUNS, metadata={"annotations": {names.RETIRING_SINCE: THEN}})
GOES = pod("Running", RUNS, metadata={"deletionTimestamp": LATER})


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (None, pod("Pending"), True),
        (None, pod("Failed", ended(1)), False),
        (pod("Pending"), pod("Running", RUNS), True),
        (pod("Running", RUNS), READY, True),
        (READY, READY, True),
        (READY, pod("Running", RUNS), False),
        (pod("Running", RUNS), AGAIN, False),
        (pod("Running", RUNS), MARKED, False),
        (MARKED, pod("Running", RUNS), False),
        (READY, pod("Failed", ended(1)), False),
        (READY, GOES, False),
        (GOES, GOES, False),
    ],
    ids=[
        "it is made",
        "it is found ended",
        "it runs",
        "it is ready",
        "its kubelet says the same again",
        "it is ready no more",
        "it was started again",
        "it was chosen to leave",
        "it stays after all",
        "it ended",
        "it goes",
        "it still goes",
    ],
)
def test_what_is_no_more_than_a_start(old: dict[str, Any] | None, new: dict[str, Any], expected: bool) -> None:
    """Nothing has to be done for it, so the news can wait; for all else somebody may have to act."""
    assert starts(old, new) is expected


@pytest.mark.parametrize(
    ("mark", "at"),
    [
        ("2026-01-31T11:59:30Z", later(-30)),
        ("2026-01-31T12:59:30+01:00", later(-30)),
        ("2026-01-31T12:00:00Z", NOW),
        ("2026-01-31T12:00:01Z", None),
        ("9999-12-31T23:59:59Z", None),
        ("2026-01-31", None),
        ("2026-01-31T11:59:30", None),
        ("now", None),
        ("", None),
    ],
)
def test_when_a_worker_was_chosen_to_leave(mark: str, at: datetime | None) -> None:
    """Anybody may write the annotation: one that is no time, or has not come, does not tell."""
    assert marked_at(mark, NOW) == at


def test_a_slimmed_pod_still_says_whether_its_workers_bear_its_name() -> None:
    """Its command is not kept; who seems not to have joined is told by that from one whose worker may be any."""
    args = ["dask", "worker", "--name", "$(DASK_WORKER_NAME)"]
    named, unnamed = (
        slim_pod({**made, "status": {}})["spec"]["namesWorkers"]
        for made in (
            worker_pod(group(spec={"containers": [{"name": "worker", "args": each}]}), "w") for each in (args, args[:2])
        )
    )
    assert (named, unnamed) == (True, False)


def test_what_thousands_of_pods_have_alike_is_kept_once() -> None:
    """Each was read from a text of its own."""
    pods = []
    for number in range(2):
        text = json.dumps(
            {
                "metadata": {"name": f"p{number}", "labels": {"dask.org/cluster-name": "one of thousands"}},
                "spec": {"containers": [{"name": "worker"}], "nodeName": "node-7"},
            }
        )
        pods.append(slim_pod(json.loads(text)))
    assert pods[0]["spec"]["nodeName"] is pods[1]["spec"]["nodeName"]
    ((one,), (other,)) = (pod["metadata"]["labels"].items() for pod in pods)
    assert [id(text) for text in one] == [id(text) for text in other]
