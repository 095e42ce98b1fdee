"""What there is to be seen of an operator at work: its parts, for whoever reads numbers from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from dask_k8s.kinds.value import value
from dask_k8s.kube.client import Client
from dask_k8s.kube.informer import Informer
from dask_k8s.operator.caches import Caches
from dask_k8s.operator.deeds import Deeds
from dask_k8s.operator.drains import Drains
from dask_k8s.operator.engine.election import Fence
from dask_k8s.operator.engine.expectations import Expectations
from dask_k8s.operator.engine.loop import Loop
from dask_k8s.operator.engine.queue import Queue
from dask_k8s.operator.engine.recorder import Recorder
from dask_k8s.operator.refusals import Refusals


@value
class Insight:
    """The parts of an operator that count what they do. Nothing here is counted for anybody's sake: it is read."""

    clients: frozenset[Client]
    caches: Caches
    queue: Queue
    loop: Loop
    expectations: Expectations
    refusals: Refusals
    deeds: Deeds
    drains: Drains
    recorder: Recorder
    fence: Fence

    def answers(self) -> Mapping[tuple[str, ...], int]:
        """What the API server was asked, by verb and code; the Lease may have a client of its own."""
        return sum((Counter(client.answers) for client in self.clients), Counter())

    def informers(self) -> Iterator[Informer]:
        """Those that follow something: what an operator does without where it may not look is none of them."""
        for cache in self.caches.all():
            yield from cache.informers()
        for cache in self.caches.optional():
            yield from (informer for informer in cache.informers() if informer.synced.is_set())
