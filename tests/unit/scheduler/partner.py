"""A real Dask scheduler with workers, in a process of its own, and a few more ops by which a test sets its scene.

``partner.py scheduler`` runs a scheduler, prints its address and ends with its standard input;
``partner.py worker ADDRESS NAME`` runs one worker until the scheduler forgets it. It knows nothing of dask_k8s.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import dask
from distributed import Client, Future, Scheduler, Worker, secede


def work(path: str, seconds: float) -> str:
    """A task that leaves a line where it ran, so that executions can be counted."""
    with Path(path).open("a") as file:
        file.write("ran\n")
    time.sleep(seconds)
    return "done"


async def nap(path: str, seconds: float) -> str:
    """A task that runs on the worker's loop, in no thread."""
    work(path, 0)
    await asyncio.sleep(seconds)
    return "done"


def away(path: str, seconds: float) -> str:
    """A task that gives its thread's place back, as those do that submit others."""
    secede()
    return work(path, seconds)


TASKS = {"work": work, "nap": nap, "away": away}


class Counter:
    """An actor."""


class Unmovable:
    """A result that cannot be sent."""

    def __reduce__(self) -> str:
        raise TypeError("it is bound to this machine")


def unmovable(seconds: float) -> Unmovable:
    """Such a result, after a while."""
    time.sleep(seconds)
    return Unmovable()


class Scene:
    """The ops of a test: each is a method whose arguments and result are plain."""

    def __init__(self, scheduler: Scheduler, client: Client) -> None:
        self.scheduler = scheduler
        self.client = client
        self.futures: dict[str, Future | list[Future]] = {}
        self.workers: list[Worker] = []
        self.called: list[str] = []

    async def begin(self, count: int) -> None:
        """Forget the scene before, and start so many workers."""
        self.futures.clear()
        for worker in self.workers:
            await worker.close(executor_wait=False)
        while self.scheduler.workers or self.scheduler.tasks:
            await asyncio.sleep(0.01)
        self.workers = [Worker(self.scheduler.address, name=f"worker-{index}", nthreads=1) for index in range(count)]
        await asyncio.gather(*self.workers)

    async def scatter(self, count: int, worker: str | None = None) -> None:
        """Data that cannot be computed again."""
        data = {f"key-{index}": index for index in range(count)}
        self.futures |= await self.client.scatter(data, workers=worker and [worker])

    async def gather(self) -> dict[str, Any]:
        """All values, or the end of the test's patience where one is lost."""
        return dict(await self.client.gather(self.futures))

    async def submit(self, task: str, key: Any, path: str, seconds: float, worker: str, only: bool = False) -> None:
        """A task that is assigned to this worker, and may go elsewhere later."""
        self.futures[key] = self.client.submit(
            TASKS[task], path, seconds, key=key, workers=[worker], allow_other_workers=not only
        )
        state = self.scheduler.workers[worker]
        while key not in {task.key for task in (state.long_running if task == "away" else state.processing)}:
            await asyncio.sleep(0.01)

    async def load(self, worker: str, count: int) -> None:
        """So many tasks on this worker, with keys of two parts, that may go elsewhere later."""
        keys = [("load", number) for number in range(count)]
        self.futures["load"] = self.client.map(
            time.sleep, [5.0] * count, key=keys, workers=[worker], allow_other_workers=True, pure=False
        )
        while len(self.scheduler.workers[worker].processing) < count:
            await asyncio.sleep(0.01)

    async def hold(self, seconds: float) -> None:
        """Keep the lock that ``rebalance`` and ``replicate`` hold while they move data."""
        shared = getattr(self.scheduler, "_replica_lock", None)
        async with self.scheduler._lock if shared is None else shared(("rebalance", object())):
            await asyncio.sleep(seconds)

    async def actor(self, worker: str) -> None:
        """An actor on this worker."""
        self.futures["actor"] = self.client.submit(Counter, key="actor", actor=True, workers=[worker])
        while not self.scheduler.workers[worker].actors:
            await asyncio.sleep(0.01)

    async def unmovable(self, worker: str, seconds: float = 0.0, key: str = "unmovable") -> None:
        """A result on this worker that no other one can get: it is there, or will be in so many seconds."""
        self.futures[key] = self.client.submit(unmovable, seconds, key=key, workers=[worker], pure=False)
        awaited = "processing" if seconds else "memory"
        while (task := self.scheduler.tasks.get(key)) is None or task.state != awaited:
            await asyncio.sleep(0.01)

    def target(self, workers: int) -> None:
        """What it answers when it is asked how many workers it could use."""
        self.scheduler.handlers["adaptive_target"] = lambda: workers

    def slow(self, what: str, seconds: float) -> None:
        """An op that takes its time; what it was is done after that."""
        real = self.scheduler.handlers[what]

        async def late(*args: Any, **kwargs: Any) -> Any:
            self.called.append(what)
            await asyncio.sleep(seconds)
            answer = real(*args, **kwargs)
            return await answer if asyncio.iscoroutine(answer) else answer

        self.scheduler.handlers[what] = late

    def fails(self, what: str) -> None:
        """An op that answers with an error."""

        def error() -> None:
            self.called.append(what)
            raise RuntimeError("it went wrong")

        self.scheduler.handlers[what] = error

    def calls(self, what: str) -> int:
        """How often a slow or failing op was called."""
        return self.called.count(what)

    def hang_up(self) -> None:
        """End every connection that asks something and is no worker's or client's, but for the scene's own."""
        for comm in list(self.scheduler._comms):
            if self.scheduler._comms[comm] is None:
                comm.abort()

    def forget(self, key: str) -> None:
        """Nobody wants it any more."""
        del self.futures[key]

    def status(self, worker: str, status: str) -> None:
        """What the scheduler takes a worker's status for."""
        self.scheduler.handle_worker_status_change(status, worker, "scene")

    async def more(self, count: int, name: str = "more") -> None:
        """So many workers more."""
        numbers = range(len(self.workers), len(self.workers) + count)
        new = [Worker(self.scheduler.address, name=f"{name}-{number}", nthreads=1) for number in numbers]
        self.workers += await asyncio.gather(*new)

    def state(self) -> dict[str, Any]:
        """What the scheduler thinks."""
        return {
            "suspicious": sum(task.suspicious for task in self.scheduler.tasks.values()),
            "data": {address: len(worker.has_what) for address, worker in self.scheduler.workers.items()},
            "status": {address: worker.status.name for address, worker in self.scheduler.workers.items()},
        }

    def logs(self) -> list[str]:
        """The scheduler's log, of all scenes."""
        return [line for _, line in self.scheduler.get_logs()]


