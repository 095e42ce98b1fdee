"""How workers leave without loss: their data moves, what runs there finishes, what waited there runs elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

from dask_k8s.errors import SchedulerError
from dask_k8s.kinds.value import value
from dask_k8s.scheduler.facts import Key
from dask_k8s.scheduler.retirement import LEAVING, Moving, Retirement, interval
from dask_k8s.scheduler.rpc import SchedulerRpc

POLL = 0.25
SLOWEST_POLL = 2.0
"""Seconds between two looks at what is assigned to workers that leave, at first and later: each names all tasks."""

COSTLY = 4
"""So many times as long as such a look took is waited until the next: each decodes what is assigned."""

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
        self.stranded: frozenset[Key] = frozenset()

    async def drain(self, leaving: Leaving, timeout: float) -> AsyncGenerator[Mapping[str, Outcome], None]:
        """What became of those that leave, as it becomes known: those without work go before those with some.

        Nor does one who is empty and without work wait for another whose data takes long to move, or cannot be moved at
        all. Tasks that still run at the end of the time-out are run again elsewhere, without suspicion.

        Parameters
        ----------
        timeout
            Seconds that tasks have to finish, from now on. Data moves for as long as there is any.

        Raises
        ------
        SchedulerSilent, SchedulerRefused
            Where the scheduler does not answer, or with an error. What has moved by then stays moved.
        """
        addresses = _addresses(leaving.values())
        if not addresses:
            yield _told(leaving, {})
            return
        until = asyncio.get_running_loop().time() + timeout
        async with self._own() as rpc, self._retirement(rpc, addresses, remove=False) as moving:
            while not await moving.over():
                if early := await self._early(leaving, moving.emptied, until):
                    leaving = {name: workers for name, workers in leaving.items() if name not in early}
                    yield early
                if not leaving:
                    return
            retired = moving.retired()
        refused = await _refused(self._rpc, _addresses(leaving.values()), retired)
        staying = {name: workers for name, workers in leaving.items() if workers & refused.keys()}
        if staying:
            yield _told(staying, refused)
        rest = {name: workers for name, workers in leaving.items() if name not in staying}
        finishing = _Finishing(self._rpc, rest, until)
        while finishing.rest:
            if quiet := await finishing.quiet():
                yield await self._removed(quiet)
            elif finishing.rest:
                await asyncio.sleep(finishing.pause)

    def _retirement(self, rpc: SchedulerRpc, workers: frozenset[str], *, remove: bool) -> Retirement:
        return Retirement(rpc, self._rpc, workers, remove=remove, told=self._told)

    async def _early(self, leaving: Leaving, emptied: frozenset[str], until: float) -> Mapping[str, Outcome]:
        """Those who are empty, and have no task or no time left, go while others' data moves; or cannot be moved.

        That move goes on whatever comes of this: what is not answered is asked again after the next look.
        """
        empty = {name: workers for name, workers in leaving.items() if workers <= emptied}
        if not empty:
            return {}
        try:
            if not await self._rpc.retires_side_by_side():
                return {}
            if asyncio.get_running_loop().time() < until:
                assigned = await self._rpc.processing(_addresses(empty.values()))
                empty = {name: workers for name, workers in empty.items() if not any(map(assigned.get, workers))}
            if not empty:
                return {}
            addresses = _addresses(empty.values())
            waiting = await self._assigned(addresses)
            async with self._beside() as rpc:
                retired = await rpc.retire(addresses, remove=True)
            refused = await _refused(self._rpc, addresses, retired)
            await self._strand(waiting)
        except SchedulerError:
            return {}
        return _told(empty, refused)

    async def _removed(self, leaving: Leaving) -> Mapping[str, Outcome]:
        """Results that came after the first reply lie on the worker that they were computed on: they move now."""
        addresses = _addresses(leaving.values())
        waiting = await self._assigned(addresses)
        async with self._own() as rpc, self._retirement(rpc, addresses, remove=True) as removal:
            while not await removal.over():
                pass
            retired = removal.retired()
        refused = await _refused(self._rpc, addresses, retired)
        await self._strand(waiting)
        return _told(leaving, refused)

    async def _strand(self, waiting: frozenset[Key]) -> None:
        self.stranded |= await self._rpc.stranded(waiting) if waiting else frozenset()

    async def _assigned(self, workers: frozenset[str]) -> frozenset[Key]:
        """What may be stranded without them; nobody stays for that it cannot be told, or takes too long to tell."""
        try:
            return await self._rpc.assigned(workers)
        except SchedulerError:
            return frozenset()


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
        """Seconds until it makes sense to look again."""
        left = self._until - asyncio.get_running_loop().time()
        return max(0.0, min(max(self._poll, COSTLY * self._took), left))

    async def quiet(self) -> Leaving:
        """Those on whose workers nothing runs, or all once the time is over: they are waited for no more."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        found = self.rest if began >= self._until else await self._idle()
        self._took = loop.time() - began
        if found:
            self.rest = {name: workers for name, workers in self.rest.items() if name not in found}
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
