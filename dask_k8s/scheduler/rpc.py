"""What a scheduler can be asked and told. Tried with distributed 2023.5.0 and 2026.8.0; their replies are plain."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

from dask_k8s.errors import AnswerTooLarge, SchedulerRefused
from dask_k8s.scheduler import facts
from dask_k8s.scheduler.facts import MOST_WORKERS, Identity, Key

FIRST_WITH_CHECK_IDLE = (2023, 3, 2)
FIRST_SIDE_BY_SIDE = (2023, 10)

MOST_KEYS = 100_000
"""Of so many tasks at most it is asked what became of them."""

KEYS_AT_ONCE = 1_000
"""Of so many in one question: the scheduler's loop stands still while it answers."""


ENDS = ("retired", "could-not-retire")
"""A scheduler's words for what became of a worker in a retirement that is over."""


class Calls(Protocol):
    """What calls go over, such as a connection."""

    async def call(self, op: str, /, *, within: float | None = None, **arguments: Any) -> Any:
        """Ask for one thing and return the answer."""


class SchedulerRpc:
    """The calls to one scheduler.

    All raise :class:`~dask_k8s.errors.SchedulerSilent` where it does not answer, and
    :class:`~dask_k8s.errors.SchedulerRefused` where it answers with an error or with what the call cannot answer.
    """

    def __init__(self, connection: Calls, *, permit: Callable[[], object] = lambda: None) -> None:
        self._connection = connection
        self._permit = permit
        self._distributed: tuple[int, ...] | None = None

    async def identity(self) -> Identity:
        """The scheduler with all of its workers, as of their last heartbeats: about 0.9 kB a worker.

        Some versions tell five workers unless they are asked for more. Those that do also say how many there are; older
        ones tell all, and would refuse to be asked.
        """
        reply = await self._connection.call("identity")
        told = facts.mapping("identity", "the reply", reply)
        workers = facts.mapping("identity", "workers", told.get("workers"))
        if facts.whole("identity", "n_workers", told.get("n_workers", 0)) > len(workers):
            reply = await self._connection.call("identity", n_workers=-1)
        return facts.identity(reply)

    async def leaving_order(self) -> tuple[str, ...]:
        """Every worker's address once, in the order in which they may leave: live, not of the last heartbeat.

        Idle ones come first, the one with the least data at their head, then busy ones likewise. At the end stand
        those that the scheduler would not give up at all: with tasks that seceded (2023.5 counts them among the busy
        ones), or held by a plugin of its user.
        Workers that were retired and not removed still stand among them.
        """
        # With n set there is no regard for memory, and it may exceed the number of workers.
        reply = await self._connection.call("workers_to_close", n=MOST_WORKERS, attribute="address")
        offered = [
            facts.text("workers_to_close", "an address", each)
            for each in facts.array("workers_to_close", "the reply", reply)
        ]
        there = await self.nthreads()
        return tuple(dict.fromkeys([*(address for address in offered if address in there), *there]))

    async def adaptive_target(self) -> int:
        """How many workers the scheduler could use, by its own configuration; from 0 to a million."""
        reply = await self._connection.call("adaptive_target")
        return facts.whole("adaptive_target", "the reply", reply, MOST_WORKERS)

    async def idle_since(self) -> str | None:
        """A mark of the rest that it has; None while something is to be done.

        The mark is the scheduler's own word for when this rest began: as long as it stays the same, nothing was done,
        also between two questions. The first question after some work gets None. A client that is connected without
        work is no work.

        Schedulers before 2023.3.2 cannot say it (they answer None to what they do not know): for them it is looked at
        whether any worker has a task, and the mark is empty. One without workers counts as working, since tasks that
        wait for the first worker cannot be seen.
        """
        reply = await self._connection.call("check_idle")
        if reply is not None:
            return str(facts.number("check_idle", "the reply", reply))
        if await self._is_since(FIRST_WITH_CHECK_IDLE):
            return None
        there = await self.nthreads()
        return None if not there or any((await self.processing(there)).values()) else ""

    async def retires_side_by_side(self) -> bool:
        """Whether one retirement need not wait for another one's end, however long that takes."""
        return await self._is_since(FIRST_SIDE_BY_SIDE)

    async def _is_since(self, release: tuple[int, ...]) -> bool:
        """By its version, which is asked for once."""
        if self._distributed is None:
            self._distributed = facts.distributed_version(await self._connection.call("versions"))
        return self._distributed >= release

    async def nthreads(self, workers: Iterable[str] | None = None) -> Mapping[str, int]:
        """How many threads each worker has: of all, or of those among the given that are there."""
        asked: dict[str, Any] = {} if workers is None else {"workers": sorted(workers)}
        reply = facts.mapping("ncores", "the reply", await self._connection.call("ncores", **asked))
        return {
            facts.text("ncores", "an address", address): facts.whole("ncores", address, n)
            for address, n in reply.items()
        }

    async def running(self) -> frozenset[str]:
        """The workers that take tasks and data: neither paused nor retiring."""
        reply = await self._connection.call("ncores_running")
        return frozenset(facts.mapping("ncores_running", "the reply", reply))

    async def processing(self, workers: Collection[str]) -> Mapping[str, int]:
        """How many tasks are assigned to each of these workers, live: those that run and those that wait there.

        Workers that are gone are left out. One with more tasks than are listened to has :data:`~facts.MOST`.
        """
        try:
            told = await self._processing(workers)
        except AnswerTooLarge:
            return await self._processing_in_parts(sorted(workers))
        return {address: len(keys) for address, keys in told.items()}

    async def assigned(self, workers: Collection[str]) -> frozenset[Key]:
        """The keys of these tasks, as far as they can be named; refused where they are too many to be listened to."""
        told = await self._processing(workers)
        return frozenset(key for keys in told.values() for key in keys if facts.is_key(key))

    async def _processing_in_parts(self, workers: Sequence[str]) -> Mapping[str, int]:
        """Half of the workers at a time: every task is named, and one answer has not room for a million."""
        if len(workers) == 1:
            return {workers[0]: facts.MOST}
        middle = len(workers) // 2
        return {**await self.processing(workers[:middle]), **await self.processing(workers[middle:])}

    async def _processing(self, workers: Collection[str]) -> Mapping[str, tuple[Any, ...]]:
        there = frozenset(await self.nthreads(workers))
        while there:
            try:
                reply = await self._connection.call("processing", workers=sorted(there))
            except AnswerTooLarge:
                raise
            except SchedulerRefused:
                # It refuses the whole question when one worker has left since.
                left = there & frozenset(await self.nthreads(there))
                if left == there:
                    raise
                there = left
            else:
                told = facts.mapping("processing", "the reply", reply)
                return {address: facts.array("processing", address, told.get(address)) for address in there}
        return {}

    async def stranded(self, keys: Collection[Key]) -> frozenset[Key]:
        """Those of these tasks that could run and may not: no worker is there that they are restricted to."""
        found, asked = list[Key](), sorted(keys, key=str)[:MOST_KEYS]
        for first in range(0, len(asked), KEYS_AT_ONCE):
            some = asked[first : first + KEYS_AT_ONCE]
            reply = await self._connection.call("get_task_status", keys=some)
            told = facts.mapping("get_task_status", "the reply", reply)
            found += [key for key in some if told.get(str(key)) == "no-worker"]
        return frozenset(found)

    async def retire(
        self, workers: Collection[str], *, remove: bool, within: float | None = None, mark: str | None = None
    ) -> frozenset[str]:
        """Move the data of workers to others; return those where that was done. The rest were refused, or are gone.

        A worker takes no new task from then on, and there is no way back. Never call it twice at a time for one worker:
        where both are refused, it stays out of use for ever.

        Parameters
        ----------
        remove
            Whether the scheduler forgets the worker at once: what was assigned to it runs elsewhere, without
            suspicion. Its process then ends by itself within a heartbeat or two.
        within
            Seconds; it takes as long as the data takes to move.
        mark
            By which this call is known again, in :meth:`has_ended`.
        """
        self._permit()
        marked = {} if mark is None else {"stimulus_id": mark}
        reply = await self._connection.call(
            "retire_workers", workers=sorted(workers), close_workers=False, remove=remove, within=within, **marked
        )
        return frozenset(workers) & facts.mapping("retire_workers", "the reply", reply).keys()

    async def forget(self, worker: str) -> None:
        """Let the scheduler forget a worker that will not come back, whatever it holds: what it had is run elsewhere.

        Nobody's task is suspected for it, as it would be where a worker just vanishes.
        """
        self._permit()
        told: dict[str, Any] = {"address": worker, "close": False, "stimulus_id": "given-up"}
        try:
            await self._connection.call("unregister", expected=True, **told)
        except SchedulerRefused:  # the word that older ones have for it
            await self._connection.call("unregister", safe=True, **told)

    async def has_ended(self, mark: str, worker: str) -> bool:
        """Whether the scheduler has noted for a worker that a retirement is over, whoever got its answer.

        Old schedulers, such as 2023.5, do not note which one it was.
        """
        return any(event.get("action") in ENDS for event in await self._noted(mark, worker))

    async def has_begun(self, mark: str, worker: str) -> bool:
        """Whether the scheduler has noted that a worker leaves by a retirement; old ones do not note by which."""
        return any(event.get("status") == facts.LEAVING for event in await self._noted(mark, worker))

    async def _noted(self, mark: str, worker: str) -> list[dict[str, Any]]:
        reply = await self._connection.call("events", topic=worker)
        noted = [each[1] for each in facts.array("events", "the reply", reply) if isinstance(each, tuple) and each[1:]]
        return [event for event in noted if isinstance(event, dict) and event.get("stimulus_id") == mark]
