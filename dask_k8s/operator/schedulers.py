"""What schedulers are asked and told: one conversation for each cluster that a plan wants to know something of.

A plan never waits for a scheduler. It says what it wants to know, or begins a drain, and its key is woken when there
is news. A conversation ends, and its connection with it, when nobody wants anything any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol, assert_never

from dask_k8s.errors import SchedulerError
from dask_k8s.kinds.value import Manifest, Ref
from dask_k8s.operator.actions import Ask, Question, Retire
from dask_k8s.operator.answers import Answers
from dask_k8s.operator.caches import Caches
from dask_k8s.operator.engine.queue import Key
from dask_k8s.operator.observed import Drain, Silent
from dask_k8s.scheduler.connection import Connection
from dask_k8s.scheduler.drain import drain
from dask_k8s.scheduler.rpc import SchedulerRpc
from dask_k8s.scheduler.verified import host_of
from dask_k8s.settings import Timing

logger = logging.getLogger(__name__)

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
    running: bool = False


@dataclass(slots=True)
class _Talk:
    """What is wanted of one cluster's scheduler, and what it said."""

    cluster: Ref
    asks: dict[Key, frozenset[Question]] = field(default_factory=dict)
    drains: dict[str, _Drain] = field(default_factory=dict)
    answers: Answers = field(default_factory=Answers)
    wanted: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    def pending(self) -> list[_Drain]:
        """Drains that have not begun."""
        return [each for each in self.drains.values() if each.state is Drain.UNDER_WAY and not each.running]

    def questions(self) -> list[Question]:
        """What all those want to know who ask."""
        return [question for asks in self.asks.values() for question in asks]

    def busy(self) -> bool:
        """Whether anybody wants anything."""
        return bool(self.asks) or any(each.state is Drain.UNDER_WAY for each in self.drains.values())


class Schedulers:
    """All conversations of one operator.

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
        """What a plan wants to know from now on; nothing ends it."""
        if cluster is None or cluster.uid is None or (not asks and cluster.uid not in self._talks):
            return
        talk = self._talk(cluster)
        before = talk.asks.pop(key, frozenset())
        if asks:
            talk.asks[key] = asks
        talk.answers.asked(talk.questions())
        if asks and (asks != before or talk.task is None or talk.task.done()):
            self._start(talk)

    def forget(self, key: Key) -> None:
        """The key's object is gone: nobody asks for it any more."""
        for talk in self._talks.values():
            if talk.asks.pop(key, None):
                talk.answers.asked(talk.questions())

    def begin(self, key: Key, retire: Retire) -> None:
        """Begin to drain workers; none of them twice at a time."""
        talk = self._talk(retire.cluster)
        for pod in retire.workers:
            if pod.uid is not None and pod.uid not in talk.drains:
                talk.drains[pod.uid] = _Drain(pod=pod, key=key, timeout=retire.timeout)
        self._start(talk)

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
        if self._group is not None and (talk.task is None or talk.task.done()):
            talk.task = self._group.create_task(self._converse(talk))

    async def _converse(self, talk: _Talk) -> None:
        """Until nobody wants anything; a scheduler that cannot be reached is told to those who asked."""
        silence = 0.5
        while talk.busy():
            try:
                async with aclosing(await self._reach.connect(talk.cluster)) as connection:
                    silence = 0.5
                    await self._serve(talk, SchedulerRpc(connection))
            except SchedulerError as error:
                self._silent(talk, str(error) or type(error).__name__)
                await asyncio.sleep(silence)
                silence = min(self._timing.silence, silence * 2)

    async def _serve(self, talk: _Talk, rpc: SchedulerRpc) -> None:
        """Questions over one connection, drains each over its own; the first that fails ends them all."""
        try:
            async with asyncio.TaskGroup() as group:
                while talk.busy():
                    talk.wanted.clear()
                    for ask in talk.answers.due(talk.questions()):
                        await self._poll(talk, rpc, ask)
                    for pending in _batches(talk.pending()):
                        group.create_task(self._drain(talk, pending))
                    await _either(talk.wanted.wait(), talk.answers.pause(talk.questions(), LOOK))
        except* SchedulerError as errors:
            for each in talk.drains.values():
                each.running = False
            raise _first(errors) from errors

    async def _poll(self, talk: _Talk, rpc: SchedulerRpc, ask: Ask) -> None:
        """One question; those who asked are woken where the answer is news to them."""
        match ask:
            case Ask.ORDER:
                order = await rpc.leaving_order()
                talk.answers.ordered(tuple(host_of(address) for address in order))
                news = True  # a plan acts on a fresh order alone
            case Ask.TARGET:
                news = talk.answers.targeted(await rpc.adaptive_target())
            case Ask.IDLE:
                news = talk.answers.rested(await rpc.idle_since())
            case _:
                assert_never(ask)
        if news:
            self._tell(talk, ask)

    async def _drain(self, talk: _Talk, batch: list[_Drain]) -> None:
        """Drain workers that were chosen together, in one call to the scheduler, which then moves data only once.

        A call of moving gigabytes takes as long as it takes: questions must not wait for it.
        """
        for each in batch:
            each.running = True
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
            each.running = False
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
        if not isinstance(talk.answers.order, Silent):
            logger.info("The scheduler of %s/%s is silent: %s", talk.cluster.namespace, talk.cluster.name, why)
        talk.answers.silent(why)
        for key in {*talk.asks, *(each.key for each in talk.drains.values())}:
            self._wake(key)

    def _tell(self, talk: _Talk, ask: Ask) -> None:
        for key, questions in tuple(talk.asks.items()):
            if any(question.ask is ask for question in questions):
                self._wake(key)

    def _on_pod(self, old: Manifest | None, new: Manifest | None) -> None:
        if new is None and old is not None:
            for talk in self._talks.values():
                talk.drains.pop(old["metadata"]["uid"], None)

    def _on_cluster(self, old: Manifest | None, new: Manifest | None) -> None:
        if new is None and old is not None:
            talk = self._talks.pop(old["metadata"]["uid"], None)
            if talk is not None and talk.task is not None:
                talk.task.cancel()


def _batches(pending: list[_Drain]) -> list[list[_Drain]]:
    """Those of one group go together."""
    by_key: dict[Key, list[_Drain]] = {}
    for each in pending:
        by_key.setdefault(each.key, []).append(each)
    return list(by_key.values())


def _first(errors: BaseExceptionGroup[SchedulerError]) -> SchedulerError:
    inner = errors.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


async def _either(waiting: Awaitable[object], seconds: float) -> None:
    """Until something happens or so many seconds are over."""
    try:
        async with asyncio.timeout(seconds):
            await waiting
    except TimeoutError:
        return
