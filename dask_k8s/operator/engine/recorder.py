"""Events for ``kubectl describe``: aggregated, limited in their rate, and never in the way of a pass.

A sentence that is told again is the same Event with a series: a count, and when it was told last. The first repetition
is written at once, further ones once a minute. A series that nobody goes on with for six minutes is over, as in
client-go: then the same sentence is a new Event. What is told is kept in memory alone; another process begins anew.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from dask_k8s.errors import ApiError, LeadershipLost, Missing, NoCredentials, Unreachable
from dask_k8s.kinds.value import Manifest, Ref, value
from dask_k8s.kube.about import about_object
from dask_k8s.kube.resources import RECORDED_EVENT, Resource

logger = logging.getLogger(__name__)

BURST = 25
"""Events that one object may have at once; after that one in :data:`REFILL` seconds."""

REFILL = 60.0
REFRESH = 60.0
"""Seconds between two writes of a series that goes on."""

SERIES_ENDS = 360.0
"""Seconds without a repetition after which a series is over."""

BACKLOG = 1000
TOLD_AT_MOST = 10_000
NAME_LIMIT = 253
NOTE_LIMIT = 1024
"""Bytes: the API server's bound."""

INSTANCE_LIMIT = 128


class Writer(Protocol):
    """Where Events are written."""

    async def create(self, manifest: Manifest, *, timeout: float | None = None) -> dict[str, Any]:
        """Make an Event."""

    async def patch(
        self, resource: Resource, namespace: str | None, name: str, patch: Manifest, *, timeout: float | None = None
    ) -> dict[str, Any]:
        """Go on with its series."""


@value
class Sentence:
    """Something to tell about an object.

    Parameters
    ----------
    action
        What was done when it was found, in one word.
    warning
        Whether somebody may have to act.
    """

    about: Ref
    api_version: str
    action: str
    reason: str
    note: str
    warning: bool


@dataclass(slots=True)
class _Series:
    """A sentence, how often it was told, and how much of that the API server knows.

    Parameters
    ----------
    heard
        When it was told last, by the monotonic clock.
    written
        The count that was written; 0 before there is an Event.
    """

    sentence: Sentence
    began: datetime
    last: datetime
    heard: float
    count: int = 1
    written: int = 0


class Recorder:
    """Takes sentences at once and writes them when it can.

    Parameters
    ----------
    controller
        Who speaks, with a domain before a slash.
    instance
        Which of its processes.
    limit
        How many seconds a write may take that begins now; it raises where none may begin.
    clock
        Monotonic seconds.
    now
        The time that Events are dated with.

    Attributes
    ----------
    written, failed, dropped
        How many writes went through, how many did not, and how many sentences were one too many for their object or
        for the backlog.
    """

    def __init__(
        self,
        client: Writer,
        *,
        controller: str,
        instance: str,
        limit: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._controller = controller
        self._instance = instance[:INSTANCE_LIMIT]
        self._limit = limit
        self._clock = clock
        self._now = now
        self._waiting: asyncio.Queue[_Series] = asyncio.Queue(maxsize=BACKLOG)
        self._series: dict[Sentence, _Series] = {}
        self._tokens: dict[str, tuple[float, float]] = {}
        self.written = 0
        self.failed = 0
        self.dropped = 0

    def tell(self, sentence: Sentence) -> None:
        """Tell something; dropped where its object has had too much of it, or too much waits."""
        told = self._series.get(sentence)
        if told is not None and self._clock() - told.heard < SERIES_ENDS:
            self._again(told)
        elif self._allowed(sentence.about.uid or sentence.about.name):
            self._begin(sentence)
        else:
            self.dropped += 1

    async def run(self) -> None:
        """Write what is told, until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._write_all())
            group.create_task(self._refresh())

    async def _write_all(self) -> None:
        while True:
            series = await self._waiting.get()
            try:
                await self._write(series)
            except (ApiError, Unreachable, NoCredentials, LeadershipLost) as error:
                self.failed += 1
                self._forget(series)
                of = series.sentence.about
                extra = about_object(of)
                logger.debug(
                    "An Event of %s %s/%s was not written: %s", of.kind, of.namespace, of.name, error, extra=extra
                )

    async def _refresh(self) -> None:
        """Write what has gone on since, and end what has not."""
        while True:
            await asyncio.sleep(REFRESH)
            for series in tuple(self._series.values()):
                if series.count > series.written:
                    self._put(series)
                elif self._clock() - series.heard >= SERIES_ENDS:
                    self._forget(series)

    def _begin(self, sentence: Sentence) -> None:
        now = self._now()
        series = _Series(sentence=sentence, began=now, last=now, heard=self._clock())
        if len(self._series) >= TOLD_AT_MOST:
            self._forget(next(iter(self._series.values())))
        self._series[sentence] = series
        if not self._put(series):
            self._forget(series)

    def _again(self, series: _Series) -> None:
        series.count += 1
        series.last, series.heard = self._now(), self._clock()
        if series.count == 2:
            self._put(series)

    def _put(self, series: _Series) -> bool:
        if self._waiting.full():
            self.dropped += 1
            return False
        self._waiting.put_nowait(series)
        return True

    def _forget(self, series: _Series) -> None:
        if self._series.get(series.sentence) is series:
            del self._series[series.sentence]

    async def _write(self, series: _Series) -> None:
        """A new Event, or its series as it stands now."""
        if series.written == 0:
            await self._client.create(self._manifest(series), timeout=self._limit())
            series.written = 1
        elif series.count > series.written:
            count = series.count
            try:
                await self._client.patch(
                    RECORDED_EVENT,
                    series.sentence.about.namespace,
                    _name(series),
                    _going_on(series),
                    timeout=self._limit(),
                )
            except Missing:  # Events live an hour
                self._forget(series)
                self.tell(series.sentence)
                return
            series.written = count
        else:
            return
        self.written += 1

    def _allowed(self, uid: str) -> bool:
        now = self._clock()
        if len(self._tokens) > TOLD_AT_MOST:
            self._tokens.clear()
        tokens, since = self._tokens.get(uid, (float(BURST), now))
        tokens = min(float(BURST), tokens + (now - since) / REFILL)
        self._tokens[uid] = (max(0.0, tokens - 1), now)
        return tokens >= 1

    def _manifest(self, series: _Series) -> dict[str, Any]:
        sentence, regarding = series.sentence, series.sentence.about
        return {
            "apiVersion": RECORDED_EVENT.api_version,
            "kind": RECORDED_EVENT.kind,
            "metadata": {"name": _name(series), "namespace": regarding.namespace},
            "eventTime": _micro_time(series.began),
            "reportingController": self._controller,
            "reportingInstance": self._instance,
            "action": sentence.action,
            "reason": sentence.reason,
            "regarding": {
                "apiVersion": sentence.api_version,
                "kind": regarding.kind,
                "name": regarding.name,
                "namespace": regarding.namespace,
                "uid": regarding.uid,
            },
            "note": sentence.note.encode()[:NOTE_LIMIT].decode(errors="ignore"),
            "type": "Warning" if sentence.warning else "Normal",
        }


def _name(series: _Series) -> str:
    """As client-go names them, after their object; one that is too long is cut, and unique by what follows."""
    sentence = series.sentence
    digest = hashlib.sha256(f"{sentence}/{_micro_time(series.began)}".encode()).hexdigest()[:16]
    return f"{sentence.about.name[: NAME_LIMIT - len(digest) - 1].rstrip('-.')}.{digest}"


def _going_on(series: _Series) -> dict[str, Any]:
    return {"series": {"count": series.count, "lastObservedTime": _micro_time(series.last)}}


def _micro_time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
