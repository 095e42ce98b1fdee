"""The calls that are made to a scheduler.

All of them exist since distributed 2023.5, and all their replies are plain.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from dask_k8s.errors import SchedulerRefused
from dask_k8s.scheduler import facts
from dask_k8s.scheduler.connection import Connection
from dask_k8s.scheduler.facts import Identity

_MORE_THAN_THERE_ARE = 1_000_000


class SchedulerRpc:
    """A scheduler's operations over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._takes_n_workers = True

    async def identity(self) -> Identity:
        """Who it is."""
        reply = facts.mapping(await self._identity(0), "identity")
        if reply.get("type") != "Scheduler":
            raise SchedulerRefused(f"identity: expected a Scheduler, not {str(reply.get('type'))[:50]}")
        return Identity(id=facts.text(reply, "id", "identity"), address=facts.text(reply, "address", "identity"))

    async def leaving_order(self) -> tuple[str, ...]:
        """The addresses of all workers, each once: idle ones with least data first, those that must not leave last.

        ``workers_to_close`` gives the scheduler's live order, but leaves out workers that run tasks which submit tasks
        themselves (``worker_client``), and those that a plugin holds back; they stand at the end here.
        """
        op = "workers_to_close"
        reply = await self._connection.call(op, n=_MORE_THAN_THERE_ARE, attribute="address")
        order = facts.texts(reply, op)
        everyone = facts.mapping(await self._connection.call("ncores"), "ncores")
        return tuple(dict.fromkeys([*(address for address in order if address in everyone), *everyone]))

    async def processing(self, workers: Collection[str]) -> Mapping[str, int]:
        """How many tasks are assigned to each of these workers: those that execute, and those that wait there."""
        reply = facts.mapping(await self._connection.call("processing", workers=list(workers)), "processing")
        return {worker: len(keys) for worker, keys in reply.items() if isinstance(keys, list | tuple)}

    async def executing(self) -> Mapping[str, int]:
        """How many tasks each worker executes, as its last heartbeat said: up to some seconds ago."""
        workers = facts.mapping(facts.mapping(await self._identity(-1), "identity").get("workers"), "identity")
        return {address: _executing(worker) for address, worker in workers.items()}

    async def retire(self, workers: Collection[str], *, remove: bool, timeout: float) -> frozenset[str]:
        """Move the data of these workers to others; the addresses of those that hold nothing any more.

        Those that are missing in the reply were refused, or are not known. Two calls for one worker must never
        overlap: both would be refused, and the worker would stay in between for ever.

        Parameters
        ----------
        remove
            Whether the scheduler also forgets them: what waited there runs elsewhere, without suspicion.
        """
        op = "retire_workers"
        reply = await self._connection.call(
            op, timeout=timeout, workers=list(workers), close_workers=False, remove=remove
        )
        return frozenset(facts.mapping(reply, op)) & frozenset(workers)

    async def _identity(self, n_workers: int) -> object:
        """Newer versions tell five workers unless asked for more; older ones refuse the question."""
        if self._takes_n_workers:
            try:
                return await self._connection.call("identity", n_workers=n_workers)
            except SchedulerRefused as error:
                if "n_workers" not in str(error):
                    raise
                self._takes_n_workers = False
        return await self._connection.call("identity")


def _executing(worker: object) -> int:
    metrics = worker.get("metrics") if isinstance(worker, dict) else None
    counts = metrics.get("task_counts") if isinstance(metrics, dict) else None
    found = counts.get("executing", 0) if isinstance(counts, dict) else 0
    return found if isinstance(found, int) else 0
