"""One call that moves the data of workers, and takes as long as it takes: sent once, looked at, its loss found out."""

from __future__ import annotations

import asyncio
import math
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Self

from dask_k8s.errors import SchedulerError, SchedulerRefused, SchedulerSilent
from dask_k8s.kinds.value import value
from dask_k8s.scheduler.facts import IN_SERVICE, LEAVING, WorkerFacts
from dask_k8s.scheduler.rpc import SchedulerRpc

FIRST_LOOK = 1.0
"""Seconds after which a look is taken at how far the moving has come: most drains are over by then."""

PATIENCE = 3
"""Looks in a row that show a call to be over, after which its reply counts as lost: it may be on its way."""

DEAF = 30.0
"""Seconds without an answer to such looks after which the call that moves the data counts as lost."""

BEATS = 3
"""Heartbeats of a worker that leaves, of which the last surely was written after it knew that."""


@value
class Moving:
    """How far a move has come that takes long.

    Parameters
    ----------
    workers
        Whose data it is.
    left
        Bytes that still lie on each of them, as of its last heartbeat; those are left out that never said.
    silent
        Why nobody knows; empty where the scheduler answers.
    begun
        Whether Dask has begun with it, which waits until no ``rebalance`` and no ``replicate`` of a user is under way.
    further
        Whether less is left of all that leave together than at the look before. Each for itself says nothing: who takes
        data takes it from a few at a time, and those first that have most.
    """

    workers: frozenset[str]
    left: Mapping[str, int]
    silent: str = ""
    begun: bool = False
    further: bool = False


class Retirement:
    """Entered to ask for it; left when it is over, or to give it up: the scheduler then goes on by itself.

    Parameters
    ----------
    calling
        For the call, over a connection that nobody else uses meanwhile.
    asking
        For looks at how far it has come.
    workers
        Their addresses.
    remove
        Whether the scheduler forgets them in the end.
    told
        Called with each look.
    """

    def __init__(
        self,
        calling: SchedulerRpc,
        asking: SchedulerRpc,
        workers: frozenset[str],
        *,
        remove: bool,
        told: Callable[[Moving], None],
    ) -> None:
        self._calling = calling
        self._asking = asking
        self._workers = workers
        self._remove = remove
        self._told = told

    async def __aenter__(self) -> Self:
        mark = f"dask-k8s-{secrets.token_hex(8)}"
        call = self._calling.retire(self._workers, remove=self._remove, within=math.inf, mark=mark)
        now = asyncio.get_running_loop().time()
        self._call = asyncio.ensure_future(call)
        self._looks = _Looks(self._workers, mark, now)
        self._next = now + FIRST_LOOK
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call.cancel()
        await asyncio.wait([self._call])

    @property
    def emptied(self) -> frozenset[str]:
        """Those of its workers that are done with, though it goes on for others: Dask looks at them no more."""
        return self._looks.emptied

    @property
    def gone(self) -> frozenset[str]:
        """Those of its workers that the scheduler has no more."""
        return self._looks.gone

    @property
    def kept(self) -> frozenset[str]:
        """Those of its workers that are in service again, though it goes on for others: they cannot be moved."""
        return self._looks.kept

    async def over(self, within: float = math.inf) -> bool:
        """Whether it is over: once it is, or after so many seconds at most, or when it was looked at.

        Raises
        ------
        SchedulerSilent
            Where its answer was lost, or nothing is answered any more.
        """
        now = asyncio.get_running_loop().time
        await asyncio.wait([self._call], timeout=max(0.0, min(self._next - now(), within)))
        if not self._call.done() and now() >= self._next:
            pause = await self._look()
            self._next = now() + pause
        return self._call.done()

    def retired(self) -> frozenset[str]:
        """Those of its workers of which the answer says that it was done, once it is over."""
        return self._call.result()

    async def _look(self) -> float:
        """Tell how far it has come; seconds until the next look."""
        looks, now = self._looks, asyncio.get_running_loop().time
        pause = FIRST_LOOK
        if not looks.missed:
            looks.heard = now()  # others have asked since, and may have waited long
        try:
            await looks.look(self._asking)
        except SchedulerError as error:
            if isinstance(error, SchedulerRefused):
                looks.heard = now()  # an error is an answer, too
            looks.missed = True
            if now() - looks.heard > DEAF:
                raise SchedulerSilent(f"retire_workers: no answer, nor to anything else: {error}") from error
            self._told(Moving(workers=self._workers, left={}, silent=str(error)))
        else:
            self._told(Moving(workers=self._workers, left=looks.left, begun=looks.begun, further=looks.further))
            pause = max(FIRST_LOOK, interval(looks.there))
        if looks.over > PATIENCE:
            raise SchedulerSilent("retire_workers: it is over, and its answer was lost")
        return pause


