"""What schedulers are asked and told: one conversation for each cluster that a plan wants to know something of.

A plan never waits for a scheduler. It says what it wants to know, or begins a drain, and its key is woken when there
is news. A conversation ends, and its connection with it, when nobody wants anything any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol

from dask_k8s.errors import SchedulerError, SchedulerRefused
from dask_k8s.kinds.value import Manifest, Ref
from dask_k8s.operator.actions import Ask, Question, Retire
from dask_k8s.operator.answers import Answers
from dask_k8s.operator.caches import Caches
from dask_k8s.operator.engine.queue import Key
from dask_k8s.operator.observed import Drain
from dask_k8s.scheduler.connection import Connection
from dask_k8s.scheduler.drain import drain
from dask_k8s.scheduler.rpc import SchedulerRpc
from dask_k8s.scheduler.verified import host_of
from dask_k8s.settings import Timing

logger = logging.getLogger(__name__)

FIRST_PAUSE = 0.5
LOOK = 1.0
"""Seconds at most between two looks at what is wanted of a scheduler."""


class Reaches(Protocol):
    """Opens connections to schedulers."""

    async def connect(self, cluster: Ref) -> Connection:
        """A connection to a cluster's scheduler."""


@dataclass(slots=True)
class _Drain:
    """The drain of one worker's Pod."""

    pod: Ref
    key: Key
    timeout: int
    state: Drain = Drain.UNDER_WAY
    why: str = ""


@dataclass(slots=True)
class _Talk:
    """What is wanted of one cluster's scheduler, and what it said."""

    cluster: Ref
    asks: dict[Key, frozenset[Question]] = field(default_factory=dict)
    drains: dict[str, _Drain] = field(default_factory=dict)
    answers: Answers = field(default_factory=Answers)
    wanted: asyncio.Event = field(default_factory=asyncio.Event)
    asking: asyncio.Task[None] | None = None
    draining: set[asyncio.Task[None]] = field(default_factory=set)
    failures: int = 0

    def questions(self) -> list[Question]:
        """What all those want to know who ask."""
        return [question for asks in self.asks.values() for question in asks]

    def askers(self, ask: Ask) -> list[Key]:
        """Who wants to know this."""
        return [key for key, asks in self.asks.items() if any(question.ask is ask for question in asks)]

    def cancel(self) -> None:
        """The cluster is gone."""
        for task in (*self.draining, *([self.asking] if self.asking else [])):
            task.cancel()


