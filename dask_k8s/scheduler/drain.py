"""How workers leave without loss: their data moves, what runs there finishes, what waited there runs elsewhere."""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

from dask_k8s.errors import SchedulerError, SchedulerRefused, SchedulerSilent
from dask_k8s.kinds.value import value
from dask_k8s.scheduler.facts import Key, WorkerFacts
from dask_k8s.scheduler.rpc import SchedulerRpc

POLL = 0.25
SLOWEST_POLL = 2.0
"""Seconds between two looks at what is assigned to workers that leave, at first and later: each names all tasks."""

FIRST_LOOK = 1.0
"""Seconds after which a look is taken at how far the moving has come: most drains are over by then."""

COSTLY = 4
"""So many times as long as such a look took is waited until the next: each decodes what is assigned."""

PATIENCE = 3
"""Looks in a row that show a call to be over, after which its reply counts as lost: it may be on its way."""

DEAF = 30.0
"""Seconds without an answer to such looks after which the call that moves the data counts as lost."""

RETURN = 2.0
"""Seconds that a refused worker has to be in service again: the scheduler tells it, and it tells the scheduler."""

LEAVING = "closing_gracefully"
"""A worker's status from when it is retired on."""

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


@value
class Moving:
    """How far a move has come that takes long.

    Parameters
    ----------
    left
        Bytes that still lie on each worker, as of its last heartbeat; those are left out that never said.
    silent
        Why nobody knows; empty where the scheduler answers.
    begun
        Whether Dask has begun with it, which waits until no ``rebalance`` and no ``replicate`` of a user is under way.
    further
        Whether less is left of all that leave together than at the look before. Each for itself says nothing: who takes
        data takes it from a few at a time, and those first that have most.
    """

    left: Mapping[str, int]
    silent: str = ""
    begun: bool = False
    further: bool = False


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
        told: Callable[[Moving], None],
    ) -> None:
        self._rpc = rpc
        self._own = own
        self._told = told
        self.stranded: frozenset[Key] = frozenset()

    async def drain(self, leaving: Leaving, timeout: float) -> AsyncGenerator[Mapping[str, Outcome], None]:
        """What became of those that leave, as it becomes known: those without work go before those with some.

        Tasks that still run at the end of the time-out are run again elsewhere, without suspicion.

        Parameters
        ----------
        timeout
            Seconds that tasks have to finish, from now on. Data moves for as long as there is any.

        Raises
        ------
        SchedulerSilent, SchedulerRefused
            Where the scheduler does not answer, or with an error. What has moved by then stays moved.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout
        moved, refused = await self._retire(_addresses(leaving.values()), remove=False)
        rest = {name: workers for name, workers in leaving.items() if workers <= moved}
        if others := leaving.keys() - rest.keys():
            yield _told(leaving, others, refused)
        heartbeats, pause = _Heartbeats(loop.time()), POLL
        while rest:
            began = loop.time()
            quiet = rest if began >= until else await self._quiet(rest, heartbeats)
            if quiet:
                yield await self._removed(quiet)
                rest = {name: workers for name, workers in rest.items() if name not in quiet}
            elif rest:
                seldom = COSTLY * (loop.time() - began)
                await asyncio.sleep(max(0.0, min(max(pause, seldom), until - loop.time())))
                pause = min(SLOWEST_POLL, pause * 1.2)

    async def _quiet(self, leaving: Leaving, heartbeats: _Heartbeats) -> Leaving:
        """Those of them on whose workers nothing runs."""
        assigned = await self._rpc.processing(_addresses(leaving.values()))
        busy = frozenset(worker for worker, tasks in assigned.items() if tasks)
        busy -= await heartbeats.idle(self._rpc, busy)
        return {name: workers for name, workers in leaving.items() if not workers & busy}

    async def _removed(self, leaving: Leaving) -> Mapping[str, Outcome]:
        """Results that came after the first reply lie on the worker that they were computed on: they move now."""
        addresses = _addresses(leaving.values())
        waiting = await self._assigned(addresses)
        _, refused = await self._retire(addresses, remove=True)
        self.stranded |= await self._rpc.stranded(waiting) if waiting else frozenset()
        return _told(leaving, leaving, refused)

    async def _assigned(self, workers: frozenset[str]) -> frozenset[Key]:
        """What may be stranded without them; nobody stays for that it cannot be told, or takes too long to tell."""
        try:
            return await self._rpc.assigned(workers)
        except SchedulerError:
            return frozenset()

    async def _retire(self, workers: frozenset[str], *, remove: bool) -> tuple[frozenset[str], Mapping[str, Outcome]]:
        """Those that are retired, or gone, and what became of the rest."""
        if not workers:
            return workers, {}
        mark = f"dask-k8s-{secrets.token_hex(8)}"
        async with self._own() as rpc:
            call = rpc.retire(workers, remove=remove, within=math.inf, mark=mark)
            done = await self._patiently(call, workers, mark)
        refused = await _refused(self._rpc, workers, done)
        return workers.difference(refused), refused

    async def _patiently(self, call: Awaitable[frozenset[str]], workers: frozenset[str], mark: str) -> frozenset[str]:
        """However long a call takes, as long as the scheduler answers beside it."""
        retiring = asyncio.ensure_future(call)
        try:
            await asyncio.wait([retiring], timeout=FIRST_LOOK)
            if not retiring.done():
                await self._look_on(retiring, _Looks(workers, mark, asyncio.get_running_loop().time()))
            return await retiring
        finally:
            retiring.cancel()
            await asyncio.wait([retiring])

    async def _look_on(self, retiring: asyncio.Future[frozenset[str]], looks: _Looks) -> None:
        """Tell how far it has come, until it has."""
        loop = asyncio.get_running_loop()
        while not retiring.done():
            pause = FIRST_LOOK
            try:
                await looks.look(self._rpc)
            except SchedulerError as error:
                if isinstance(error, SchedulerRefused):
                    looks.heard = loop.time()  # an error is an answer, too
                if loop.time() - looks.heard > DEAF:
                    raise SchedulerSilent(f"retire_workers: no answer, nor to anything else: {error}") from error
                self._told(Moving(left={}, silent=str(error)))
            else:
                self._told(Moving(left=looks.left, begun=looks.begun, further=looks.further))
                pause = max(FIRST_LOOK, _interval(looks.there))
            if looks.over > PATIENCE:
                raise SchedulerSilent("retire_workers: it is over, and its answer was lost")
            await asyncio.wait([retiring], timeout=pause)


def _addresses(groups: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset[str]().union(*groups)


def _told(leaving: Leaving, names: Iterable[str], refused: Mapping[str, Outcome]) -> Mapping[str, Outcome]:
    """By who leaves, from what became of single workers: one of them that was refused holds the others back."""
    found = {}
    for name in names:
        told = [refused[worker] for worker in leaving[name] if worker in refused]
        # Where one of several is left, the others are out of service: retired, and not removed.
        stuck = any(each.stuck for each in told) or 0 < len(told) < len(leaving[name])
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


class _Looks:
    """What is seen beside a call that takes long.

    That none of its workers is leaving does not say that it is over: Dask begins it once no ``rebalance`` and no
    ``replicate`` of a user is under way. Nor does that one is leaving say that it is not: after a first step it stays
    so. Where nothing moves, the scheduler's own notes are asked.

    Attributes
    ----------
    heard
        When the scheduler answered last, by the loop's clock.
    there
        How many workers the scheduler has.
    left
        Bytes that lie on each of those that leave; those are left out that never said.
    begun
        Whether any of them was seen to leave.
    further
        Whether less was left in all than at the look before.
    over
        How many looks in a row showed that the call is over.
    """

    def __init__(self, workers: frozenset[str], mark: str, now: float) -> None:
        self._workers = workers
        self._mark = mark
        self._scheduler = ""
        self.begun = self.further = False
        self._still = 0
        self.heard = now
        self.there = 0
        self.left: Mapping[str, int] = {}
        self.over = 0

    async def look(self, rpc: SchedulerRpc) -> None:
        """Once more."""
        told = await rpc.identity()
        self.heard, self.there = asyncio.get_running_loop().time(), len(told.workers)
        there = {worker: told.workers[worker] for worker in self._workers if worker in told.workers}
        over = self._saw(told.id, there) or (self._still > PATIENCE and await self._noted(rpc, min(there)))
        self.over = self.over + 1 if over else 0

    def _saw(self, scheduler: str, there: Mapping[str, WorkerFacts]) -> bool:
        """Whether it is plain that it is over: it had begun, and no worker leaves; or another scheduler answers."""
        left = {worker: facts.managed for worker, facts in there.items() if facts.managed is not None}
        fell = sum(left.values()) < sum(self.left.values())
        self._still = 0 if fell else self._still + 1
        self._scheduler, self.left = self._scheduler or scheduler, left
        leaving = any(facts.status == LEAVING for facts in there.values())
        self.begun = self.begun or leaving
        self.further = self.begun and fell
        return scheduler != self._scheduler or not there or (self.begun and not leaving)

    async def _noted(self, rpc: SchedulerRpc, worker: str) -> bool:
        try:
            return await rpc.has_ended(self._mark, worker)
        except SchedulerRefused:
            return False  # who cannot tell is waited for


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
        self._due = now + _interval(len(told))
        there = [told[worker] for worker in workers if worker in told]
        for facts in there:
            self._seen.setdefault(facts.address, set()).add(facts.last_seen)
        idle = (facts.address for facts in there if facts.executing == 0 and len(self._seen[facts.address]) > 2)
        return frozenset(workers).difference(told).union(idle)


def _interval(workers: int) -> float:
    """Seconds between two heartbeats of one worker, as Dask spreads them; to ask more often tells nothing."""
    return max(0.5, workers / 200)
