"""Taking workers out of a cluster without losing anything, in the steps that were measured one by one.

1. ``retire_workers(remove=False)`` moves data. Its reply says that it is done; a worker that is missing in it was
refused. 2. What executes there goes on, and its result lands on the retired worker *after* that reply. A waiting task
may stand there for
   ever beside idle workers. So: wait until nothing executes.
3. ``retire_workers(remove=True)`` moves late results and reschedules what waited, without suspicion.
4. The caller deletes the Pods at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from dask_k8s.scheduler.facts import Drained
from dask_k8s.scheduler.rpc import SchedulerRpc

POLL = 0.2
HEARTBEATS = 2.5
"""Seconds after which a worker's heartbeat is younger than its retirement, in clusters of up to some hundred workers.
"""

LAST_STEP = 10.0
"""Seconds for the last step, over and above the drain's time."""

REFUSED = "it holds the only copy of data that no other worker has room for, or an actor."


async def drain(rpc: SchedulerRpc, workers: Collection[str], *, timeout: float) -> Mapping[str, Drained]:
    """Drain workers by address, together.

    Parameters
    ----------
    timeout
        Seconds for moving data and for what executes.

    Returns
    -------
    Mapping
        For each address whether it is empty, or why it has to stay.

    Raises
    ------
    SchedulerSilent, SchedulerRefused
        Where the scheduler does not answer or answers nonsense; nothing is known then.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    moved = await rpc.retire(workers, remove=False, timeout=max(1.0, timeout))
    if moved:
        await _until_nothing_executes(rpc, moved, deadline)
        moved = await rpc.retire(moved, remove=True, timeout=LAST_STEP + max(0.0, deadline - loop.time()))
    return {worker: Drained() if worker in moved else Drained(refused=REFUSED) for worker in workers}


async def _until_nothing_executes(rpc: SchedulerRpc, workers: Collection[str], deadline: float) -> None:
    """Until no task is assigned any more, or those that are only wait, or the time is over.

    No plain reply tells executing from waiting at once. Heartbeats do, but late: they are asked only once they must be
    younger than the retirement, since when nothing new begins there.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    while loop.time() < deadline:
        assigned = await rpc.processing(workers)
        if not any(assigned.get(worker) for worker in workers):
            return
        if loop.time() - began > HEARTBEATS:
            executing = await rpc.executing()
            if not any(executing.get(worker) for worker in workers):
                return
        await asyncio.sleep(min(POLL, max(0.0, deadline - loop.time())))
