"""Events: what is written of what is told, when, and how much of it at most; in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dask_k8s.errors import Forbidden, LeadershipLost, Missing, Unreachable
from dask_k8s.kinds.value import Manifest, Ref
from dask_k8s.kube.resources import Resource
from dask_k8s.operator.engine.recorder import (
    BACKLOG,
    BURST,
    NAME_LIMIT,
    NOTE_LIMIT,
    REFILL,
    REFRESH,
    SERIES_ENDS,
    Recorder,
    Sentence,
)
from tests.unit import virtual_time

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
SIMPLE = Ref(kind="DaskCluster", namespace="team", name="simple", uid="7")
READY = Sentence(
    about=SIMPLE,
    api_version="kubernetes.dask.org/v1",
    action="Reconcile",
    reason="Ready",
    note="It runs.",
    warning=False,
)


LIMIT = 2.5


@dataclass
class Api:
    """Keeps what is written; each error is met once."""

    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    writes: list[tuple[float, str]] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)

    async def create(self, manifest: Manifest, *, timeout: float | None = None) -> dict[str, Any]:
        assert timeout == LIMIT
        self._writes("create")
        name = manifest["metadata"]["name"]
        assert name not in self.events
        self.events[name] = dict(manifest)
        return self.events[name]

    async def patch(
        self, resource: Resource, namespace: str | None, name: str, patch: Manifest, *, timeout: float | None = None
    ) -> dict[str, Any]:
        assert timeout == LIMIT
        self._writes("patch")
        assert (resource.group, namespace) == ("events.k8s.io", "team")
        if name not in self.events:
            raise Missing(404, "NotFound", name)
        self.events[name].update(patch)
        return self.events[name]

    def _writes(self, verb: str) -> None:
        self.writes.append((asyncio.get_running_loop().time(), verb))
        if self.errors:
            raise self.errors.pop(0)


def told(story: Callable[[Api, Recorder], Coroutine[Any, Any, None]]) -> tuple[Api, Recorder]:
    """What was written after a story was told."""

    async def main() -> tuple[Api, Recorder]:
        loop, api = asyncio.get_running_loop(), Api()
        recorder = Recorder(
            api,
            controller="kubernetes.dask.org/operator",
            instance="pod-1",
            limit=lambda: LIMIT,
            clock=loop.time,
            now=lambda: BEGIN + timedelta(seconds=loop.time()),
        )
        running = asyncio.ensure_future(recorder.run())
        await story(api, recorder)
        await asyncio.sleep(0.1)
        running.cancel()
        await asyncio.wait([running])
        return api, recorder

    return virtual_time.run(main())


def test_a_sentence_is_an_event_with_all_that_the_group_asks_for() -> None:
    """Who speaks, of what, when to the microsecond, and what was done."""

    async def story(_: Api, recorder: Recorder) -> None:
        await asyncio.sleep(1.5)
        recorder.tell(READY)

    api, recorder = told(story)
    ((name, event),) = api.events.items()
    assert name.startswith("simple.")
    assert event == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": "team"},
        "eventTime": "2026-01-01T00:00:01.500000Z",
        "reportingController": "kubernetes.dask.org/operator",
        "reportingInstance": "pod-1",
        "action": "Reconcile",
        "reason": "Ready",
        "regarding": {
            "apiVersion": "kubernetes.dask.org/v1",
            "kind": "DaskCluster",
            "name": "simple",
            "namespace": "team",
            "uid": "7",
        },
        "note": "It runs.",
        "type": "Normal",
    }
    assert (recorder.written, recorder.failed, recorder.dropped) == (1, 0, 0)


def test_a_repetition_is_told_at_once_and_further_ones_once_a_minute() -> None:
    """A sentence each second costs one write a minute, and its count is right in the end."""

    async def story(_: Api, recorder: Recorder) -> None:
        for _second in range(150):
            recorder.tell(READY)
            await asyncio.sleep(1)
        await asyncio.sleep(REFRESH)

    api, _ = told(story)
    (event,) = api.events.values()
    assert event["series"] == {"count": 150, "lastObservedTime": "2026-01-01T00:02:29.000000Z"}
    assert api.writes == [(0, "create"), (1, "patch"), (60, "patch"), (120, "patch"), (180, "patch")]


def test_a_series_that_has_aged_is_over() -> None:
    """The same sentence is a new Event then, as in client-go; until then it is not."""

    async def story(_: Api, recorder: Recorder) -> None:
        recorder.tell(READY)
        await asyncio.sleep(SERIES_ENDS - 1)
        recorder.tell(READY)
        await asyncio.sleep(SERIES_ENDS)
        recorder.tell(READY)

    api, _ = told(story)
    assert [event.get("series", {}).get("count") for event in api.events.values()] == [2, None]


@pytest.mark.parametrize(
    "other",
    [
        replace(READY, note="It runs again."),
        replace(READY, reason="Again"),
        replace(READY, warning=True),
        replace(READY, about=replace(SIMPLE, uid="8")),
    ],
    ids=["another note", "another reason", "a warning", "a later object of its name"],
)
def test_another_sentence_is_another_event(other: Sentence) -> None:
    """Only what is the same in every word is a series."""

    async def story(_: Api, recorder: Recorder) -> None:
        recorder.tell(READY)
        recorder.tell(other)

    assert len(told(story)[0].events) == 2


def test_one_object_has_a_burst_and_then_one_a_minute() -> None:
    """What it has too much of is dropped, and counted; others have their own."""

    async def story(_: Api, recorder: Recorder) -> None:
        for number in range(BURST + 5):
            recorder.tell(replace(READY, note=str(number)))
        recorder.tell(replace(READY, about=replace(SIMPLE, name="other", uid="8")))
        await asyncio.sleep(REFILL)
        recorder.tell(replace(READY, note="later"))
        recorder.tell(replace(READY, note="too soon"))

    api, recorder = told(story)
    assert len(api.events) == BURST + 2
    assert (recorder.written, recorder.dropped) == (BURST + 2, 6)


def test_a_backlog_has_a_bound() -> None:
    """While the API server is away nothing piles up; what is told after that is written."""

    async def story(_: Api, recorder: Recorder) -> None:
        for number in range(BACKLOG + 10):
            recorder.tell(replace(READY, about=replace(SIMPLE, uid=str(number))))
        await asyncio.sleep(1)
        recorder.tell(replace(READY, about=replace(SIMPLE, uid="later")))

    _, recorder = told(story)
    assert (recorder.written, recorder.dropped) == (BACKLOG + 1, 10)


@pytest.mark.parametrize(
    "error", [Unreachable("no route"), Forbidden(403, "Forbidden", "terminating"), LeadershipLost("run out")]
)
def test_what_is_not_written_is_counted_and_can_be_told_again(error: Exception) -> None:
    """An Event is never in the way, and never retried by itself."""

    async def story(api: Api, recorder: Recorder) -> None:
        api.errors.append(error)
        recorder.tell(READY)
        await asyncio.sleep(1)
        recorder.tell(READY)

    api, recorder = told(story)
    assert (len(api.events), recorder.written, recorder.failed) == (1, 1, 1)


def test_a_series_whose_event_has_expired_begins_anew() -> None:
    """The API server keeps Events for an hour, or less."""

    async def story(api: Api, recorder: Recorder) -> None:
        recorder.tell(READY)
        await asyncio.sleep(1)
        api.events.clear()
        recorder.tell(READY)

    api, _ = told(story)
    (event,) = api.events.values()
    assert event["eventTime"] == "2026-01-01T00:00:01.000000Z"


@pytest.mark.parametrize("name", ["s" * 253, "s" * 235 + "." + "s" * 17, "s" * 234 + ".-" + "s" * 17, "s"])
def test_its_name_fits_whatever_its_object_is_called(name: str) -> None:
    """At most 253 characters, and a valid name where it was cut."""

    async def story(_: Api, recorder: Recorder) -> None:
        recorder.tell(replace(READY, about=replace(SIMPLE, name=name)))

    (event,) = told(story)[0].events
    assert len(event) <= NAME_LIMIT
    before, _, digest = event.rpartition(".")
    assert name.startswith(before)
    assert before[-1].isalnum()
    assert len(digest) == 16


def test_a_note_is_cut_at_the_bound_in_bytes() -> None:
    """In the middle of no character."""

    async def story(_: Api, recorder: Recorder) -> None:
        recorder.tell(replace(READY, note="é" * NOTE_LIMIT + "x"))
        recorder.tell(replace(READY, note="x" + "é" * NOTE_LIMIT))

    first, second = (event["note"] for event in told(story)[0].events.values())
    assert first == "é" * (NOTE_LIMIT // 2)
    assert second == "x" + "é" * (NOTE_LIMIT // 2 - 1)
