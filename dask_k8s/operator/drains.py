"""The drains of one operator: begun by plans, each held until its Pod is gone or it may be tried again.

A plan never waits for a drain: its key is woken when there is news.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime

from dask_k8s import names
from dask_k8s.errors import LeadershipLost, SchedulerError
from dask_k8s.kinds.value import Manifest, Ref
from dask_k8s.kube.about import about_object
from dask_k8s.kube.slots import Slots
from dask_k8s.operator.actions import Retire
from dask_k8s.operator.caches import Caches
from dask_k8s.operator.draining import ClusterDrains, Draining
from dask_k8s.operator.engine.background import Background
from dask_k8s.operator.engine.queue import Key
from dask_k8s.operator.members import Housing, housed, order_of
from dask_k8s.operator.observed import Drain, Drained
from dask_k8s.operator.pods import restart_count
from dask_k8s.operator.reach import Reaches, pause
from dask_k8s.operator.stranded import Stranded
from dask_k8s.scheduler import drain
from dask_k8s.scheduler.lines import Lines
from dask_k8s.scheduler.retirement import DEAF, Moving
from dask_k8s.scheduler.rpc import SchedulerRpc
from dask_k8s.scheduler.wire import reason
from dask_k8s.settings import Timing

logger = logging.getLogger(__name__)

PARALLEL = 16
"""Drains of one cluster at a time; what is marked meanwhile is drained together after that."""

MOST = 512
"""Batches of drains of one operator at a time."""

SHARE = 128
"""Drains of one namespace at a time: those that stand still for long in some leave others their places."""

MOMENT = 1.0
"""Seconds after which a drain that waits for its turn is told to wait."""

DOUBLINGS = 5
"""How often the time is doubled until a drain is tried again that was refused though there was room: what has an actor
may hold it for days."""

AGAIN = 30.0
"""Seconds after which a refusal is over that nobody has tried again."""

UNCLEAR = (
    "There are workers of which nobody can tell whose they are, and its own may be one of them: start those of its "
    "group with --name $(DASK_WORKER_NAME), and not within a shell's text."
)


class Drains:
    """All drains of one operator, over a few connections for each cluster: no call waits for one that moves data.

    Parameters
    ----------
    wake
        Called with the key for which there is news.
    permit
        Asked before a scheduler is told that workers retire; raises where somebody else may serve by now.

    Attributes
    ----------
    ended
        How many drains have ended, by what became of the worker.
    """

    def __init__(
        self,
        caches: Caches,
        reach: Reaches,
        wake: Callable[[Key], None],
        timing: Timing,
        *,
        permit: Callable[[], object],
    ) -> None:
        self._permit = permit
        self._timing = timing
        self._reach = reach
        self._wake = wake
        self._caches = caches
        self._clusters: dict[str, ClusterDrains] = {}
        self._drains: dict[str, Draining] = {}
        self._refusals: dict[str, int] = defaultdict(int)
        self._refused: dict[str, Draining] = {}
        self._background = Background()
        self._places = Slots(MOST, share=SHARE)
        self._stranded = Stranded(self._background, self._places, wake, every=timing.refused_drain)
        self.ended: Counter[Drain] = Counter()
        caches.pods.on(self._on_pod)
        caches.clusters.on(self._on_cluster)
        caches.groups.on(self._on_group)

    async def run(self) -> None:
        """Hold drains until it is cancelled; what was begun is forgotten then, and marks are in the API."""
        try:
            await self._background.hold()
        finally:
            self._stranded.clear()
            for each in (self._clusters, self._drains, self._refusals, self._refused):
                each.clear()

    def begin(self, key: Key, retire: Retire) -> frozenset[Ref]:
        """Begin to drain workers, none of them twice at a time; return those whose drain has begun.

        The others are told whether any worker is to stay.
        """
        of, begun = retire.cluster, set[Ref]()
        there = self._caches.clusters.get(of.namespace, of.name)
        if not self._background.held or there is None or there["metadata"]["uid"] != of.uid:
            return frozenset()
        cluster = self._cluster(of)
        for pod in retire.workers:
            uid = pod.uid or ""
            last = self.of(pod)
            before = self.refused(pod) if last is None else last
            final = (before.final if before else None) or datetime.now(UTC) if retire.final else None
            anew = last is not None and last.state is Drain.REFUSED and (retire.final or last.final is None)
            if last is not None and not anew:
                self._tell(self._drains[uid], replace(last, final=final))
            elif uid:
                begun.add(pod)
                self._refused.pop(uid, None)
                cluster.pods.add(uid)
                told = Drained(state=Drain.UNDER_WAY, final=final)
                self._queue(
                    cluster,
                    Draining(
                        cluster=of.uid or "",
                        pod=pod,
                        key=key,
                        timeout=retire.timeout,
                        restarts=self._restarts(pod),
                        told=told,
                        before=before,
                    ),
                )
        self._start(cluster)
        return frozenset(begun)

    def _queue(self, cluster: ClusterDrains, queued: Draining) -> None:
        self._drains[queued.pod.uid or ""] = queued
        cluster.waiting.append(queued)
        asyncio.get_running_loop().call_later(MOMENT, self._waits, cluster, queued)

    def _start(self, cluster: ClusterDrains) -> None:
        if cluster.waiting and len(cluster.tasks) < PARALLEL:
            task = self._background.begin(self._work(cluster))
            cluster.tasks.add(task)
            task.add_done_callback(cluster.tasks.discard)

    def _cluster(self, ref: Ref) -> ClusterDrains:
        found = self._clusters.get(ref.uid or "")
        if found is None:
            lines = Lines(lambda: self._reach.connect(ref))
            found = self._clusters[ref.uid or ""] = ClusterDrains(ref=ref, lines=lines)
        return found

    def give_up(self, cluster: Ref, pod: Ref) -> None:
        """Let a scheduler forget the workers of a Pod that was deleted with what it holds; return at once."""
        found = self._clusters.get(cluster.uid or "")
        if found is not None and self._background.held:
            found.given_up.append(pod.uid or "")
            if found.forgetting is None or found.forgetting.done():
                found.forgetting = self._background.begin(self._forgotten(found))

    async def _forgotten(self, cluster: ClusterDrains) -> None:
        """Once: a scheduler that does not hear it finds out by itself, and suspects what ran there."""
        while cluster.given_up:
            uids, cluster.given_up = cluster.given_up, []  # all that have come while it was asked about others
            with contextlib.suppress(SchedulerError, LeadershipLost):
                async with self._places, cluster.lines.used():
                    there = await self._housing(cluster.ref, SchedulerRpc(cluster.lines.questions))
                    rpc = SchedulerRpc(cluster.lines.beside, permit=self._permit)
                    for member in (each for uid in uids for each in there.members.get(uid, ())):
                        await rpc.forget(member.address)

    def of(self, pod: Ref) -> Drained | None:
        """What became of a worker's drain; nothing where that is no longer so."""
        found = self._drains.get(pod.uid or "")
        return found.told if found is not None and found.holds(self._restarts(pod), time.monotonic()) else None

    def refused(self, pod: Ref) -> Drained | None:
        """What a worker's drain was refused for that is tried again just now, or in a moment."""
        uid = pod.uid or ""
        if (found := self._drains.get(uid)) is not None:
            return found.before
        last = self._refused.get(uid)
        return last.told if last is not None and time.monotonic() - last.since <= AGAIN else None

    def states(self) -> Counter[Drain]:
        """How many drains of Pods that are there stand where."""
        return Counter(each.told.state for each in self._drains.values())

    def stranded(self, key: Key) -> tuple[str, ...]:
        """Tasks that may run on workers alone that have left a group."""
        return self._stranded.of(key)

    async def _work(self, cluster: ClusterDrains) -> None:
        """Drain what waits, and what comes to wait meanwhile."""
        while cluster.waiting:
            first = cluster.waiting[0]
            together = first.key, first.timeout
            batch = [each for each in cluster.waiting if (each.key, each.timeout) == together]
            cluster.waiting = [each for each in cluster.waiting if (each.key, each.timeout) != together]
            await self._drained(cluster, batch)

    async def _drained(self, cluster: ClusterDrains, batch: list[Draining]) -> None:
        """Drain workers that were chosen together, however often that needs to be begun."""
        failures = 0
        while rest := [each for each in batch if self._goes_on(each)]:
            for each in rest:
                each.placed = each.begun = False
            try:
                async with self._places:
                    await self._drain(cluster, rest)
            except SchedulerError as error:
                level = logging.INFO if failures == 0 else logging.DEBUG
                of = cluster.ref
                extra = about_object(of)
                logger.log(level, "A drain in %s/%s is begun again: %s", of.namespace, of.name, error, extra=extra)
                for each in filter(self._goes_on, rest):
                    self._tell(each, replace(each.told, silent=each.silence(reason(error)), waits=False))
            except LeadershipLost:
                pass  # that is for its keeper to say, who ends this then; or the next renewal is there
            else:
                continue
            await asyncio.sleep(pause(failures, self._timing.silence))
            failures += 1

    async def _drain(self, cluster: ClusterDrains, batch: list[Draining]) -> None:
        """In one call to the scheduler, which then moves data only once; moving gigabytes takes as long as it takes."""
        timeout = max(each.time_left() for each in batch)
        by_uid = {each.pod.uid or "": each for each in batch}
        async with cluster.lines.used():
            rpc = SchedulerRpc(cluster.lines.questions)
            housing = await self._housing(cluster.ref, rpc)
            for each in by_uid.values():
                each.placed = True
            for uid in housing.unclear & by_uid.keys():
                self._ended(by_uid.pop(uid), Drained(state=Drain.REFUSED, why=UNCLEAR))
            # At once, and not when the others are done: they may join at any moment, and be given data.
            for uid in by_uid.keys() - housing.members.keys():
                self._ended(by_uid.pop(uid), Drained(state=Drain.ABSENT))
            leaving = {uid: frozenset(member.address for member in housing.members[uid]) for uid in by_uid}

            def moving(at: Moving) -> None:
                for uid, each in by_uid.items():
                    if leaving[uid] & at.workers:
                        self._moving(each, leaving[uid], at)

            @asynccontextmanager
            async def own() -> AsyncIterator[SchedulerRpc]:
                async with cluster.lines.own() as line:
                    self._at_rest(by_uid.values())
                    yield SchedulerRpc(line, permit=self._permit)
                self._at_rest(by_uid.values())

            def beside() -> AbstractAsyncContextManager[SchedulerRpc]:
                return nullcontext(SchedulerRpc(cluster.lines.beside, permit=self._permit))

            drainage = drain.Drainage(rpc, own, beside, moving)
            async with aclosing(drainage.drain(leaving, timeout)) as results:
                async for result in results:
                    left = await self._patiently_housing(cluster.ref, rpc)
                    tasks, drainage.stranded = drainage.stranded, frozenset()
                    self._stranded.add(cluster.ref, cluster.lines, batch[0].key, tasks)
                    for uid, drained in result.items():
                        each = by_uid.pop(uid)
                        if drained.refused is not None or uid not in left.members:
                            self._ended(each, _told(drained))
                        elif self._goes_on(each):  # another worker of the Pod has joined meanwhile
                            self._queue(cluster, each.anew(self._restarts(each.pod)))
                    self._start(cluster)

    async def _patiently_housing(self, cluster: Ref, rpc: SchedulerRpc) -> Housing:
        """A move may go on for others: it is not given up for one question that was not answered."""
        until = time.monotonic() + DEAF
        while True:
            try:
                return await self._housing(cluster, rpc)
            except SchedulerError:
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(MOMENT)

    async def _housing(self, cluster: Ref, rpc: SchedulerRpc) -> Housing:
        pods = self._caches.pods_of(cluster)
        return housed(await order_of(rpc, pods), pods, datetime.now(UTC))

    def _at_rest(self, batch: Iterable[Draining]) -> None:
        """Their scheduler has just answered, and their data does not move yet, or no more: it does not stand still."""
        for each in batch:
            each.asked()
            if each.told.state is Drain.UNDER_WAY:
                self._tell(each, replace(each.told, left=None, silent=None, moved=None, waits=False))

    def _waits(self, cluster: ClusterDrains, each: Draining) -> None:
        """Tell that it waits for its turn, if that is what it waits for: a scheduler may be slow as well."""
        if not self._goes_on(each):
            return
        if not each.begun:
            before = self._places.is_full() or len(cluster.tasks) >= PARALLEL
            if each.placed and cluster.lines.busy:  # its scheduler has just answered
                each.unheard = None
                self._tell(each, replace(each.told, waits=True, silent=None))
            else:
                self._tell(each, replace(each.told, waits=before and not each.placed and not each.told.silent))
        asyncio.get_running_loop().call_later(MOMENT, self._waits, cluster, each)

    def _moving(self, each: Draining, workers: frozenset[str], at: Moving) -> None:
        if each.told.state is Drain.UNDER_WAY:
            sizes = [at.left[worker] for worker in workers if worker in at.left]
            left = sum(sizes) if len(sizes) == len(workers) else None
            when = datetime.now(UTC) if at.further or (at.begun and each.told.moved is None) else each.told.moved
            each.before = None
            silent = each.silence(at.silent) if at.silent else None
            if silent is None:
                each.unheard = None
            self._tell(each, replace(each.told, left=left, silent=silent, moved=when, waits=False))

    def _ended(self, each: Draining, told: Drained) -> None:
        uid = each.pod.uid or ""
        each.since, each.before = time.monotonic(), None
        self.ended[told.state] += 1
        if told.state in (Drain.REFUSED, Drain.STUCK) and uid in self._drains:
            pause = self._timing.refused_drain
            if told.why == drain.UNMOVABLE and told.state is Drain.REFUSED:
                pause *= 1 << min(self._refusals[uid], DOUBLINGS)
                self._refusals[uid] += 1
            asyncio.get_running_loop().call_later(pause, self._forget, each)
        self._tell(each, replace(told, ended=datetime.now(UTC), final=each.told.final))

    def _tell(self, each: Draining, told: Drained) -> None:
        if told != each.told:
            each.told = told
            self._wake(each.key)

    def _forget(self, refused: Draining) -> None:
        """A refused drain may be tried again."""
        if self._drains.get(refused.pod.uid or "") is refused and not self._goes_on(refused):
            refused.since = time.monotonic()
            self._refused[refused.pod.uid or ""] = self._drains.pop(refused.pod.uid or "")
            self._wake(refused.key)

    def _goes_on(self, each: Draining) -> bool:
        return each.told.state is Drain.UNDER_WAY and self._drains.get(each.pod.uid or "") is each

    def _restarts(self, pod: Ref) -> int:
        found = self._caches.pods.get(pod.namespace, pod.name)
        return 0 if found is None else restart_count(found)

    def _on_pod(self, old: Manifest | None, new: Manifest | None) -> None:
        if new is None and old is not None:
            drained = self._drains.pop(old["metadata"]["uid"], None)
            if drained is not None and (cluster := self._clusters.get(drained.cluster)):
                cluster.pods.discard(old["metadata"]["uid"])
            self._refusals.pop(old["metadata"]["uid"], None)
            self._refused.pop(old["metadata"]["uid"], None)

    def _on_cluster(self, old: Manifest | None, new: Manifest | None) -> None:
        if new is None and old is not None:
            cluster = self._clusters.pop(old["metadata"]["uid"], None)
            if cluster is not None:
                self._end(cluster)

    def _on_group(self, old: Manifest | None, new: Manifest | None) -> None:
        if new is None and old is not None:
            key = Key(names.WORKER_GROUP, old["metadata"]["namespace"], old["metadata"]["name"])
            self._stranded.forget(key)

    def _end(self, cluster: ClusterDrains) -> None:
        self._stranded.forget_cluster(cluster.ref)
        for task in cluster.tasks:
            task.cancel()
        for uid in cluster.pods:
            self._drains.pop(uid, None)


def _told(drained: drain.Outcome) -> Drained:
    if drained.refused is None:
        return Drained(state=Drain.EMPTY)
    return Drained(state=Drain.STUCK if drained.stuck else Drain.REFUSED, why=drained.refused)
