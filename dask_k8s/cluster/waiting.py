"""Waiting for workers: a look at who has joined, beside a look at what keeps the others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from dask_k8s import diagnosis, names
from dask_k8s.cluster.progress import Progress
from dask_k8s.cluster.shortfall import Shortfall, asked, notes
from dask_k8s.cluster.together import together
from dask_k8s.cluster.watched import Watched, dask_container
from dask_k8s.diagnosis import Cause, Diagnosis
from dask_k8s.errors import WorkersMissing
from dask_k8s.kinds.value import Manifest

logger = logging.getLogger(__name__)

ASK_AGAIN = 0.1
"""Seconds between two questions to the scheduler, as in distributed."""

LOOK_AGAIN = 1.0
"""Seconds between two looks at the Pods; also what a count that was just written has to be seen in."""

WITH_EVENTS = 3
"""Pods whose Events are read in one look: many that do not start mostly have the same trouble."""

Hosts = Callable[[], Awaitable[list[str] | None]]
"""The host of each worker, once for each of them; None where the scheduler does not answer."""


class Waiting:
    """One wait for a number of workers.

    Parameters
    ----------
    running
        Where the workers are that take tasks: those are waited for, as ``Client.wait_for_workers`` does.
    there
        Where all are that have joined.
    """

    def __init__(self, cluster: str, wanted: int, watched: Watched, *, running: Hosts, there: Hosts) -> None:
        self._cluster = cluster
        self._wanted = wanted
        self._watched = watched
        self._running = running
        self._there = there
        self._last: list[str] | None = None

    async def run(self, timeout: float, *, quiet: bool) -> None:
        """Until they have joined.

        Parameters
        ----------
        timeout
            Seconds; 0 for no limit.

        Raises
        ------
        WorkersMissing
            At the end of the time, or once they cannot come.
        """
        try:
            async with asyncio.timeout(timeout or None):
                if not await self._enough():
                    await self._watch(quiet)
        except WorkersMissing:
            raise
        except TimeoutError:
            raise await self._missing(await self._shortfall(), f"after {timeout:g} s") from None

    async def _watch(self, quiet: bool) -> None:
        with Progress(f"Workers of {self._cluster}", quiet=quiet) as progress:
            progress.begin(f"Waiting until {self._wanted} workers have joined")
            async with together() as group:
                looking = group.create_task(self._look(progress))
                while not await self._enough():
                    await asyncio.sleep(ASK_AGAIN)
                looking.cancel()

    async def _enough(self) -> bool:
        self._last = await self._running()
        return self._last is not None and len(self._last) >= self._wanted

    async def _look(self, progress: Progress) -> None:
        """Show what keeps them; end the wait where they cannot come, and say at once where nobody asks for so many."""
        warned = False
        while True:
            await asyncio.sleep(LOOK_AGAIN)
            found = await self._shortfall()
            progress.tell("\n".join((f"{found}.", *found.why())))
            if found.certain:
                raise await self._missing(found, "and the others cannot come")
            if not warned and (too_few := found.too_few):
                logger.warning("%s The wait goes on, since somebody else may do so.", too_few)
                warned = True

    async def _shortfall(self) -> Shortfall:
        there = await self._there() or []
        joined = {*there, *(self._last or ())}
        pods = [pod for pod in self._watched.workers() if not _at(pod, joined) and not _leaves(pod)]
        groups, cluster = self._watched.groups(), self._watched.cluster()
        scheduler = self._watched.scheduler() if self._last is None else None
        return Shortfall(
            wanted=self._wanted,
            joined=None if self._last is None else len(self._last),
            asked=None if groups is None else asked(groups, self._watched.autoscaler(), self._cluster),
            resting=max(0, len(there) - len(there if self._last is None else self._last)),
            pods=len(pods),
            troubles=await self._troubles(pods),
            scheduler=None if scheduler is None else await self._watched.diagnosis(scheduler),
            notes=notes([*([cluster] if cluster else []), *(groups or ())]),
        )

    async def _troubles(self, pods: list[Manifest]) -> tuple[Diagnosis, ...]:
        known = [diagnosis.of_pod(pod) for pod in pods]
        silent = [pod for pod, found in zip(pods, known, strict=True) if found is None]
        told = [await self._watched.diagnosis(pod) for pod in silent[:WITH_EVENTS]]
        return tuple(found for found in (*known, *told) if found is not None)

    async def _missing(self, found: Shortfall, when: str) -> WorkersMissing:
        """The error, with the last words of one Pod that crashes."""
        crashed = {trouble.pod for trouble in found.troubles if trouble.cause is Cause.CRASHING}
        pod = next((pod for pod in self._watched.workers() if pod["metadata"]["name"] in crashed), None)
        words = "" if pod is None else await self._watched.last_words(pod, dask_container(pod))
        sentences = (f"{found} {when}.", *found.why(), *([words] if words else []))
        return WorkersMissing(found.joined or 0, found.wanted, "\n".join(sentences))


def _at(pod: Manifest, hosts: set[str]) -> bool:
    return (pod.get("status") or {}).get("podIP") in hosts


def _leaves(pod: Manifest) -> bool:
    return names.RETIRING_SINCE in (pod["metadata"].get("annotations") or {})
