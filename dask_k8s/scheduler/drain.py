"""How workers leave without loss: their data moves, what runs there finishes, what waited there runs elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from dask_k8s.errors import SchedulerSilent
from dask_k8s.kinds.value import value
from dask_k8s.scheduler.rpc import SchedulerRpc

POLL = 0.25
"""Seconds between two looks at what is assigned to workers that leave."""

NOWHERE = "No other worker is running that could take its data."
UNMOVABLE = "Its data cannot be moved: it holds an actor, or those that could have taken its data have left."


@value
class Drained:
    """What became of one worker.

    Parameters
    ----------
    refused
        Why its data could not be moved. None where it is empty, or gone by itself: then its Pod can be deleted.
    """

    refused: str | None = None


async def drain(rpc: SchedulerRpc, workers: Collection[str], *, timeout: float, flush: float) -> Mapping[str, Drained]:
    """Empty workers, and make the scheduler forget them; whoever calls then deletes their Pods at once.

    A process that is forgotten ends within a heartbeat or two, and the kubelet would start it again. So workers that
    are drained together leave together, when the last of them has finished. Those that were refused stay. It can be
    cancelled at any point: a later drain begins anew. Never run two at a time for one worker.

    Tasks that still run at the end of the time-out are run again elsewhere, without suspicion.

    Parameters
    ----------
    timeout
        Seconds for data to move and tasks to finish.
    flush
        Seconds beyond that for the last step, in which only late results move.

    Raises
    ------
    SchedulerSilent, SchedulerRefused
        Where the scheduler does not answer, or answers with an error. What has moved by then stays moved.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + timeout
    try:
        moved = await rpc.retire(workers, remove=False, within=timeout)
    except SchedulerSilent:
        if loop.time() < until:
            raise
        return dict.fromkeys(workers, Drained(refused=f"Its data was not moved within {timeout:g} s."))
    refused = await _refused(rpc, workers, moved)
    if moved:
        await _quiet(rpc, moved, until)
        # Results that came after the first reply lie on the worker that they were computed on.
        removed = await rpc.retire(moved, remove=True, within=flush)
        refused |= await _refused(rpc, moved, removed)
    return {worker: Drained(refused=refused.get(worker)) for worker in workers}


async def _refused(rpc: SchedulerRpc, asked: Collection[str], done: Collection[str]) -> dict[str, str]:
    """Why the rest was not done; a worker that is gone has nothing that could be kept."""
    rest = frozenset(asked).difference(done)
    if not rest:
        return {}
    there = await rpc.nthreads(rest)
    others = (await rpc.running()).difference(asked)
    return dict.fromkeys(there, UNMOVABLE if others else NOWHERE)


async def _quiet(rpc: SchedulerRpc, workers: Collection[str], until: float) -> None:
    """Wait until nothing runs on these workers, or the time is over."""
    loop = asyncio.get_running_loop()
    heartbeats = _Heartbeats(loop.time())
    while loop.time() < until:
        busy = {worker for worker, tasks in (await rpc.processing(workers)).items() if tasks}
        if not busy or await heartbeats.say_idle(rpc, busy, loop.time()):
            return
        await asyncio.sleep(max(0.0, min(POLL, until - loop.time())))


class _Heartbeats:
    """Tells workers where tasks run from those where tasks only wait, and would for ever.

    What is assigned to a worker is known live, but whether it has begun stands in heartbeats alone. A worker that
    retires begins nothing more once it knows. Its first new heartbeat may have been written before that, the second
    one was not: so two are waited for.
    """

    def __init__(self, now: float) -> None:
        self._due = now
        self._seen: dict[str, set[float]] = {}

    async def say_idle(self, rpc: SchedulerRpc, workers: Collection[str], now: float) -> bool:
        """Whether nothing runs on any of these workers."""
        if now < self._due:
            return False
        told = (await rpc.identity()).workers
        self._due = now + _interval(len(told))
        there = [told[worker] for worker in workers if worker in told]
        for facts in there:
            self._seen.setdefault(facts.address, set()).add(facts.last_seen)
        return all(facts.executing == 0 and len(self._seen[facts.address]) > 2 for facts in there)


def _interval(workers: int) -> float:
    """Seconds between two heartbeats of one worker, as Dask spreads them; to ask more often tells nothing."""
    return max(0.5, workers / 200)
