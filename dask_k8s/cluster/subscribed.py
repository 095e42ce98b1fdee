"""Distributed's ``Cluster``, which goes on hearing of its workers for as long as it lives."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from distributed.core import Status
from distributed.deploy.cluster import Cluster
from distributed.objects import SchedulerInfo

logger = logging.getLogger(__name__)

COMPARE_WORKERS = 1.0
"""Seconds between two looks at whether the scheduler still tells us of its workers."""


class SubscribedCluster(Cluster):  # type: ignore[misc]  # distributed is not typed
    """A cluster whose ``scheduler_info`` stays true; whoever derives from it runs :meth:`_stay_subscribed`."""

    scheduler_info: SchedulerInfo

    async def _stay_subscribed(self) -> None:
        """Hear of workers for as long as the cluster lives.

        Distributed's own subscription ends with the first broken connection. It also stands still, and says nothing of
        it, once somebody else subscribes: a scheduler has one subscriber at a time, and the last one wins. So what we
        were told is compared with what there is, at a cost that does not disturb the other one.
        """
        while True:
            await asyncio.sleep(COMPARE_WORKERS)
            if self.status is not Status.running:
                continue  # distributed's part of the start subscribes first
            with contextlib.suppress(OSError):
                if self._subscription_ended() or not await self._told_of_all():
                    await self._subscribe()

    def _subscription_ended(self) -> bool:
        task: Any = self._watch_worker_status_task
        return bool(task and task.done())

    async def _told_of_all(self) -> bool:
        """Whether we know of the workers that the scheduler has; what is on its way to us is given its time."""
        for pause in (COMPARE_WORKERS, 0.0):
            there = await self.scheduler_comm.ncores()
            if there.keys() == self.scheduler_info["workers"].keys():
                return True
            await asyncio.sleep(pause)
        return False

    async def _subscribe(self) -> None:
        before = self.scheduler_info.get("id")
        await self._unsubscribe()
        comm = await self.scheduler_comm.live_comm()
        comm.name = "Cluster worker status"
        await comm.write({"op": "subscribe_worker_status"})
        self.scheduler_info = SchedulerInfo(await comm.read())
        self._watch_worker_status_comm = comm
        self._watch_worker_status_task = asyncio.ensure_future(self._watch_worker_status(comm))
        if before != self.scheduler_info.get("id"):
            logger.warning(
                "The scheduler of %s began anew: results, futures and scattered data that it knew of are gone. "
                "Workers join again by themselves, and this KubeCluster goes on. Submit again what you still need.",
                self.name,
            )

    async def _unsubscribe(self) -> None:
        """Leave no connection behind that nobody tells anything any more."""
        comm: Any = self._watch_worker_status_comm
        task: Any = self._watch_worker_status_task
        if comm is not None and task is not None:
            comm.abort()
            await asyncio.gather(task, return_exceptions=True)

    async def _sync_cluster_info(self) -> None:
        """Distributed's, without its long warning: a scheduler that is away, or began anew, is told of elsewhere."""
        while self.status is Status.running:
            with contextlib.suppress(OSError):
                await self.scheduler_comm.set_metadata(keys=["cluster-manager-info"], value=dict(self._cluster_info))
            await asyncio.sleep(self._sync_interval)
