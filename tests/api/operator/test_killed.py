"""The operator killed with SIGKILL again and again, while jobs live and end: whatever it was doing just then."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dask_k8s.errors import Conflict, Missing
from dask_k8s.kube.client import Client
from dask_k8s.kube.informer import Informer
from dask_k8s.kube.resources import DASK_CLUSTER, DASK_JOB, POD
from tests.api.conftest import ApiServer
from tests.api.operator.conftest import World, seed_job
from tests.api.processes import operator, own_kubeconfig

KILLS = 20
LONGEST_LIFE = 1.2
"""Seconds that a process of the operator has after it began to serve; a job's way through its words takes less."""

LEASE = "1s"
"""The killed one's Lease has to run out before the next one serves."""

ORDER = ["JobCreated", "ClusterCreated", "Running", "Successful", "Failed"]


class Witness:
    """Watches the API server directly, and remembers what the operator must not have done."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.runners: dict[str, set[str]] = {}
        self.clusters: dict[str, set[str]] = {}
        self.words: dict[str, list[str]] = {}
        self._jobs = Informer(client, DASK_JOB, namespace)
        self._pods = Informer(client, POD, namespace, labels="dask.org/component=job-runner")
        self._clusters = Informer(client, DASK_CLUSTER, namespace)
        self._jobs.on(self._on_job)
        self._pods.on(lambda _, new: self._on_object(self.runners, new))
        self._clusters.on(lambda _, new: self._on_object(self.clusters, new))

    async def run(self) -> None:
        """Watch until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            for informer in (self._jobs, self._pods, self._clusters):
                group.create_task(informer.run())

    def _on_job(self, _: Any, new: Any) -> None:
        word = ((new or {}).get("status") or {}).get("jobStatus")
        if word is not None:
            words = self.words.setdefault(new["metadata"]["name"], [])
            if not words or words[-1] != word:
                words.append(word)

    def _on_object(self, seen: dict[str, set[str]], new: Any) -> None:
        if new is not None:
            seen.setdefault(new["metadata"]["name"], set()).add(new["metadata"]["uid"])


async def kubelet(world: World, chance: random.Random) -> None:
    """Pods begin and end after a while; those of jobs with an odd number fail."""
    while True:
        for pod in await world.pods("job-runner"):
            await asyncio.sleep(chance.uniform(0, 0.1))
            odd = int(pod["metadata"]["name"].split("-")[1]) % 2
            try:
                if pod["status"].get("phase") == "Pending":
                    await world.runs(pod)
                elif pod["status"].get("phase") == "Running":
                    await world.ends(pod, code=3 * odd)
            except (Missing, Conflict):
                continue
        await asyncio.sleep(0.05)


@contextmanager
def seeded() -> Iterator[random.Random]:
    """Chance whose seed a failure prints."""
    seed = time.time_ns() % 1_000_000
    sys.stderr.write(f"seed {seed}\n")
    yield random.Random(seed)


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("crds")
async def test_jobs_outlive_an_operator_that_is_killed(apiserver: ApiServer, world: World, tmp_path: Path) -> None:
    """One runner for each job, one cluster, words in their order, one end, and the right one."""
    witness, jobs = Witness(world.client, world.namespace), [f"job-{number}" for number in range(KILLS)]
    arguments = ["-n", world.namespace, *own_kubeconfig(apiserver)]
    environment = {"DASK_KUBERNETES__LEASE_DURATION": LEASE}
    with seeded() as chance:
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(witness.run())
            playing = group.create_task(kubelet(world, chance))
            for name in jobs:
                await world.make(seed_job(name, restartPolicy="Never"))
                async with operator(tmp_path, apiserver.kubeconfig, *arguments, environment=environment) as killed:
                    await killed.says("Serving")
                    await asyncio.sleep(chance.uniform(0, LONGEST_LIFE))
                    killed.process.kill()
            async with operator(tmp_path, apiserver.kubeconfig, *arguments, environment=environment):
                await ended(world, jobs)
            playing.cancel()
            watching.cancel()
    for index, name in enumerate(jobs):
        words = witness.words[name]
        assert [ORDER.index(word) for word in words] == sorted({ORDER.index(word) for word in words}), words
        assert words[-1] == ("Failed" if index % 2 else "Successful")
        assert len(witness.runners[f"{name}-runner"]) == 1, "a second runner"
        assert len(witness.clusters[name]) == 1, "a second cluster"


async def ended(world: World, jobs: list[str]) -> None:
    """Wait until each job has its end, and its cluster is gone."""

    async def all_ended() -> bool:
        found = (await world.client.list(DASK_JOB, world.namespace))["items"]
        words = [(each.get("status") or {}).get("jobStatus") for each in found]
        clusters = (await world.client.list(DASK_CLUSTER, world.namespace))["items"]
        return len(words) == len(jobs) and set(words) <= {"Successful", "Failed"} and not clusters

    await world.until(all_ended, "the end of all jobs", within=120)