def interval(workers: int) -> float:
    """Seconds between two heartbeats of one worker, as Dask spreads them; to ask more often tells nothing."""
    return max(0.5, workers / 200)


class _Looks:
    """What is seen beside a call that takes long.

    That none of its workers is leaving does not say that it is over: Dask begins it once no ``rebalance`` and no
    ``replicate`` of a user is under way. Nor does that one is leaving say that it is not: after a first step it stays
    so. Where nothing moves, the scheduler's own notes are asked.

    Attributes
    ----------
    heard
        When the scheduler answered last, by the loop's clock, or was not asked by a look.
    missed
        Whether the last look had no answer.
    there
        How many workers the scheduler has.
    left
        Bytes that lie on each of those that leave; those are left out that never said.
    begun
        Whether any of them was seen to leave.
    further
        Whether less was left in all than at the look before.
    emptied
        Those that leave, and were seen to hold nothing. What came to them after that was not there for the call.
    gone
        Those that the scheduler had no more at the last look.
    kept
        Those that this call had let leave, and that are in service again while others of it leave: Dask takes one back
        at once whose data it cannot move, and answers when it is done with all.
    over
        How many looks in a row showed that the call is over.
    """

    def __init__(self, workers: frozenset[str], mark: str, now: float) -> None:
        self._workers = workers
        self._mark = mark
        self._scheduler = ""
        self.begun = self.further = False
        self._still = 0
        self._beats: dict[str, set[float]] = {}
        self.heard = now
        self.missed = False
        self.there = 0
        self.left: Mapping[str, int] = {}
        self.emptied: frozenset[str] = frozenset()
        self.gone: frozenset[str] = frozenset()
        self.kept: frozenset[str] = frozenset()
        self._serves: Counter[str] = Counter()
        self.over = 0

    async def look(self, rpc: SchedulerRpc) -> None:
        """Once more."""
        told = await rpc.identity()
        self.missed = False
        self.heard, self.there = asyncio.get_running_loop().time(), len(told.workers)
        there = {worker: told.workers[worker] for worker in self._workers if worker in told.workers}
        self.emptied |= frozenset(worker for worker, facts in there.items() if self._is_empty(facts))
        self.gone = self._workers - there.keys()
        over = self._saw(told.id, there) or (self._still > PATIENCE and await self._noted(rpc.has_ended, min(there)))
        for worker in self._in_service(there):
            if await self._noted(rpc.has_begun, worker):
                self.kept |= {worker}
        self.over = self.over + 1 if over else 0

    def _saw(self, scheduler: str, there: Mapping[str, WorkerFacts]) -> bool:
        """Whether it is plain that it is over: it had begun, and no worker leaves; or another scheduler answers."""
        left = {
            worker: facts.managed
            for worker, facts in there.items()
            if facts.managed is not None and worker not in self.kept
        }
        fell = sum(left.values()) < sum(self.left.values())
        self._still = 0 if fell else self._still + 1
        self._scheduler, self.left = self._scheduler or scheduler, left
        leaving = any(facts.status == LEAVING for facts in there.values())
        self.begun = self.begun or leaving
        self.further = self.begun and fell
        return scheduler != self._scheduler or not there or (self.begun and not leaving)

    def _is_empty(self, facts: WorkerFacts) -> bool:
        """Not by an old heartbeat: what it was given just before it left may not be moved yet."""
        if facts.status != LEAVING:
            return False
        beats = self._beats.setdefault(facts.address, set())
        if len(beats) < BEATS:
            beats.add(facts.last_seen)
        return len(beats) >= BEATS and facts.managed == 0

    def _in_service(self, there: Mapping[str, WorkerFacts]) -> frozenset[str]:
        """Those that were, for some looks in a row, while others left.

        Those others may leave since an earlier call, and this one wait for its turn yet: the scheduler's notes tell.
        """
        leaving = any(facts.status == LEAVING for facts in there.values())
        serve = {worker for worker, facts in there.items() if leaving and facts.status in IN_SERVICE}
        self._serves = Counter({worker: self._serves[worker] + 1 for worker in serve - self.kept})
        return frozenset(worker for worker, looks in self._serves.items() if looks % PATIENCE == 0)

    async def _noted(self, ask: Callable[[str, str], Awaitable[bool]], worker: str) -> bool:
        try:
            return await ask(self._mark, worker)
        except SchedulerRefused:
            return False  # who cannot tell is waited for
