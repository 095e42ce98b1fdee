"""The drains of one operator: begun by plans, each held until its Pod is gone or it may be tried again.

A plan never waits for a drain: its key is woken when there is news.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from dask_k8s import names
from dask_k8s.errors import LeadershipLost, SchedulerError
from dask_k8s.kinds.value import Manifest, Ref
from dask_k8s.kube.about import about_object
from dask_k8s.operator.actions import Retire
from dask_k8s.operator.caches import Caches
from dask_k8s.operator.engine.background import Background
from dask_k8s.operator.engine.queue import Key
from dask_k8s.operator.members import Housing, housed, order_of
from dask_k8s.operator.observed import Drain, Drained
from dask_k8s.operator.pods import restart_count
from dask_k8s.operator.reach import Reaches, pause
from dask_k8s.scheduler import drain
from dask_k8s.scheduler.connection import plain
from dask_k8s.scheduler.facts import Key as Task
from dask_k8s.scheduler.lines import Lines
from dask_k8s.scheduler.rpc import SchedulerRpc
from dask_k8s.scheduler.wire import reason
from dask_k8s.settings import Timing

logger = logging.getLogger(__name__)

PARALLEL = 16
"""Drains of one cluster at a time; what is marked meanwhile is drained together after that."""

MOST = 512
"""Drains of one operator at a time, with at most one connection each, and one for each cluster that has some."""

DOUBLINGS = 5
"""How often the time is doubled until a drain is tried again that was refused though there was room: what has an actor
may hold it for days."""

ABSENCE = 2.0
"""Seconds after which it has to be asked again whether a worker has joined."""

AGAIN = 30.0
"""Seconds after which a refusal is over that nobody has tried again."""

UNCLEAR = (
    "There are workers of which nobody can tell whose they are, and its own may be one of them: start those of its "
    "group with --name $(DASK_WORKER_NAME), and not within a shell's text."
)


@dataclass(slots=True)
class _Drain:
    """The drain of one worker's Pod.

    Parameters
    ----------
    restarts
        How often its containers had been started again when it began.
    since
        When it was told what became of it.
    before
        What its last drain was refused for, until this one gets further.
    """

    cluster: str
    pod: Ref
    key: Key
    until: datetime
    restarts: int
    told: Drained
    since: float = 0.0
    before: Drained | None = None

    def holds(self, restarts: int, now: float) -> bool:
        """Whether what became of it is still so: a container that was started again is another worker."""
        match self.told.state:
            case Drain.EMPTY:
                return restarts == self.restarts
            case Drain.ABSENT:
                return now - self.since <= ABSENCE
            case _:
                return True


@dataclass(slots=True)
class _Cluster:
    """What is drained in one cluster."""

    ref: Ref
    lines: Lines
    pods: set[str] = field(default_factory=set)
    waiting: list[_Drain] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    stranded: set[Key] = field(default_factory=set)
    watching: asyncio.Task[None] | None = None


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
        self._clusters: dict[str, _Cluster] = {}
        self._drains: dict[str, _Drain] = {}
        self._refusals: dict[str, int] = defaultdict(int)
        self._refused: dict[str, _Drain] = {}
        self._stranded: dict[Key, frozenset[Task]] = {}
        self._background = Background()
        self._places = asyncio.Semaphore(MOST)
        self.ended: Counter[Drain] = Counter()
        caches.pods.on(self._on_pod)
        caches.clusters.on(self._on_cluster)
        caches.groups.on(self._on_group)

    async def run(self) -> None:
        """Hold drains until it is cancelled; what was begun is forgotten then, and marks are in the API."""
        try:
            await self._background.hold()
        finally:
            for each in (self._clusters, self._drains, self._refusals, self._refused, self._stranded):
                each.clear()

    def begin(self, key: Key, retire: Retire) -> None:
        """Begin to drain workers; none of them twice at a time."""
        of = retire.cluster
        there = self._caches.clusters.get(of.namespace, of.name)
        if not self._background.held or there is None or there["metadata"]["uid"] != of.uid:
            return
        cluster = self._cluster(of)
        for pod in retire.workers:
            uid = pod.uid or ""
            if uid and self.of(pod) is None:
                begun = _Drain(
                    cluster=retire.cluster.uid or "",
                    pod=pod,
                    key=key,
                    until=retire.until,
                    restarts=self._restarts(pod),
                    told=Drained(state=Drain.UNDER_WAY),
                    before=self.refused(pod),
                )
                self._refused.pop(uid, None)
                self._drains[uid] = begun
                cluster.pods.add(uid)
                cluster.waiting.append(begun)
        if cluster.waiting and len(cluster.tasks) < PARALLEL:
            task = self._background.begin(self._work(cluster))
            cluster.tasks.add(task)
            task.add_done_callback(cluster.tasks.discard)

    def _cluster(self, ref: Ref) -> _Cluster:
        found = self._clusters.get(ref.uid or "")
        if found is None:
            lines = Lines(lambda: self._reach.connect(ref))
            found = self._clusters[ref.uid or ""] = _Cluster(ref=ref, lines=lines)
        return found

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
        return tuple(sorted(plain(str(task)) for task in self._stranded.get(key, ())))

    async def _work(self, cluster: _Cluster) -> None:
        """Drain what waits, and what comes to wait meanwhile."""
        while cluster.waiting:
            first = cluster.waiting[0]
            batch = [each for each in cluster.waiting if (each.key, each.until) == (first.key, first.until)]
            cluster.waiting = [each for each in cluster.waiting if (each.key, each.until) != (first.key, first.until)]
            await self._drained(cluster, batch)

    async def _drained(self, cluster: _Cluster, batch: list[_Drain]) -> None:
        """Drain workers that were chosen together, however often that needs to be begun."""
        failures = 0
        while rest := [each for each in batch if self._goes_on(each)]:
            try:
                async with self._places:
                    await self._drain(cluster, rest)
            except SchedulerError as error:
                level = logging.INFO if failures == 0 else logging.DEBUG
                of = cluster.ref
                extra = about_object(of)
                logger.log(level, "A drain in %s/%s is begun again: %s", of.namespace, of.name, error, extra=extra)
                for each in filter(self._goes_on, rest):
                    self._tell(each, replace(each.told, silent=reason(error)))
            except LeadershipLost:
                pass  # that is for its keeper to say, who ends this then; or the next renewal is there
            else:
                continue
            await asyncio.sleep(pause(failures, self._timing.silence))
            failures += 1

    async def _drain(self, cluster: _Cluster, batch: list[_Drain]) -> None:
        """In one call to the scheduler, which then moves data only once; moving gigabytes takes as long as it takes."""
        timeout = max(0.0, (batch[0].until - datetime.now(UTC)).total_seconds())
        by_uid = {each.pod.uid or "": each for each in batch}
        async with cluster.lines.used():
            rpc = SchedulerRpc(cluster.lines.questions)
            housing = await self._housing(cluster.ref, rpc)
            for uid in housing.unclear & by_uid.keys():
                self._ended(by_uid.pop(uid), Drained(state=Drain.REFUSED, why=UNCLEAR))
            # At once, and not when the others are done: they may join at any moment, and be given data.
            for uid in by_uid.keys() - housing.members.keys():
                self._ended(by_uid.pop(uid), Drained(state=Drain.ABSENT))
            leaving = {uid: frozenset(member.address for member in housing.members[uid]) for uid in by_uid}

            def moving(at: drain.Moving) -> None:
                for uid, each in by_uid.items():
                    self._moving(each, leaving[uid], at)

            @asynccontextmanager
            async def own() -> AsyncIterator[SchedulerRpc]:
                async with cluster.lines.own() as line:
                    for each in by_uid.values():
                        self._begins(each)
                    yield SchedulerRpc(line, permit=self._permit)

            drainage = drain.Drainage(rpc, own, moving)
            async with aclosing(drainage.drain(leaving, timeout)) as results:
                async for result in results:
                    left = await self._housing(cluster.ref, rpc)
                    self._strand(cluster, batch[0].key, drainage.stranded)
                    for uid, drained in result.items():
                        # Another worker of the Pod may have joined meanwhile: then it is drained once more.
                        if drained.refused is not None or uid not in left.members:
                            self._ended(by_uid[uid], _told(drained))

    async def _housing(self, cluster: Ref, rpc: SchedulerRpc) -> Housing:
        pods = self._caches.pods_of(cluster)
        return housed(await order_of(rpc, pods), pods)

    def _strand(self, cluster: _Cluster, key: Key, tasks: frozenset[Task]) -> None:
        """Tasks were left without a worker: they are looked at until they have one, or are gone."""
        if not tasks or not self._background.held:
            return
        self._stranded[key] = self._stranded.get(key, frozenset()) | tasks
        cluster.stranded.add(key)
        if cluster.watching is None or cluster.watching.done():
            cluster.watching = self._background.begin(self._watch_stranded(cluster))

    async def _watch_stranded(self, cluster: _Cluster) -> None:
        while cluster.stranded:
            await asyncio.sleep(self._timing.refused_drain)
            with contextlib.suppress(SchedulerError):
                async with self._places, cluster.lines.used():
                    for key in tuple(cluster.stranded):
                        await self._look_at_stranded(cluster, key, SchedulerRpc(cluster.lines.questions))

    async def _look_at_stranded(self, cluster: _Cluster, key: Key, rpc: SchedulerRpc) -> None:
        before = self._stranded.get(key, frozenset())
        still = await rpc.stranded(before)
        # Others may have come while the answer was on its way.
        self._stranded[key] = still | (self._stranded.get(key, frozenset()) - before)
        if not self._stranded[key]:
            del self._stranded[key]
            cluster.stranded.discard(key)
        if still != before:
            self._wake(key)

    def _begins(self, each: _Drain) -> None:
        """Until Dask begins with it, nobody may say that its data stands still: not of what others do before it."""
        if each.told.state is Drain.UNDER_WAY:
            self._tell(each, replace(each.told, moved=None))

    def _moving(self, each: _Drain, workers: frozenset[str], at: drain.Moving) -> None:
        if each.told.state is Drain.UNDER_WAY:
            sizes = [at.left[worker] for worker in workers if worker in at.left]
            left = sum(sizes) if len(sizes) == len(workers) else None
            when = datetime.now(UTC) if at.further or (at.begun and each.told.moved is None) else each.told.moved
            each.before = None
            self._tell(each, Drained(state=Drain.UNDER_WAY, left=left, silent=at.silent, moved=when))

    def _ended(self, each: _Drain, told: Drained) -> None:
        uid = each.pod.uid or ""
        each.since, each.before = time.monotonic(), None
        self.ended[told.state] += 1
        if told.state in (Drain.REFUSED, Drain.STUCK) and uid in self._drains:
            pause = self._timing.refused_drain
            if told.why == drain.UNMOVABLE and told.state is Drain.REFUSED:
                pause *= 1 << min(self._refusals[uid], DOUBLINGS)
                self._refusals[uid] += 1
            asyncio.get_running_loop().call_later(pause, self._forget, each)
        self._tell(each, told)

    def _tell(self, each: _Drain, told: Drained) -> None:
        if told != each.told:
            each.told = told
            self._wake(each.key)

    def _forget(self, refused: _Drain) -> None:
        """A refused drain may be tried again."""
        if self._drains.get(refused.pod.uid or "") is refused and not self._goes_on(refused):
            refused.since = time.monotonic()
            self._refused[refused.pod.uid or ""] = self._drains.pop(refused.pod.uid or "")
            self._wake(refused.key)

    def _goes_on(self, each: _Drain) -> bool:
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
            self._stranded.pop(key, None)
            for cluster in self._clusters.values():
                cluster.stranded.discard(key)

    def _end(self, cluster: _Cluster) -> None:
        for task in (*cluster.tasks, *([cluster.watching] if cluster.watching else [])):
            task.cancel()
        for key in cluster.stranded:
            self._stranded.pop(key, None)
        for uid in cluster.pods:
            self._drains.pop(uid, None)


def _told(drained: drain.Outcome) -> Drained:
    if drained.refused is None:
        return Drained(state=Drain.EMPTY, moved=datetime.now(UTC))
    return Drained(state=Drain.STUCK if drained.stuck else Drain.REFUSED, why=drained.refused)
