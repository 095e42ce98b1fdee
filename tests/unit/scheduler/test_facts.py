"""A scheduler's words are checked: a wrong type is refused with the op and the field, a wrong size is clamped."""

from __future__ import annotations

from typing import Any

import pytest

from dask_k8s.errors import SchedulerRefused
from dask_k8s.scheduler.facts import MOST, Identity, WorkerFacts, identity, number, whole

ADDRESS = "tcp://10.0.0.7:4000"
WORKER: dict[str, Any] = {
    "name": "w",
    "status": "running",
    "nthreads": 2,
    "memory_limit": 100,
    "metrics": {"task_counts": {"executing": 1, "long-running": 2, "memory": 9, "ready": 9}},
    "last_seen": 7.5,
}
REPLY: dict[str, Any] = {"id": "Scheduler-1", "address": "tcp://10.0.0.1:8786", "workers": {ADDRESS: WORKER}}


def changed(**fields: Any) -> dict[str, Any]:
    """The reply with one worker changed."""
    return {**REPLY, "workers": {ADDRESS: {**WORKER, **fields}}}


def worker(reply: Any) -> WorkerFacts:
    """The only worker of a reply."""
    (found,) = identity(reply).workers.values()
    return found


def test_an_identity_is_read() -> None:
    """Tasks in memory or ready do not execute."""
    assert identity(REPLY) == Identity(
        id="Scheduler-1",
        address="tcp://10.0.0.1:8786",
        workers={
            ADDRESS: WorkerFacts(
                address=ADDRESS,
                name="w",
                status="running",
                nthreads=2,
                memory_limit=100,
                executing=3,
                managed=None,
                last_seen=7.5,
            )
        },
    )


@pytest.mark.parametrize(
    ("reply", "field"),
    [
        (None, "the reply"),
        ((), "the reply"),
        ({**REPLY, "id": 1}, "id"),
        ({**REPLY, "id": "x" * 513}, "id"),
        ({**REPLY, "workers": None}, "workers"),
        ({**REPLY, "workers": {ADDRESS: 1}}, "a worker"),
        ({**REPLY, "workers": {"x" * 513: WORKER}}, "a worker's address"),
        (changed(status=1), "status"),
        (changed(nthreads="2"), "nthreads"),
        (changed(nthreads=True), "nthreads"),
        (changed(nthreads=2.0), "nthreads"),
        (changed(memory_limit=None), "memory_limit"),
        (changed(metrics=()), "metrics"),
        (changed(metrics={"task_counts": 1}), "task_counts"),
        (changed(metrics={"task_counts": {"executing": "1"}}), "task_counts.executing"),
        (changed(metrics={"managed_bytes": "1"}), "managed_bytes"),
        (changed(last_seen="now"), "last_seen"),
    ],
)
def test_a_wrong_type_is_refused_by_its_name(reply: Any, field: str) -> None:
    """The op and the field, and no value that could be of any length."""
    with pytest.raises(SchedulerRefused, match=f"^identity: {field} must be ") as refused:
        identity(reply)
    assert len(str(refused.value)) < 100


@pytest.mark.parametrize(
    ("metrics", "executing"), [({}, None), ({"task_counts": {}}, 0), ({"task_counts": {"resumed": 4}}, 4)]
)
def test_unknown_is_not_idle(metrics: dict[str, Any], executing: int | None) -> None:
    """A worker that never said what it does may do anything."""
    assert worker(changed(metrics=metrics)).executing == executing


@pytest.mark.parametrize(("given", "taken"), [(-1, 0), (0, 0), (5, 5), (2**64 - 1, MOST)])
def test_numbers_are_clamped(given: int, taken: int) -> None:
    """No number of a scheduler is taken beyond its bounds."""
    assert worker(changed(nthreads=given)).nthreads == taken
    assert whole("op", "field", given, most=5) == min(taken, 5)


@pytest.mark.parametrize(("given", "taken"), [(-1.5, 0), (1, 1), (float("inf"), MOST), (float("nan"), 0)])
def test_floats_are_clamped(given: float, taken: float) -> None:
    """What is no number at all is 0."""
    assert number("op", "field", given) == taken


@pytest.mark.parametrize(
    ("given", "name"),
    [("w", "w"), (3, "3"), (None, ""), (True, ""), (("laptop", 1), ""), ("x" * 513, "")],
    ids=["a text", "a number, as in a LocalCluster", "none", "a truth", "a tuple", "too long"],
)
def test_a_worker_may_have_any_name(given: object, name: str) -> None:
    """One that can be no Pod's is as good as none: one odd worker must not silence its scheduler."""
    assert worker(changed(name=given)).name == name