class Schedulers:
    """All conversations of one operator.

    Questions go over one connection for each scheduler, and each drain has a task and a connection of its own: what
    goes wrong with a question ends no drain, and what goes wrong with a drain makes nobody silent.

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
        self._group: asyncio.TaskGroup | None = None
        caches.pods.on(self._on_pod)
        caches.clusters.on(self._on_cluster)

    async def run(self) -> None:
        """Hold conversations until it is cancelled; what was asked and begun is forgotten then."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                await asyncio.Event().wait()
            finally:
                self._group = None
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
        if asks and (asks != before or talk.asking is None or talk.asking.done()):
            self._start(talk)

    def forget(self, key: Key) -> None:
        """The key's object is gone: nobody asks for it any more."""
        for talk in self._talks.values():
            if talk.asks.pop(key, None):
                talk.answers.asked(talk.questions())

    def begin(self, key: Key, retire: Retire) -> None:
        """Begin to drain workers; none of them twice at a time."""
        talk = self._talk(retire.cluster)
        batch = [
            _Drain(pod=pod, key=key, timeout=retire.timeout)
            for pod in retire.workers
            if pod.uid is not None and pod.uid not in talk.drains
        ]
        if batch and self._group is not None:
            talk.drains.update({each.pod.uid or "": each for each in batch})
            task = self._group.create_task(self._drained(talk, batch))
            talk.draining.add(task)
            task.add_done_callback(talk.draining.discard)

    def answers(self, cluster: Ref) -> Answers:
        """What a cluster's scheduler said."""
        talk = self._talks.get(cluster.uid or "")
        return Answers() if talk is None else talk.answers

    def drain(self, pod: Ref) -> tuple[Drain, str] | None:
        """What became of a worker's drain, and why."""
        for talk in self._talks.values():
            if found := talk.drains.get(pod.uid or ""):
                return found.state, found.why
        return None

    def _talk(self, cluster: Ref) -> _Talk:
        return self._talks.setdefault(cluster.uid or "", _Talk(cluster=cluster))

    def _start(self, talk: _Talk) -> None:
        talk.wanted.set()
        if self._group is not None and (talk.asking is None or talk.asking.done()):
            talk.asking = self._group.create_task(self._converse(talk))

    async def _converse(self, talk: _Talk) -> None:
        """Until nobody asks anything; a scheduler that cannot be reached is told to those who asked."""
        while talk.asks:
            try:
                async with aclosing(await self._reach.connect(talk.cluster)) as connection:
                    await self._serve(talk, SchedulerRpc(connection))
            except SchedulerError as error:
                self._silent(talk, _said(error))
                await asyncio.sleep(self._pause(talk.failures))
                talk.failures += 1

    async def _serve(self, talk: _Talk, rpc: SchedulerRpc) -> None:
        while talk.asks:
            talk.wanted.clear()
            for ask in talk.answers.due(talk.questions()):
                await self._poll(talk, rpc, ask)
            await _either(talk.wanted.wait(), talk.answers.pause(talk.questions(), LOOK))

    def _pause(self, failures: int) -> float:
        """Seconds until the next attempt: longer and longer."""
        doublings: int = 1 << min(failures, 10)
        return min(self._timing.silence, FIRST_PAUSE * doublings)

    async def _poll(self, talk: _Talk, rpc: SchedulerRpc, ask: Ask) -> None:
        """One question; those who asked are woken where the answer is news to them."""
        try:
            reply = await _QUESTIONS[ask](rpc)
        except SchedulerRefused as error:
            news = talk.answers.refused(ask, _said(error))
        else:
            talk.failures = 0
            # Whoever asked may have gone while the answer was on its way: it would look like a present one later.
            news = bool(talk.askers(ask)) and talk.answers.answered(ask, reply)
        if news:
            for key in talk.askers(ask):
                self._wake(key)

    async def _drained(self, talk: _Talk, batch: list[_Drain]) -> None:
        """Drain workers that were chosen together, however often that needs to be begun."""
        failures = 0
        while True:
            try:
                await self._drain(talk, batch)
            except SchedulerError as error:
                level = logging.INFO if failures == 0 else logging.DEBUG
                where = (talk.cluster.namespace, talk.cluster.name)
                logger.log(level, "A drain in %s/%s is begun again: %s", *where, _said(error))
                await asyncio.sleep(self._pause(failures))
                failures += 1
            else:
                return

    async def _drain(self, talk: _Talk, batch: list[_Drain]) -> None:
        """In one call to the scheduler, which then moves data only once; moving gigabytes takes as long as it takes."""
        hosts = {each.pod.uid or "": self._address(each.pod) for each in batch}
        async with aclosing(await self._reach.connect(talk.cluster)) as connection:
            rpc = SchedulerRpc(connection)
            addresses = [address for address in await rpc.leaving_order() if host_of(address) in hosts.values()]
            limits = {"timeout": min(each.timeout for each in batch), "flush": self._timing.flush}
            results = await drain(rpc, addresses, **limits) if addresses else {}
        for each in batch:
            refused = [
                result.refused
                for address, result in results.items()
                if host_of(address) == hosts[each.pod.uid or ""] and result.refused
            ]
            each.state, each.why = (Drain.REFUSED, refused[0]) if refused else (Drain.EMPTY, "")
            if refused:
                asyncio.get_running_loop().call_later(self._timing.refused_drain, self._forget, talk, each)
            self._wake(each.key)

    def _forget(self, talk: _Talk, refused: _Drain) -> None:
        """A refused drain may be tried again."""
        if talk.drains.get(refused.pod.uid or "") is refused:
            del talk.drains[refused.pod.uid or ""]
            self._wake(refused.key)

    def _address(self, pod: Ref) -> str:
        found = self._caches.pods.get(pod.namespace, pod.name)
        return "" if found is None else str(found["status"].get("podIP") or "")

    def _silent(self, talk: _Talk, why: str) -> None:
        if talk.failures == 0:
            logger.info("The scheduler of %s/%s is silent: %s", talk.cluster.namespace, talk.cluster.name, why)
        if talk.answers.silent(why):
            for key in tuple(talk.asks):
                self._wake(key)

    def _on_pod(self, old: Manifest | None, new: Manifest | None) -> None:
        if new is None and old is not None:
            for talk in self._talks.values():
                talk.drains.pop(old["metadata"]["uid"], None)

    def _on_cluster(self, old: Manifest | None, new: Manifest | None) -> None:
        if new is None and old is not None:
            talk = self._talks.pop(old["metadata"]["uid"], None)
            if talk is not None:
                talk.cancel()


async def _order(rpc: SchedulerRpc) -> tuple[str, ...]:
    return tuple(host_of(address) for address in await rpc.leaving_order())


_QUESTIONS: Mapping[Ask, Callable[[SchedulerRpc], Awaitable[Any]]] = {
    Ask.ORDER: _order,
    Ask.TARGET: SchedulerRpc.adaptive_target,
    Ask.IDLE: SchedulerRpc.idle_since,
}


def _said(error: SchedulerError) -> str:
    return str(error) or type(error).__name__


async def _either(waiting: Awaitable[object], seconds: float) -> None:
    """Until something happens or so many seconds are over."""
    try:
        async with asyncio.timeout(seconds):
            await waiting
    except TimeoutError:
        return
