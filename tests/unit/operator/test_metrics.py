"""What Prometheus reads: every metric with its type and its sentence, from the parts' own numbers."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Callable

import pytest
from prometheus_client import REGISTRY
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from dask_k8s import names
from dask_k8s.operator import Operator, Scope
from dask_k8s.operator.actions import Create
from dask_k8s.operator.engine.election import Election, boottime
from dask_k8s.operator.engine.queue import Key
from dask_k8s.operator.insight import Insight
from dask_k8s.operator.metrics import METRICS, PREFIX, Metrics
from dask_k8s.operator.observed import Drain
from dask_k8s.settings import Timing
from tests.unit.operator.conftest import unasked_client

KEY = Key(names.CLUSTER, "team", "simple")
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def operator() -> Operator:
    """One that has not begun."""
    client = unasked_client()
    election = Election(client, namespace="ops", name=names.OPERATOR, identity="me")
    made = Operator(client, Scope(namespaces=("team", "other")), election, max_workers=1, timing=Timing())
    made.insight.queue.open()  # as one that serves has it
    return made


def samples(insight: Insight) -> Samples:
    """All that is exposed, by name and labels."""
    text, content_type = Metrics(insight).exposition("")
    assert content_type.startswith("text/plain")
    return {
        (sample.name.removeprefix(PREFIX), frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def of(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


async def test_each_metric_is_exposed_with_its_type_and_its_sentence() -> None:
    """Parsed as Prometheus does; an operator that has done nothing has all of them, some without a sample yet."""
    text, _ = Metrics(operator().insight).exposition("")
    families = {family.name: family for family in text_string_to_metric_families(text.decode())}
    for metric in METRICS:
        family = families[PREFIX + metric.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.type, metric.help)
    assert {"process_cpu_seconds", "python_info", "python_gc_collections"} <= families.keys()


async def test_openmetrics_is_spoken_to_who_asks_for_it() -> None:
    """With its own type."""
    text, content_type = Metrics(operator().insight).exposition("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert text.endswith(b"# EOF\n")
    assert list(openmetrics.text_string_to_metric_families(text.decode()))  # type: ignore[no-untyped-call]


def test_names_follow_the_conventions() -> None:
    """Units at the end, counters by ``_total`` and nothing else by it, no name twice."""
    for metric in METRICS:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", metric.name)
        assert metric.name.endswith("_total") == (metric.type == "counter")
        assert metric.type != "histogram" or metric.name.endswith("_seconds")
        assert not metric.help.endswith(".")
    assert len({metric.name for metric in METRICS}) == len(METRICS)


async def test_operators_of_one_process_know_nothing_of_each_other() -> None:
    """Nor does anything of theirs stand in the registry of whoever's process it is."""
    one, other = operator(), operator()
    one.insight.queue.add(KEY)
    assert samples(one.insight)[of("workqueue_depth")] == 1
    assert samples(other.insight)[of("workqueue_depth")] == 0
    assert not [family.name for family in REGISTRY.collect() if family.name.startswith(PREFIX)]


async def _works(insight: Insight) -> None:
    for _ in range(3):
        insight.queue.add(KEY)
    assert await insight.queue.get() == KEY
    insight.queue.done(KEY)
    insight.queue.add_failed(KEY)


async def _passes(insight: Insight) -> None:
    """A pass for a resource that is gone."""
    insight.queue.add(KEY)
    running = asyncio.ensure_future(insight.loop.run())
    while not insight.loop.results:
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running])


async def _leads(insight: Insight) -> None:
    """One of its namespaces cannot be listed yet."""
    insight.fence.extend(boottime() + 60)
    insight.queue.close()
    insight.queue.open("team")


async def _acts(insight: Insight) -> None:
    insight.deeds.done(KEY, Create(manifest={"kind": "Pod", "metadata": {"name": "a"}}))
    insight.expectations.creating(KEY, "Pod", "a")
    insight.expectations.deleted(KEY, "Pod", "uid")
    insight.refusals.refused(KEY, Create(manifest={"kind": "Pod", "metadata": {"name": "b"}}), "Forbidden", "quota")
    insight.drains.ended[Drain.EMPTY] += 1


@pytest.mark.parametrize(
    ("done", "expected"),
    [
        pytest.param(
            _works,
            {
                of("workqueue_adds_total"): 1,
                of("workqueue_depth"): 0,
                of("workqueue_put_off"): 1,
                of("workqueue_retries_total"): 1,
                of("workqueue_queue_duration_seconds_count"): 1,
                of("workqueue_queue_duration_seconds_bucket", le="+Inf"): 1,
            },
            id="the queue",
        ),
        pytest.param(
            _passes,
            {
                of("reconcile_total", kind="DaskCluster", result="success"): 1,
                of("reconcile_duration_seconds_count", kind="DaskCluster"): 1,
                of("reconcile_duration_seconds_bucket", kind="DaskCluster", le="60.0"): 1,
                of("active_workers"): 0,
                of("workqueue_longest_running_seconds"): 0,
            },
            id="a pass",
        ),
        pytest.param(
            _leads,
            {of("leader"): 1, of("serving", namespace="team"): 1, of("serving", namespace="other"): 0},
            id="the Lease",
        ),
        pytest.param(
            _acts,
            {
                of("actions_total", action="create", kind="Pod"): 1,
                of("expectations", write="creation"): 1,
                of("expectations", write="deletion"): 1,
                of("expectations", write="mark"): 0,
                of("refusals"): 1,
                of("drains_ended_total", state="empty"): 1,
            },
            id="deeds",
        ),
    ],
)
async def test_what_is_done_is_counted(done: Callable[[Insight], asyncio.Future[None]], expected: Samples) -> None:
    """Each number by its name and its labels."""
    insight = operator().insight
    await done(insight)
    found = samples(insight)
    assert {key: found[key] for key in expected} == expected


async def test_a_pass_that_gets_further_is_as_old_as_it_is() -> None:
    """One of hundreds of calls takes minutes; each of them shows that it does not hang, and ends nothing."""
    insight = operator().insight
    insight.loop.under_way[KEY] = time.monotonic() - 300
    insight.loop.progressed(KEY)
    assert samples(insight)[of("workqueue_longest_running_seconds")] >= 300


async def test_caches_are_told_by_kind_and_namespace() -> None:
    """Before anything was listed; nodes and budgets, which it may not be allowed to watch, are left out until then."""
    found = samples(operator().insight)
    kinds = {dict(labels)["kind"] for name, labels in found if name == "watch_age_seconds"}
    assert kinds == {names.CLUSTER, names.WORKER_GROUP, names.JOB, names.AUTOSCALER, "Pod", "Service", "Lease"}
    for namespace in ("team", "other"):
        assert found[of("watch_in_step", kind="Pod", namespace=namespace)] == 0
        assert found[of("relists_total", kind="Pod", namespace=namespace)] == 0
        assert 0 <= found[of("watch_age_seconds", kind="Pod", namespace=namespace)] < math.inf
    assert found[of("objects", kind="Pod")] == 0
