"""What is counted, and how Prometheus reads it.

Each part of the operator counts for itself, in plain numbers; they are read when somebody asks. So an operator whose
metrics nobody reads pays next to nothing for them, and an embedded one does not even load the library.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from importlib.metadata import version

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from dask_k8s.kinds.value import value
from dask_k8s.kube.informer import Informer
from dask_k8s.operator.engine.histogram import Histogram
from dask_k8s.operator.insight import Insight
from dask_k8s.operator.observed import Drain

PREFIX = "dask_operator_"

Labels = tuple[str, ...]
Numbers = Mapping[Labels, float]
Durations = Mapping[Labels, Histogram]


class Type(StrEnum):
    """What Prometheus calls it."""

    COUNTER = "counter"
    GAUGE = "gauge"


@value
class Number:
    """One metric whose samples are numbers.

    Parameters
    ----------
    name
        Without the prefix; a counter's ends in ``_total``.
    help
        One sentence, without a full stop at its end.
    read
        Its samples now, by the values of their labels.
    """

    name: str
    type: Type
    help: str
    read: Callable[[Insight], Numbers]
    labels: Labels = ()

    def family(self, insight: Insight) -> Family:
        """As it is now."""
        kind = CounterMetricFamily if self.type is Type.COUNTER else GaugeMetricFamily
        family = kind(PREFIX + self.name, self.help, labels=self.labels)
        for labels, number in self.read(insight).items():
            family.add_metric(labels, number)
        return family


@value
class Duration:
    """One metric whose samples are histograms of seconds."""

    name: str
    help: str
    read: Callable[[Insight], Durations]
    labels: Labels = ()
    type: str = "histogram"

    def family(self, insight: Insight) -> Family:
        """As it is now."""
        family = HistogramMetricFamily(PREFIX + self.name, self.help, labels=self.labels)
        for labels, histogram in self.read(insight).items():
            buckets = [(_bound(seconds), float(count)) for seconds, count in histogram.buckets()]
            family.add_metric(labels, buckets, histogram.total)
        return family


def _bound(seconds: float) -> str:
    return "+Inf" if seconds == float("inf") else str(seconds)


def _only(number: float) -> Numbers:
    return {(): float(number)}


def _of_informers(number: Callable[[Informer], float]) -> Callable[[Insight], Numbers]:
    """A number of each informer, by its kind and its namespace, which is empty for all."""

    def read(insight: Insight) -> Numbers:
        return {(each.resource.kind, each.namespace or ""): number(each) for each in insight.informers()}

    return read


def _age(informer: Informer) -> float:
    return time.monotonic() - informer.last_heard


def _longest_pass(insight: Insight) -> float:
    now = time.monotonic()
    return now - min(insight.loop.under_way.values(), default=now)


def _served(insight: Insight) -> Numbers:
    """Each namespace begins by itself: one that cannot be listed keeps no other one waiting."""
    return {(each or "",): float(insight.queue.is_open(each)) for each in insight.caches.namespaces}


def _objects(insight: Insight) -> Numbers:
    found: Counter[Labels] = Counter()
    for informer in insight.informers():
        found[informer.resource.kind,] += len(informer.values())
    return found


def _by_kind(histograms: Mapping[str, Histogram]) -> Durations:
    return {(kind,): histogram for kind, histogram in histograms.items()}


def _states(counted: Mapping[Drain, int]) -> Numbers:
    return {(state.name.lower(),): number for state, number in counted.items()}


METRICS: tuple[Number | Duration, ...] = (
    Number(
        name="build_info",
        type=Type.GAUGE,
        help="Always 1, with the release that runs",
        labels=("version",),
        read=lambda _: {(version("dask-k8s"),): 1.0},
    ),
    Number(
        name="leader",
        type=Type.GAUGE,
        help="Whether this process holds the Lease, and so may write",
        read=lambda insight: _only(insight.fence.holds),
    ),
    Number(
        name="serving",
        type=Type.GAUGE,
        help="Whether it holds the Lease and has seen all that its predecessor wrote in this namespace",
        labels=("namespace",),
        read=_served,
    ),
    Number(
        name="workqueue_depth",
        type=Type.GAUGE,
        help="Resources that are due for a pass",
        read=lambda insight: _only(len(insight.queue)),
    ),
    Number(
        name="workqueue_put_off",
        type=Type.GAUGE,
        help="Resources that are due at a later time, since a plan asked for it or a pass failed",
        read=lambda insight: _only(insight.queue.put_off),
    ),
    Number(
        name="workqueue_adds_total",
        type=Type.COUNTER,
        help="Times that a resource became due",
        read=lambda insight: _only(insight.queue.adds),
    ),
    Number(
        name="workqueue_retries_total",
        type=Type.COUNTER,
        help="Passes that failed or met a conflict, and were put off to come again",
        read=lambda insight: _only(insight.queue.retries),
    ),
    Duration(
        name="workqueue_queue_duration_seconds",
        help="How long a resource that was due waited for its pass",
        read=lambda insight: {(): insight.queue.waited},
    ),
    Number(
        name="workqueue_longest_running_seconds",
        type=Type.GAUGE,
        help="How long the longest pass has been under way; 0 where none is",
        read=lambda insight: _only(_longest_pass(insight)),
    ),
    Number(
        name="active_workers",
        type=Type.GAUGE,
        help="Passes under way",
        read=lambda insight: _only(len(insight.loop.under_way)),
    ),
    Number(
        name="reconcile_total",
        type=Type.COUNTER,
        help="Passes that ended, by the kind of their resource and by how",
        labels=("kind", "result"),
        read=lambda insight: insight.loop.results,
    ),
    Duration(
        name="reconcile_duration_seconds",
        help="How long passes took",
        labels=("kind",),
        read=lambda insight: _by_kind(insight.loop.durations),
    ),
    Number(
        name="actions_total",
        type=Type.COUNTER,
        help="Deeds that went through, by the kind of object that they were done to",
        labels=("action", "kind"),
        read=lambda insight: insight.deeds.totals,
    ),
    Number(
        name="refusals",
        type=Type.GAUGE,
        help="Deeds that the API server refuses, and that are tried again later",
        read=lambda insight: _only(len(insight.refusals)),
    ),
    Number(
        name="expectations",
        type=Type.GAUGE,
        help="Writes that no cache shows yet",
        labels=("write",),
        read=lambda insight: {(write,): number for write, number in insight.expectations.pending().items()},
    ),
    Number(
        name="drains",
        type=Type.GAUGE,
        help="Workers whose Pods are there and whose drain was begun, by where it stands",
        labels=("state",),
        read=lambda insight: _states(insight.drains.states()),
    ),
    Number(
        name="drains_ended_total",
        type=Type.COUNTER,
        help="Drains that ended, by what became of the worker",
        labels=("state",),
        read=lambda insight: _states(insight.drains.ended),
    ),
    Number(
        name="objects",
        type=Type.GAUGE,
        help="Objects in the caches",
        labels=("kind",),
        read=_objects,
    ),
    Number(
        name="watch_age_seconds",
        type=Type.GAUGE,
        help="How long ago the API server last said something of this kind; it does so at least each minute",
        labels=("kind", "namespace"),
        read=_of_informers(_age),
    ),
    Number(
        name="watch_in_step",
        type=Type.GAUGE,
        help="Whether the cache is in step with the API server",
        labels=("kind", "namespace"),
        read=_of_informers(lambda informer: float(informer.trouble is None)),
    ),
    Number(
        name="relists_total",
        type=Type.COUNTER,
        help="Lists that were taken in, the first one included",
        labels=("kind", "namespace"),
        read=_of_informers(lambda informer: informer.relists),
    ),
    Number(
        name="api_requests_total",
        type=Type.COUNTER,
        help="Requests to the API server, by the verb that a Role has for them and by the answer's code",
        labels=("verb", "code"),
        read=lambda insight: insight.answers(),
    ),
    Number(
        name="events_total",
        type=Type.COUNTER,
        help="Events: writes that went through and writes that did not, and sentences that were one too many",
        labels=("result",),
        read=lambda insight: {
            ("written",): insight.recorder.written,
            ("failed",): insight.recorder.failed,
            ("dropped",): insight.recorder.dropped,
        },
    ),
)


class Metrics(Collector):
    """All metrics of one operator, and those of its process, in a registry of its own."""

    def __init__(self, insight: Insight) -> None:
        self._insight = insight
        self._registry = CollectorRegistry()
        self._registry.register(self)
        for of_process in (ProcessCollector, PlatformCollector, GCCollector):
            of_process(registry=self._registry)

    def collect(self) -> Iterator[Family]:
        """Those of the operator."""
        return (metric.family(self._insight) for metric in METRICS)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """What is answered to whoever accepts this, and the type that it has."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type
