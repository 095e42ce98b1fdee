"""What schedulers are asked: one conversation for each cluster that a plan wants to know something of.

A plan never waits for a scheduler. It says what it wants to know, and its key is woken when there is news. A
conversation ends, and its connection with it, when nobody wants to know anything any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, assert_never

from dask_k8s.errors import SchedulerError, SchedulerRefused
from dask_k8s.kinds.value import Manifest, Ref
from dask_k8s.kube.about import about_object
from dask_k8s.operator.actions import Ask, Question
from dask_k8s.operator.answers import Answers
from dask_k8s.operator.caches import Caches
from dask_k8s.operator.engine.background import Background
from dask_k8s.operator.engine.queue import Key
from dask_k8s.operator.members import order_of
from dask_k8s.operator.reach import Reaches, pause
from dask_k8s.scheduler.rpc import SchedulerRpc
from dask_k8s.scheduler.wire import reason
from dask_k8s.settings import Timing

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Talk:
    """What is wanted of one cluster's scheduler, and what it said."""

    cluster: Ref
    asks: dict[Key, frozenset[Question]] = field(default_factory=dict)
    answers: Answers = field(default_factory=Answers)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    asking: asyncio.Task[None] | None = None
    failures: int = 0

    def questions(self) -> list[Question]:
        """What all those want to know who ask."""
        return [question for asks in self.asks.values() for question in asks]

    def askers(self, ask: Ask) -> list[Key]:
        """Who wants to know this."""
        return [key for key, asks in self.asks.items() if any(question.ask is ask for question in asks)]

    def cancel(self) -> None:
        """The cluster is gone."""
        if self.asking is not None:
            self.asking.cancel()


class Schedulers:
    """All conversations of one operator, over one connection for each scheduler.

    Drains have connections of their own: what goes wrong with a question ends no drain, and what goes wrong with a
    drain makes nobody silent.

    Parameters
    ----------
    wake
        Called with the key for which there is news.
    """

    def __init__(self, caches: Caches, reach: Reaches, wake: Callable[[Key], None], timing: Timing) -> None:
        self._timing = timing
        self._reach = reach
        self._wake = wake
        self._caches = caches
        self._talks: dict[str, _Talk] = {}
        self._background = Background()
        caches.clusters.on(self._on_cluster)

    async def run(self) -> None:
        """Hold conversations until it is cancelled; what was asked is forgotten then."""
        try:
            await self._background.hold()
        finally:
            self._talks.clear()

    def ask(self, key: Key, cluster: Ref | None, asks: frozenset[Question]) -> None:
        """What a plan wants to know from now on; nothing ends it, and so does a cluster that is not ours to ask."""
        if cluster is None or cluster.uid is None:
            self.forget(key)
            return
        if not asks and cluster.uid not in self._talks:
            return
        talk = self._talk(cluster)
        before = talk.asks.pop(key, frozenset())
        if asks:
            talk.asks[key] = asks
        talk.answers.asked(talk.questions())
        if asks != before:
            talk.changed.set()
        if asks:
            self._start(talk)

    def forget(self, key: Key) -> None:
        """The key's object is gone: nobody asks for it any more."""
        for talk in self._talks.values():
            if talk.asks.pop(key, None):
                talk.answers.asked(talk.questions())
                talk.changed.set()

    def answers(self, cluster: Ref) -> Answers:
        """What a cluster's scheduler said."""
        talk = self._talks.get(cluster.uid or "")
        return Answers() if talk is None else talk.answers

    def _talk(self, cluster: Ref) -> _Talk:
        return self._talks.setdefault(cluster.uid or "", _Talk(cluster=cluster))

    def _start(self, talk: _Talk) -> None:
        if self._background.held and (talk.asking is None or talk.asking.done()):
            talk.asking = self._background.begin(self._converse(talk))

    async def _converse(self, talk: _Talk) -> None:
        """Until nobody asks anything; a scheduler that cannot be reached is told to those who asked."""
        while talk.asks:
            try:
                async with aclosing(await self._reach.connect(talk.cluster)) as connection:
                    await self._serve(talk, SchedulerRpc(connection))
            except SchedulerError as error:
                self._silent(talk, reason(error))
                await asyncio.sleep(pause(talk.failures, self._timing.silence))
                talk.failures += 1

    async def _serve(self, talk: _Talk, rpc: SchedulerRpc) -> None:
        while talk.asks:
            talk.changed.clear()
            for ask in talk.answers.due(talk.questions()):
                await self._poll(talk, rpc, ask)
            await _either(talk.changed.wait(), talk.answers.pause(talk.questions()))

    async def _poll(self, talk: _Talk, rpc: SchedulerRpc, ask: Ask) -> None:
        """One question; those who asked are woken where the answer is news to them."""
        try:
            reply = await self._reply(talk.cluster, rpc, ask)
        except SchedulerRefused as error:
            news = talk.answers.refused(ask, reason(error))
        else:
            talk.failures = 0
            # Whoever asked may have gone while the answer was on its way: it would look like a present one later.
            news = bool(talk.askers(ask)) and talk.answers.answered(ask, reply)
        if news:
            for key in talk.askers(ask):
                self._wake(key)

    async def _reply(self, cluster: Ref, rpc: SchedulerRpc, ask: Ask) -> Any:
        match ask:
            case Ask.ORDER:
                return await order_of(rpc, self._caches.pods_of(cluster))
            case Ask.TARGET:
                return await rpc.adaptive_target()
            case Ask.IDLE:
                return await rpc.idle_since()
            case _:
                assert_never(ask)

    def _silent(self, talk: _Talk, why: str) -> None:
        if talk.failures == 0:
            of = talk.cluster
            extra = about_object(of)
            logger.info("The scheduler of %s/%s is silent: %s", of.namespace, of.name, why, extra=extra)
        if talk.answers.silent(why):
            for key in tuple(talk.asks):
                self._wake(key)

    def _on_cluster(self, old: Manifest | None, new: Manifest | None) -> None:
        if new is None and old is not None:
            talk = self._talks.pop(old["metadata"]["uid"], None)
            if talk is not None:
                talk.cancel()


async def _either(waiting: Awaitable[object], seconds: float) -> None:
    """Until something happens or so many seconds are over."""
    try:
        async with asyncio.timeout(seconds):
            await waiting
    except TimeoutError:
        return
