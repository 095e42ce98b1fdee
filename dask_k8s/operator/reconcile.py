"""One pass for one resource: decide, write the status, tell, act."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from dask_k8s import names
from dask_k8s.errors import Missing
from dask_k8s.kinds.value import Ref
from dask_k8s.kube.about import about_object
from dask_k8s.operator.act import Hands
from dask_k8s.operator.actions import Event
from dask_k8s.operator.controllers import Controllers, Decided
from dask_k8s.operator.deeds import Deeds
from dask_k8s.operator.engine.expectations import Expectations
from dask_k8s.operator.engine.queue import Key, Queue
from dask_k8s.operator.engine.recorder import Recorder, Sentence
from dask_k8s.operator.refusals import Refusals
from dask_k8s.operator.schedulers import Schedulers

logger = logging.getLogger(__name__)

SOONEST = 0.05
"""Seconds until a pass that asked to be woken comes at the earliest, whatever its plan believes the time to be."""

ACTION = "Reconcile"
"""What the operator did when it found what an Event tells."""

STATUS_INTERVAL = 1.0
"""Seconds between two statuses of one resource where nothing is to be done."""


class Reconciler:
    """What the loop calls."""

    def __init__(
        self,
        *,
        controllers: Controllers,
        hands: Hands,
        schedulers: Schedulers,
        recorder: Recorder,
        queue: Queue,
        expectations: Expectations,
        refusals: Refusals,
        deeds: Deeds,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._controllers = controllers
        self._hands = hands
        self._schedulers = schedulers
        self._recorder = recorder
        self._queue = queue
        self._expectations = expectations
        self._refusals = refusals
        self._deeds = deeds
        self._clock = clock
        self._written: dict[Key, float] = {}

    async def __call__(self, key: Key) -> None:
        """One pass."""
        now, before = self._clock(), self._refused(key)
        decided = self._controllers.decide(key, now, draw=secrets.token_hex(8))
        if decided is None:
            self._forget(key)
            return
        self._refusals.at_generation(key, decided.ref.uid, decided.generation)
        self._schedulers.ask(key, decided.cluster, decided.plan.ask)
        told = await self._write_status(key, decided)
        if told is None:
            return
        self._refusals.only(key, decided.plan.actions, now)
        try:
            await self._hands.carry_out(key, decided.plan.actions)
        finally:
            self._log(decided.ref, told, self._deeds.told(key))
        self._wake(key, decided.plan.wake_at)
        if self._refused(key) != before:
            self._queue.add(key)  # the plan saw something else, and what is refused belongs into a condition

    def _wake(self, key: Key, planned: datetime | None) -> None:
        """When the plan asked for it, and when what was refused since the plan was made may be tried again."""
        now = self._clock()
        retries = (each.retry_at for each in self._refusals.of(key) if each.waits(now))
        for moment in (planned, min(retries, default=None)):
            if moment is not None:
                self._queue.add_after(key, max(SOONEST, (moment - now).total_seconds()))

    def _refused(self, key: Key) -> set[tuple[str, str]]:
        return {(refusal.reason, refusal.message) for refusal in self._refusals.of(key)}

    def _log(self, ref: Ref, events: tuple[Event, ...], deeds: str) -> None:
        """One line for a pass that changed something, however much that was."""
        news = [*(f"{event.reason}: {event.message}" for event in events), *([deeds] if deeds else [])]
        if news:
            extra = about_object(ref)
            logger.info("%s %s/%s: %s", ref.kind, ref.namespace, ref.name, " ".join(news), extra=extra)

    async def _write_status(self, key: Key, decided: Decided) -> tuple[Event, ...] | None:
        """Write the status if it differs; the Events that were told by it, or None where the resource is gone."""
        status = decided.plan.status
        if status is None or status == decided.status:
            return ()
        waited = time.monotonic() - self._written.get(key, float("-inf"))
        may_wait = not decided.plan.actions and not decided.plan.urgent
        if may_wait and waited < STATUS_INTERVAL:
            self._queue.add_after(key, STATUS_INTERVAL - waited)
            return ()
        try:
            await self._hands.write_status(decided.resource, decided.ref, decided.status, status)
        except Missing:
            return None
        self._written[key] = time.monotonic()
        for event in decided.plan.events:
            self._recorder.tell(_sentence(decided.ref, event))
        return decided.plan.events

    def _forget(self, key: Key) -> None:
        self._expectations.forget(key)
        self._refusals.forget(key)
        self._schedulers.forget(key)
        self._written.pop(key, None)


def _sentence(ref: Ref, event: Event) -> Sentence:
    """Without the version that was read: with it, no sentence would be the same as one before."""
    return Sentence(
        about=replace(ref, version=None),
        api_version=names.API_VERSION,
        action=ACTION,
        reason=event.reason,
        note=event.message,
        warning=event.warning,
    )