async def run_scheduler() -> None:
    """A scheduler, until the standard input ends."""
    async with AsyncExitStack() as stack:
        scheduler = await stack.enter_async_context(Scheduler(host="127.0.0.1", port=0, dashboard=False))
        client = await stack.enter_async_context(Client(scheduler.address, asynchronous=True))
        scene = Scene(scheduler, client)
        for op in (
            "begin",
            "scatter",
            "gather",
            "submit",
            "actor",
            "unmovable",
            "load",
            "hold",
            "target",
            "hang_up",
            "slow",
            "fails",
            "calls",
            "forget",
            "status",
            "more",
            "state",
            "logs",
        ):
            scheduler.handlers[f"scene-{op}"] = getattr(scene, op)
        sys.stdout.write(f"{scheduler.address}\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        os._exit(0)  # a test that was killed leaves tasks that run and workers that are gone: nothing waits for them


async def run_worker(address: str, name: str) -> None:
    """One worker, until it closes."""
    async with Worker(address, name=name, nthreads=1) as worker:
        await worker.finished()


if __name__ == "__main__":
    # Steals would move what a test puts on a worker.
    dask.config.set({"distributed.scheduler.work-stealing": False, "distributed.scheduler.worker-saturation": "inf"})
    kind, *rest = sys.argv[1:]
    asyncio.run(run_scheduler() if kind == "scheduler" else run_worker(*rest))
