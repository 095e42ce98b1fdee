"""Hundreds and thousands of worker Pods on played nodes: made, made more, made fewer and removed.

The clock starts when the count is written and stops when the API server has so many Pods. Raw is the limit: the same
Pods POSTed without any operator, by the same client with as many requests at a time. All take turns.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from benchmarks import plot, report, start_raw
from benchmarks.field import OURS, PEER, RAW, Field, Used, clusters, each, field
from dask_k8s.kube.resources import POD

SIZES: Mapping[int, Sequence[str]] = {
    200: (OURS, RAW, PEER),
    1_000: (OURS, RAW, PEER),
    10_000: (OURS, RAW),
}
"""Workers, and who makes them; the peer would need half an hour for the last."""

ROUNDS = 3
A_CLUSTER = 100
"""Workers of each cluster where there are 10,000."""

GROWTH = (100, 300, 1_000, 3_000, 10_000)
PLOT = Path(__file__).parents[1] / "docs" / "reference" / "growth.svg"

SMALL, LARGE = 200, 1_000
FEWER_WITHIN = 300.0
"""Seconds after which 800 fewer count as never: infinite in the table."""

FAIR_ROUNDS, BUSY = 50, 500
MANY, FEW = 1_000, 4

Figures = Mapping[str, float]


def create(rounds: int | None) -> None:
    """Pods made, and what that costs the operator."""
    rounds = rounds or ROUNDS
    found: dict[tuple[int, str], list[Figures]] = {}

    async def measure() -> None:
        async with field() as place:
            for size, subjects in SIZES.items():
                for turn, subject in itertools.product(range(rounds if size < 10_000 else 1), subjects):
                    if size == 1_000 and subject == PEER and turn:
                        continue  # it takes minutes, and its spread is small beside the distance
                    figures = await _created(place, subject, size)
                    found.setdefault((size, subject), []).append(figures)
                    _tell(f"{size} workers, {subject}, round {turn + 1}: {figures}")

    asyncio.run(measure())
    header = ("workers", "", "made", "of raw", "all ready", "CPU a Pod", "memory at start", "at most", "removed")
    rows = [_row(size, subject, found) for size, subject in found]
    note = f"Up to {rounds} rounds, alternating, medians (spread)."
    report.publish("scale", header, rows, note, {f"{size}, {subject}": runs for (size, subject), runs in found.items()})


def _row(size: int, subject: str, found: Mapping[tuple[int, str], Sequence[Figures]]) -> tuple[str, ...]:
    runs = found[size, subject]
    ours = subject != RAW
    return (
        f"{size:,}",
        subject,
        report.summary(runs, "made"),
        f"{report.ratio(runs, found[size, RAW], 'made'):.2f}",
        report.summary(runs, "ready") if ours else "-",
        f"{statistics.median(run['cpu'] / size * 1000 for run in runs):.2f} ms" if ours else "-",
        *(f"{statistics.median(run[held] for run in runs):.0f} MiB" if ours else "-" for held in ("at start", "peak")),
        report.summary(runs, "removed"),
    )


async def _created(place: Field, subject: str, size: int) -> Figures:
    count, each_has = (size // A_CLUSTER, A_CLUSTER) if size >= 10_000 else (1, size)
    async with place.namespace() as namespace:
        if subject == RAW:
            return await _raw(place, namespace, count, each_has)
        with place.operator(subject, [namespace]) as used:
            return await _by_operator(place, namespace, subject, used, count, each_has)


async def _raw(place: Field, namespace: str, count: int, each_has: int) -> Figures:
    pods = [pod for cluster in clusters(count, each_has) for pod in start_raw.objects_of(cluster, namespace)[2:]]
    began = time.monotonic()
    await each(place.client.create, pods)
    made = time.monotonic() - began
    began = time.monotonic()
    await each(lambda pod: place.client.delete(POD, namespace, pod["metadata"]["name"]), pods)
    return {"made": made, "removed": await place.pods(namespace, most=0) - began}


async def _by_operator(place: Field, namespace: str, subject: str, used: Used, count: int, each_has: int) -> Figures:
    called, at_start = [f"c{number}" for number in range(count)], used.memory()
    await place.make(namespace, clusters(count, 0))
    await place.pods(namespace, least=count)
    await asyncio.sleep(5)  # their schedulers run, and nothing more happens
    used.seconds()
    began = time.monotonic()
    await place.scale(namespace, called, each_has)
    made = await place.pods(namespace, least=count * (each_has + 1)) - began
    ready = await (place.ready(namespace, called, each_has) if subject == OURS else _all_run(place, namespace)) - began
    figures = {"made": made, "ready": ready, "cpu": used.seconds(), "at start": at_start}
    began = time.monotonic()
    await place.remove(namespace, called)
    return {**figures, "removed": await place.pods(namespace, most=0) - began, "peak": used.peak()}


def resize(rounds: int | None) -> None:
    """800 more, and 800 fewer."""
    rounds = rounds or ROUNDS
    found: dict[str, list[Figures]] = {OURS: [], RAW: [], PEER: []}

    async def measure() -> None:
        async with field() as place:
            for turn, subject in itertools.product(range(rounds), found):
                if subject == PEER and turn:
                    continue  # as above
                found[subject].append(await _resized(place, subject))
                _tell(f"{SMALL} to {LARGE} and back, {subject}, round {turn + 1}: {found[subject][-1]}")

    asyncio.run(measure())
    header = ("", f"{SMALL} to {LARGE:,}", "of raw", f"{LARGE:,} to {SMALL}", "of raw")
    rows = [
        (
            subject,
            *itertools.chain.from_iterable(
                (report.summary(runs, figure), f"{report.ratio(runs, found[RAW], figure):.2f}")
                for figure in ("more", "fewer")
            ),
        )
        for subject, runs in found.items()
    ]
    report.publish("resize", header, rows, f"Up to {rounds} rounds, alternating, medians (spread).", found)


async def _resized(place: Field, subject: str) -> Figures:
    async with place.namespace() as namespace:
        if subject == RAW:
            return await _raw_resized(place, namespace)
        with place.operator(subject, [namespace]):
            await place.make(namespace, clusters(1, SMALL))
            await place.pods(namespace, least=SMALL + 1)
            await _all_run(place, namespace)
            await asyncio.sleep(5)  # all have joined, and nothing more happens
            began = time.monotonic()
            await place.scale(namespace, ["c0"], LARGE)
            more = await place.pods(namespace, least=LARGE + 1) - began
            await _all_run(place, namespace)
            await asyncio.sleep(5)
            began = time.monotonic()
            await place.scale(namespace, ["c0"], SMALL)
            fewer = math.inf
            with suppress(TimeoutError):
                fewer = await place.pods(namespace, most=SMALL + 1, within=FEWER_WITHIN) - began
            return {"more": more, "fewer": fewer}


async def _raw_resized(place: Field, namespace: str) -> Figures:
    (cluster,) = clusters(1, LARGE)
    pods = start_raw.objects_of(cluster, namespace)[2:]
    await each(place.client.create, pods[:SMALL])
    await _all_run(place, namespace)
    began = time.monotonic()
    await each(place.client.create, pods[SMALL:])
    more = time.monotonic() - began
    await _all_run(place, namespace)
    began = time.monotonic()
    await each(lambda pod: place.client.delete(POD, namespace, pod["metadata"]["name"]), pods[SMALL:])
    return {"more": more, "fewer": await place.pods(namespace, most=SMALL) - began}


async def _all_run(place: Field, namespace: str) -> float:
    while (await place.client.list(POD, namespace, fields="status.phase!=Running", limit=1))["items"]:
        await asyncio.sleep(0.2)
    return time.monotonic()


def growth(rounds: int | None) -> None:
    """How the time grows with the number, as a picture."""
    found: dict[str, dict[int, list[Figures]]] = {subject: {size: [] for size in GROWTH} for subject in (OURS, RAW)}

    async def measure() -> None:
        async with field() as place:
            for size, _, subject in itertools.product(GROWTH, range(rounds or 1), found):
                found[subject][size].append(await _in_hundreds(place, subject, size))
                _tell(f"{size} workers, {subject}: {found[subject][size][-1]}")

    asyncio.run(measure())
    rows = [
        (
            f"{size:,}",
            *(report.summary(found[subject][size], "made") for subject in found),
            f"{report.ratio(found[OURS][size], found[RAW][size], 'made'):.2f}",
        )
        for size in GROWTH
    ]
    note = f"In clusters of {A_CLUSTER}, {rounds or 1} rounds, alternating, medians (spread)."
    report.publish("growth", ("workers", OURS, RAW, "of raw"), rows, note, found)
    plot.growth(
        PLOT,
        {
            subject: [(size, statistics.median(run["made"] for run in runs)) for size, runs in sizes.items()]
            for subject, sizes in found.items()
        },
    )


async def _in_hundreds(place: Field, subject: str, size: int) -> Figures:
    count = size // A_CLUSTER
    async with place.namespace() as namespace:
        if subject == RAW:
            return await _raw(place, namespace, count, A_CLUSTER)
        with place.operator(subject, [namespace]) as used:
            return await _by_operator(place, namespace, subject, used, count, A_CLUSTER)


def restart(rounds: int | None) -> None:
    """A new process meets 10,000 Pods, and one group that asks for one more."""
    found: list[Figures] = []

    async def measure() -> None:
        async with field() as place, place.namespace() as namespace:
            count = 10_000 // A_CLUSTER
            called = [f"c{number}" for number in range(count)]
            with place.operator(OURS, [namespace]):
                await place.make(namespace, clusters(count, A_CLUSTER))
                await place.ready(namespace, called, A_CLUSTER)
            for turn in range(rounds or ROUNDS):
                await place.scale(namespace, called[:1], A_CLUSTER + turn + 1)
                began = time.monotonic()
                with place.operator(OURS, [namespace], settle=0.0) as used:
                    wanted = count * (A_CLUSTER + 1) + turn + 1
                    first = await place.pods(namespace, least=wanted) - began
                    found.append({"first": first, "memory": used.memory()})
                    _tell(f"restart, round {turn + 1}: {found[-1]}")

    asyncio.run(measure())
    memory = statistics.median(run["memory"] for run in found)
    row = ("10,000 Pods", report.summary(found, "first"), f"{memory:.0f} MiB")
    note = f"{len(found)} rounds, from the start of the process."
    report.publish("restart", ("", "first Pod", "memory"), [row], note, {"restart": found})


def fairness(rounds: int | None) -> None:
    """A small cluster is made while a large one is always being scaled."""
    delays: list[float] = []

    async def measure() -> None:
        async with field() as place, place.namespace() as busy, place.namespace() as small:
            with place.operator(OURS, [busy, small]):
                await place.make(busy, clusters(1, 0))
                await place.pods(busy, least=1)
                async with asyncio.TaskGroup() as group:
                    scaling = group.create_task(_up_and_down(place, busy))
                    for number in range(rounds or FAIR_ROUNDS):
                        delays.append(await _small(place, small, number))
                        _tell(f"small cluster {number + 1}: {delays[-1]:.2f} s")
                    scaling.cancel()

    asyncio.run(measure())
    middle, late, longest = (f"{_quantile(delays, share):.2f} s" for share in (0.5, 0.99, 1.0))
    row = ("both workers' Pods exist", middle, late, longest)
    note = f"{len(delays)} clusters, one after the other, while another goes to {BUSY} and back."
    report.publish("fairness", ("", "median", "p99", "longest"), [row], note, {"seconds": delays})


def _quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that so many of them do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


async def _up_and_down(place: Field, namespace: str) -> None:
    while True:
        for workers in (BUSY, 0):
            await place.scale(namespace, ["c0"], workers)
            await place.pods(namespace, least=workers + 1, most=workers + 1)


async def _small(place: Field, namespace: str, number: int) -> float:
    (cluster,) = clusters(1, 2)
    cluster["metadata"]["name"] = f"small-{number}"
    before = await place.count(namespace)
    began = time.monotonic()
    await place.make(namespace, [cluster])
    return await place.pods(namespace, least=before + 3) - began


def many(rounds: int | None) -> None:
    """A thousand clusters of four."""
    found: list[Figures] = []

    async def measure() -> None:
        async with field() as place:
            for _ in range(rounds or 1):
                async with place.namespace() as namespace:
                    with place.operator(OURS, [namespace]) as used:
                        began = time.monotonic()
                        await place.make(namespace, clusters(MANY, FEW))
                        asked = time.monotonic() - began
                        made = await place.pods(namespace, least=MANY * (FEW + 1)) - began
                        found.append({"asked": asked, "made": made, "cpu": used.seconds(), "memory": used.memory()})
                        _tell(f"{MANY} clusters: {found[-1]}")

    asyncio.run(measure())
    row = (
        f"{MANY:,} clusters of {FEW}",
        report.summary(found, "asked"),
        report.summary(found, "made"),
        f"{statistics.median(run['cpu'] / MANY / (FEW + 1) * 1000 for run in found):.2f} ms",
        f"{statistics.median(run['memory'] for run in found):.0f} MiB",
    )
    header = ("", "clusters POSTed", "all Pods exist", "CPU a Pod", "memory")
    report.publish("many", header, [row], f"{len(found)} rounds.", {"many": found})


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
