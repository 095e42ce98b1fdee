"""The operator: informers and a queue around pure plans. It imports neither kopf nor distributed.

::

    async with Client(await credentials.load()) as client:
        async with Operator(client, Scope(namespaces=("default",)), election, max_workers=100, timing=Timing()):
            ...
"""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import time
from collections.abc import Mapping
from types import TracebackType

from dask_k8s.errors import ApiError, LeadershipLost, NoCredentials, Unreachable
from dask_k8s.kube.about import about
from dask_k8s.kube.client import Client
from dask_k8s.kube.informer import Informer
from dask_k8s.names import DEPLOYED, REPORTING_CONTROLLER
from dask_k8s.operator.act import Hands
from dask_k8s.operator.caches import Cache, Caches, Scope
from dask_k8s.operator.controllers import Controllers
from dask_k8s.operator.deeds import Deeds
from dask_k8s.operator.drains import Drains
from dask_k8s.operator.engine.election import Election
from dask_k8s.operator.engine.expectations import Expectations
from dask_k8s.operator.engine.loop import Loop
from dask_k8s.operator.engine.queue import Queue
from dask_k8s.operator.engine.recorder import Recorder
from dask_k8s.operator.insight import Insight
from dask_k8s.operator.observe import Observer
from dask_k8s.operator.reach import Reach
from dask_k8s.operator.reconcile import Reconciler
from dask_k8s.operator.refusals import Refusals
from dask_k8s.operator.schedulers import Schedulers
from dask_k8s.settings import Timing

__all__ = ["Operator", "Scope"]

logger = logging.getLogger(__name__)

FINISH = 1.0
"""Seconds at the end for the writes that are under way: they take milliseconds where the API server is well."""

CHECK = 5.0
"""Seconds between two looks at expectations that grow old."""


