"""How workers leave without loss: their data moves, what runs there finishes, what waited there runs elsewhere."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

from dask_k8s.errors import LeadershipLost, SchedulerError
from dask_k8s.kinds.value import value
from dask_k8s.scheduler.facts import LEAVING, Key
from dask_k8s.scheduler.retirement import FIRST_LOOK, Moving, Retirement, interval
from dask_k8s.scheduler.rpc import SchedulerRpc

POLL = 0.25
SLOWEST_POLL = 2.0
"""Seconds between two looks at what is assigned to workers that leave, at first and later: each names all tasks."""

COSTLY = 4
"""So many times as long as such a look took is waited until the next: each decodes what is assigned."""

ONCE_MORE = 60.0
"""Seconds until it is asked once more that somebody is removed beside a move; then twice as many, and so on."""

RETURN = 2.0
"""Seconds that a refused worker has to be in service again: the scheduler tells it, and it tells the scheduler."""

NOWHERE = "No other worker is running that could take its data."
UNMOVABLE = "Its data cannot be moved: it holds an actor, or those that could have taken its data have left."

Leaving: TypeAlias = Mapping[str, frozenset[str]]
"""Who leaves, by any name, and the addresses of its workers: several workers may live in one Pod."""


@value
class Outcome:
    """What became of one of those that leave.

    Parameters
    ----------
    refused
        Why its data could not be moved. None where it is empty, or gone by itself: then its Pod can be deleted.
    stuck
        Whether a refused one was left out of service by its scheduler, which happens where two retirements of one
        worker overlap.
    """

    refused: str | None = None
    stuck: bool = False


class Drainage:
    """Empties workers, and makes their scheduler forget them; whoever calls then deletes their Pods at once.

    A process that is forgotten ends within a heartbeat or two, and the kubelet would start it again. It can be
    cancelled at any point: a later one begins anew. Never run two at a time for one worker.

    Parameters
    ----------
    rpc
        For questions that are answered at once; others may use its connection, too.
    own
        Gives a connection that nobody else uses: moving gigabytes is one call, which takes as long as it takes.
    beside
        Another one, for a moment: for those who are empty while such a call goes on for others.
    told
        Called with how far such a call has come.

    Attributes
    ----------
    stranded
        Tasks that were assigned to those that left and have nowhere to run any more, since they may run there alone.
    """

    def __init__(
        self,
        rpc: SchedulerRpc,
        own: Callable[[], AbstractAsyncContextManager[SchedulerRpc]],
        beside: Callable[[], AbstractAsyncContextManager[SchedulerRpc]],
        told: Callable[[Moving], None],
    ) -> None:
        self._rpc = rpc
        self._own = own
        self._beside = beside
        self._told = told
        self._waiting: frozenset[Key] = frozenset()
        self._again: dict[str, float] = {}
        self._pauses: dict[str, float] = {}
        self.stranded: frozenset[Key] = frozenset()

    async def drain(self, leaving: Leaving, timeout: float) -> AsyncGenerator[Mapping[str, Outcome], None]:
        """What became of those that leave, as it becomes known: those without work go before those with some.

        Nor does one who is empty and without work wait for another whose data takes long to move, or cannot be moved at
        all. Tasks that still run at the end of the time-out are run again elsewhere, without suspicion.

        Parameters
        ----------
        timeout
            Seconds that tasks have to finish, from when the scheduler is asked. Data moves for as long as there is any.

        Raises
        ------
        SchedulerSilent, SchedulerRefused
            Where the scheduler does not answer, or with an error. What has moved by then stays moved.
        """
        addresses = _addresses(leaving.values())
        if not addresses:
            yield _told(leaving, {})
            return
        async with self._own() as rpc, self._retirement(rpc, addresses, remove=False) as moving:
            until = asyncio.get_running_loop().time() + timeout
            while not await moving.over():
                if early := await self._early(leaving, moving, until):
                    leaving = _without(leaving, early)
                    yield early
                if not leaving:
                    return
            retired = moving.retired()
        refused = await _refused(self._rpc, _addresses(leaving.values()), retired)
        staying = {name: workers for name, workers in leaving.items() if workers & refused.keys()}
        if staying:
            yield _told(staying, refused)
        finishing = _Finishing(self._rpc, _without(leaving, staying), until)
        removals, found = set[asyncio.Future[None]](), list[Mapping[str, Outcome]]()
        try:
            while finishing.rest or removals:
                if finishing.rest and (quiet := await finishing.quiet()):
                    removals.add(asyncio.ensure_future(self._remove(quiet, found.append)))
                done = await _first(removals, finishing.pause)
                while found:
                    yield found.pop(0)
                for each in done:
                    each.result()
                removals -= done
        finally:
            for each in removals:
                each.cancel()
            await asyncio.gather(*removals, return_exceptions=True)

    def _retirement(self, rpc: SchedulerRpc, workers: frozenset[str], *, remove: bool) -> Retirement:
        return Retirement(rpc, self._rpc, workers, remove=remove, told=self._told)

    async def _early(self, leaving: Leaving, moving: Retirement, until: float) -> Mapping[str, Outcome]:
        """Those who are empty, and have no task or no time left, go while others' data moves; or cannot be moved.

        It is told of those as well that stay, so that others can be chosen in their place.

        That move goes on whatever comes of this. What is not answered is asked again: after the next look, but that
        somebody is removed later and later, since it may go on in the scheduler for a result that came late.
        """
        now = asyncio.get_running_loop().time()
        gone, kept = _among(leaving, moving.gone), _among(leaving, moving.kept)
        empty = _without(_among(leaving, moving.emptied), {*gone, *kept})
        empty = _without(empty, [name for name in empty if self._again.get(name, now) > now])
        early = {**_told(gone, {})}
        try:
            if kept:
                early |= _told(kept, await _refused(self._rpc, _addresses(kept.values()), ()))
            if empty and await self._rpc.retires_side_by_side():
                if now < until:
                    assigned = await self._rpc.processing(_addresses(empty.values()))
                    empty = {name: workers for name, workers in empty.items() if not any(map(assigned.get, workers))}
                early |= await self._asked_to_go(empty)
        except (SchedulerError, LeadershipLost):
            pass
        return early

    async def _asked_to_go(self, leaving: Leaving) -> Mapping[str, Outcome]:
        if not leaving:
            return {}
        addresses = _addresses(leaving.values())
        self._waiting |= await self._assigned(addresses)
        for name in leaving:
            self._pauses[name] = 2 * self._pauses.get(name, ONCE_MORE / 2)
            self._again[name] = asyncio.get_running_loop().time() + self._pauses[name]
        async with self._beside() as rpc:
            retired = await rpc.retire(addresses, remove=True)
        refused = await _refused(self._rpc, addresses, retired)
        await self._strand()
        return _told(leaving, refused)

    async def _remove(self, leaving: Leaving, found: Callable[[Mapping[str, Outcome]], None]) -> None:
        """Results that came after the first reply lie on the worker that they were computed on: they move now.

        Dask removes each as soon as it is empty, and answers when all are.
        """
        addresses = _addresses(leaving.values())
        self._waiting |= await self._assigned(addresses)
        async with self._own() as rpc, self._retirement(rpc, addresses, remove=True) as removal:
            while leaving and not await removal.over():
                if gone := _among(leaving, removal.gone):
                    leaving = _without(leaving, gone)
                    found(_told(gone, {}))
            retired = removal.retired() if leaving else frozenset()
        refused = await _refused(self._rpc, _addresses(leaving.values()), retired)
        await self._strand()
        if leaving:
            found(_told(leaving, refused))

    async def _strand(self) -> None:
        """What was assigned to those that have left, and may run nowhere now."""
        if self._waiting:
            self.stranded |= await self._rpc.stranded(self._waiting)
            self._waiting = frozenset()

    async def _assigned(self, workers: frozenset[str]) -> frozenset[Key]:
        """What may be stranded without them; nobody stays for that it cannot be told, or takes too long to tell."""
        try:
            return await self._rpc.assigned(workers)
        except SchedulerError:
            return frozenset()


async def _first(tasks: Collection[asyncio.Future[None]], seconds: float) -> frozenset[asyncio.Future[None]]:
    """Those that are over, once one is, or it makes sense to look at what else has come of them, or at others."""
    if not tasks:
        await asyncio.sleep(seconds)
        return frozenset()
    done, _ = await asyncio.wait(tasks, timeout=min(seconds, FIRST_LOOK), return_when=asyncio.FIRST_COMPLETED)
    return frozenset(done)


def _among(leaving: Leaving, workers: frozenset[str]) -> Leaving:
    """Those all of whose workers are among these."""
    return {name: own for name, own in leaving.items() if own <= workers}


def _without(leaving: Leaving, names: Collection[str]) -> Leaving:
    """The others."""
    return {name: workers for name, workers in leaving.items() if name not in names}


def _addresses(groups: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset[str]().union(*groups)


def _told(leaving: Leaving, refused: Mapping[str, Outcome]) -> Mapping[str, Outcome]:
    """By who leaves, from what became of single workers: one of them that was refused holds the others back."""
    found = {}
    for name, workers in leaving.items():
        told = [refused[worker] for worker in workers if worker in refused]
        # Where one of several is left, the others are out of service: retired, and not removed.
        stuck = any(each.stuck for each in told) or 0 < len(told) < len(workers)
        found[name] = Outcome(refused=told[0].refused if told else None, stuck=stuck)
    return found


async def _refused(rpc: SchedulerRpc, asked: Collection[str], done: Collection[str]) -> Mapping[str, Outcome]:
    """Why the rest was not done; a worker that is gone has nothing that could be kept."""
    rest = frozenset(asked).difference(done)
    if not rest:
        return {}
    there = frozenset(await rpc.nthreads(rest))
    running = await rpc.running()
    why = UNMOVABLE if running.difference(asked) else NOWHERE
    stuck = await _stuck(rpc, there.difference(running)) if there.difference(running) else frozenset()
    return {worker: Outcome(refused=why, stuck=worker in stuck) for worker in there}


async def _stuck(rpc: SchedulerRpc, workers: frozenset[str]) -> frozenset[str]:
    """Those that do not come back into service, though nobody retires them any more; paused ones are no such."""
    loop = asyncio.get_running_loop()
    until = loop.time() + RETURN
    while workers and loop.time() < until:
        await asyncio.sleep(POLL)
        workers -= await rpc.running()
    if not workers:
        return workers
    told = (await rpc.identity()).workers
    return frozenset(worker for worker in workers if worker in told and told[worker].status == LEAVING)


class _Finishing:
    """Those whose data has moved: what runs there is waited for, until a moment of the loop's clock.

    Attributes
    ----------
    rest
        Those for whom it is waited still.
    """

    def __init__(self, rpc: SchedulerRpc, leaving: Leaving, until: float) -> None:
        self._rpc = rpc
        self._until = until
        self._heartbeats = _Heartbeats(asyncio.get_running_loop().time())
        self._poll = POLL
        self._took = 0.0
        self.rest = leaving

    @property
    def pause(self) -> float:
        """Seconds until it makes sense to look again; never, where nobody is waited for."""
        if not self.rest:
            return math.inf
        left = self._until - asyncio.get_running_loop().time()
        return max(0.0, min(max(self._poll, COSTLY * self._took), left))

    async def quiet(self) -> Leaving:
        """Those on whose workers nothing runs, or all once the time is over: they are waited for no more."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        found = self.rest if began >= self._until else await self._idle()
        self._took = loop.time() - began
        if found:
            self.rest = _without(self.rest, found)
        else:
            self._poll = min(SLOWEST_POLL, self._poll * 1.2)
        return found

    async def _idle(self) -> Leaving:
        assigned = await self._rpc.processing(_addresses(self.rest.values()))
        busy = frozenset(worker for worker, tasks in assigned.items() if tasks)
        busy -= await self._heartbeats.idle(self._rpc, busy)
        return {name: workers for name, workers in self.rest.items() if not workers & busy}


class _Heartbeats:
    """Tells workers where tasks run from those where tasks only wait, and would for ever.

    What is assigned to a worker is known live, but whether it has begun stands in heartbeats alone. A worker that
    retires begins nothing more once it knows. Its first new heartbeat may have been written before that, the second
    one was not: so two are waited for.
    """

    def __init__(self, now: float) -> None:
        self._due = now
        self._seen: dict[str, set[float]] = {}

    async def idle(self, rpc: SchedulerRpc, workers: Collection[str]) -> frozenset[str]:
        """Those of these workers on which nothing runs."""
        now = asyncio.get_running_loop().time()
        if not workers or now < self._due:
            return frozenset()
        told = (await rpc.identity()).workers
        self._due = now + interval(len(told))
        there = [told[worker] for worker in workers if worker in told]
        for facts in there:
            self._seen.setdefault(facts.address, set()).add(facts.last_seen)
        idle = (facts.address for facts in there if facts.executing == 0 and len(self._seen[facts.address]) > 2)
        return frozenset(workers).difference(told).union(idle)