class Operator:
    """Serves the Dask resources of a scope while it is entered, and while its Lease is held.

    Parameters
    ----------
    client
        An open client of the API server.
    scope
        What is served.
    election
        The candidate for the Lease without which nothing is written.
    me
        ``deployed``, or the id of an embedded operator.
    inside
        Whether this process stands in the cluster network.
    max_workers
        The most that an autoscaler may ask for, whatever a scheduler says.
    timing
        How long it waits for what.
    """

    def __init__(
        self,
        client: Client,
        scope: Scope,
        election: Election,
        *,
        me: str = DEPLOYED,
        inside: bool = False,
        max_workers: int,
        timing: Timing,
    ) -> None:
        self._resync_every = timing.resync
        self._election = election
        self._queue = Queue()
        self._queue.close()
        self._expectations = Expectations()
        guarded = client.guarded(election.fence.time_for_a_write)
        self._recorder = Recorder(
            guarded,
            controller=REPORTING_CONTROLLER,
            instance=socket.gethostname(),
            limit=election.fence.time_for_a_write,
        )
        self.caches = Caches(client, scope, relist=timing.relist)
        reach = Reach(client, self.caches, inside=inside)
        self._schedulers = Schedulers(self.caches, reach, self._queue.add, timing)
        self._drains = Drains(self.caches, reach, self._queue.add, timing, permit=election.fence.check)
        refusals, deeds = Refusals(), Deeds()
        observer = Observer(self.caches, self._expectations, refusals, self._schedulers, self._drains)
        self._controllers = Controllers(
            self.caches, self._queue, self._expectations, observer, me=me, max_workers=max_workers, timing=timing
        )
        hands = Hands(
            guarded,
            fence=election.fence,
            expectations=self._expectations,
            refusals=refusals,
            drains=self._drains,
            deeds=deeds,
            progressed=lambda key: self.loop.progressed(key),
        )
        reconciler = Reconciler(
            controllers=self._controllers,
            hands=hands,
            schedulers=self._schedulers,
            recorder=self._recorder,
            queue=self._queue,
            expectations=self._expectations,
            refusals=refusals,
            deeds=deeds,
        )
        self.loop = Loop(self._queue, reconciler)
        for cache in self.caches.all():
            cache.on_recovery(self._queue.hurry)
        self.serving = asyncio.Event()
        self._attempted = asyncio.Event()
        self._has_finished = True
        self.insight = Insight(
            clients=frozenset({client, election.client}),
            caches=self.caches,
            queue=self._queue,
            loop=self.loop,
            expectations=self._expectations,
            refusals=refusals,
            deeds=deeds,
            drains=self._drains,
            recorder=self._recorder,
            fence=election.fence,
        )
        self._group = asyncio.TaskGroup()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Operator:
        """Begin to serve in the background; a bug in it cancels the body of the ``async with``."""
        await self._group.__aenter__()
        self._task = self._group.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, give the Lease back, leave no task."""
        if self._task is not None:
            await self._finish()
            self._task.cancel()
        await self._group.__aexit__(kind, error, trace)

    async def _finish(self) -> None:
        """What is on its way to the API server arrives before another one may lead; nothing else begins."""
        self._election.fence.close()
        self._has_finished = await self.loop.close(within=FINISH)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for cache in self.caches.all():
                for informer in cache.informers():
                    group.create_task(self._follow(informer))
            for cache in self.caches.optional():
                for informer in cache.informers():
                    group.create_task(self._watch_where_allowed(cache, informer))
            group.create_task(self._recorder.run())
            group.create_task(self._lead())

    async def _follow(self, informer: Informer) -> None:
        """After the first attempt at the Lease: what is listed then need not be listed again before the first write."""
        await self._attempted.wait()
        await informer.run()

    async def _watch_where_allowed(self, cache: Cache, informer: Informer) -> None:
        """What it can do without: looked at as soon as it may be."""
        while not await self._allowed(cache, informer.namespace):
            await asyncio.sleep(self._resync_every)
        async with asyncio.TaskGroup() as group:
            group.create_task(informer.run())
            group.create_task(self._look_again_after(informer))

    async def _allowed(self, cache: Cache, namespace: str | None) -> bool:
        try:
            return await cache.allowed(namespace)
        except (ApiError, Unreachable, NoCredentials) as error:
            logger.debug(
                "Whether %s may be watched cannot be asked: %s", cache.resource, error, extra=about(cache.kind)
            )
            return False

    async def _look_again_after(self, informer: Informer) -> None:
        """What was planned without it may be planned otherwise with it."""
        await informer.synced.wait()
        self._add_all()

    async def _lead(self) -> None:
        """Serve while the Lease is held; without it, wait with warm caches."""
        try:
            held = await self._election.attempt()
            self._attempted.set()
            while True:
                if not held:
                    await self._election.acquire()
                try:
                    await self._serve(time.monotonic())
                except* LeadershipLost as lost:
                    logger.warning("No longer serving: %s", _first(lost), extra=self._election.about)
                finally:
                    self.serving.clear()
                    self._queue.close()
                    held = False
        finally:
            if self._has_finished:
                await self._election.release()
            self._election.fence.drop()  # else the Lease ends by itself: what is on its way may arrive before that

    async def _serve(self, since: float) -> None:
        """A namespace that cannot be listed, or is gone with its RoleBinding, keeps no other one waiting."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._election.keep())
            opened = [group.create_task(self._open(namespace, since)) for namespace in self.caches.namespaces]
            await asyncio.wait(opened, return_when=asyncio.FIRST_COMPLETED)
            self.serving.set()
            logger.info("Serving", extra=self._election.about)
            group.create_task(self._schedulers.run())
            group.create_task(self._drains.run())
            group.create_task(self.loop.run())
            group.create_task(self._resync())
            group.create_task(self._check_expectations())

    async def _open(self, namespace: str | None, since: float) -> None:
        """What another one wrote last is seen before the first write: all is listed since the Lease is held."""
        await self.caches.listed_since(since, namespace)
        self._expectations.listed_all(since, namespace)
        self._queue.open(namespace)
        self._add_all()

    def _add_all(self) -> None:
        for key in self._controllers.all_keys():
            self._queue.add(key)

    async def _resync(self) -> None:
        while True:
            await asyncio.sleep(self._resync_every)
            self._add_all()

    async def _check_expectations(self) -> None:
        """A write that no event has confirmed for long: a list decides, and not the passing of time."""
        confirming = dict[Informer, asyncio.Task[None]]()
        async with asyncio.TaskGroup() as group:
            while True:
                await asyncio.sleep(CHECK)
                for informer, since in self._unconfirmed().items():
                    if informer not in confirming or confirming[informer].done():
                        confirming[informer] = group.create_task(self._confirm(informer, since))

    def _unconfirmed(self) -> Mapping[Informer, float]:
        """Who has to list again, and since when."""
        caches = {cache.kind: cache for cache in (*self.caches.all(), *self.caches.optional())}
        found = dict[Informer, float]()
        for (kind, namespace), moment in self._expectations.old().items():
            if (informer := caches[kind].of(namespace)) is not None:
                found[informer] = max(math.nextafter(moment, math.inf), found.get(informer, moment))
        return found

    async def _confirm(self, informer: Informer, since: float) -> None:
        """However long that takes: one that cannot list holds up no other."""
        await informer.listed_since(since)
        self._expectations.listed(informer.resource.kind, since, informer.namespace)
        self._add_all()


def _first(group: BaseExceptionGroup[LeadershipLost]) -> BaseException:
    """What was raised, without the wrappings of the task groups that it left."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
