"""The decision table of scale-down with real workers: what the rows of ``test_leavers`` mean for people's data."""

from __future__ import annotations

import json
import time
from typing import Any

from distributed import Client

from dask_k8s import KubeCluster, make_cluster_spec
from dask_k8s.operator.plan.leavers import GIVEN_UP_GRACE
from tests.node.conftest import Json, Kubectl
from tests.node.test_groups import workers
from tests.node.test_kubecluster import make

NUMBERS = list(range(200))


def group_condition(kubectl: Kubectl, group: str, type_: str) -> Json:
    """One condition of a group; empty where there is none."""
    status = kubectl.json("get", "daskworkergroup", group).get("status", {})
    return next((each for each in status.get("conditions", []) if each["type"] == type_), {})


def degraded(kubectl: Kubectl, cluster: KubeCluster) -> Json:
    """What stands in the default group's way."""
    return group_condition(kubectl, f"{cluster.name}-default", "Degraded")


def suspicious(client: Client) -> int:
    """How many tasks the scheduler blames for a worker's end."""

    def count(dask_scheduler: Any) -> int:
        return sum(task.suspicious for task in dask_scheduler.tasks.values())

    found: int = client.run_on_scheduler(count)
    return found


def first_to_leave(client: Client) -> list[str]:
    """The worker that the scheduler would give up first."""
    return list(
        client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.workers_to_close(n=1, attribute="address"))
    )


def until_only(kubectl: Kubectl, client: Client, count: int) -> list[str]:
    """The addresses of the workers, once there are so many."""
    found: list[str] = kubectl.until(lambda: len(there := workers(client)) == count and there, f"{count} workers")
    return found


def test_a_worker_with_an_actor_is_exchanged_for_another(kubectl: Kubectl, deployed: None) -> None:
    """It holds the least, and would be the first to go; its actor cannot move, so another worker goes."""

    class Counter:
        def __init__(self) -> None:
            self.count = 0

        def increment(self) -> int:
            self.count += 1
            return self.count

    with make(kubectl, "deployed", n_workers=3) as cluster, Client(cluster) as client:
        cluster.wait_for_workers(3, timeout=150)
        first = first_to_leave(client)
        counter = client.submit(Counter, actor=True, workers=first).result(timeout=60)
        assert counter.increment().result() == 1
        others = [each for each in workers(client) if each not in first]
        kept = client.scatter(NUMBERS, workers=others)
        cluster.scale(2)
        assert first[0] in until_only(kubectl, client, 2)
        assert counter.increment().result() == 2
        assert client.gather(kept) == NUMBERS
        assert degraded(kubectl, cluster)["status"] == "False"


def test_several_workers_in_a_pod_leave_together(kubectl: Kubectl, deployed: None) -> None:
    """Two in each, without a name of their own; one that joined by hand is nobody's and stays."""
    spec = make_cluster_spec(name="pairs", n_workers=2)
    container = spec["spec"]["worker"]["spec"]["containers"][0]
    container["args"] = ["dask", "worker", "--nworkers", "2", "--nthreads", "1", "--no-dashboard"]
    with make(kubectl, "deployed", custom_cluster_spec=spec) as cluster, Client(cluster) as client:
        until_only(kubectl, client, 4)
        by_hand = {"name": "by-hand", "image": container["image"], "args": ["dask", "worker", "tcp://pairs:8786"]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "by-hand"}, "spec": {"containers": [by_hand]}}
        kubectl("apply", "-f", "-", stdin=json.dumps(pod))
        until_only(kubectl, client, 5)
        address = kubectl.json("get", "pod", "by-hand")["status"]["podIP"]
        kept = client.scatter(NUMBERS, workers=[each for each in workers(client) if address not in each])
        cluster.scale(1)
        assert any(address in each for each in until_only(kubectl, client, 3))
        assert client.gather(kept) == NUMBERS
        assert suspicious(client) == 0


def test_what_runs_is_waited_for_and_runs_once(kubectl: Kubectl, deployed: None) -> None:
    """For as long as ``drainTimeout`` allows; what waits there runs elsewhere; nobody is blamed."""

    def work(number: int, seconds: float) -> tuple[int, str]:
        from distributed import get_worker

        get_worker().log_event("ran", number)
        time.sleep(seconds)
        return number, get_worker().address

    with make(kubectl, "deployed", n_workers=2) as cluster, Client(cluster) as client:
        leaving, staying = until_only(kubectl, client, 2)
        threads = client.nthreads()[leaving]
        running = client.map(
            work, range(threads + 3), seconds=6, workers=[leaving], allow_other_workers=True, pure=False
        )
        kept = client.scatter(NUMBERS, workers=[staying])
        kubectl.until(lambda: len(client.get_events("ran")) >= threads, "tasks that run")
        cluster.scale(1)
        results = client.gather(running)
        assert [number for number, _ in results] == list(range(threads + 3))
        until_only(kubectl, client, 1)
        assert len(client.get_events("ran")) == threads + 3, "a task ran twice"
        assert suspicious(client) == 0
        assert client.gather(kept) == NUMBERS


def test_the_last_holder_stays_until_its_time_is_over(kubectl: Kubectl, deployed: None) -> None:
    """With none to stay its data has nowhere to go: that is told, until ``drainTimeout`` decides.

    Then its scheduler forgets it, so that what runs there is not blamed, and it ends before it would be killed.
    """
    spec = make_cluster_spec(name="last", n_workers=1)
    spec["spec"]["worker"]["drainTimeout"] = 25
    with make(kubectl, "deployed", custom_cluster_spec=spec) as cluster, Client(cluster) as client:
        until_only(kubectl, client, 1)
        kept = client.scatter(NUMBERS)
        cut = client.submit(time.sleep, 600)
        kubectl.until(lambda: any(client.processing().values()), "a task that runs")
        cluster.scale(0)
        refused = kubectl.until(
            lambda: (found := degraded(kubectl, cluster)).get("reason") == "DrainRefused" and found, "the condition"
        )
        assert "No other worker is running that could take its data." in refused["message"]
        assert client.gather(kept) == NUMBERS
        kubectl.until(lambda: not workers(client), "its end")
        forgotten = time.monotonic()
        kubectl.until(lambda: not kubectl.json("get", "pods", "-l", "dask.org/component=worker")["items"], "its Pod's")
        assert time.monotonic() - forgotten < GIVEN_UP_GRACE - 5, "it was killed"
        assert suspicious(client) == 0
        assert cut.status == "pending"


def test_the_last_holder_leaves_as_soon_as_there_is_room(kubectl: Kubectl, deployed: None) -> None:
    """Another group's worker joins, and takes the data."""
    with make(kubectl, "deployed", n_workers=1) as cluster, Client(cluster) as client:
        until_only(kubectl, client, 1)
        kept = client.scatter(NUMBERS)
        cluster.scale(0)
        kubectl.until(lambda: degraded(kubectl, cluster).get("reason") == "DrainRefused", "the condition")
        cluster.add_worker_group("room", n_workers=1)
        kubectl.until(lambda: len(workers(client, "-room-")) == len(workers(client)) == 1, "the exchange")
        assert client.gather(kept) == NUMBERS


def test_tasks_that_may_run_nowhere_any_more_are_told(kubectl: Kubectl, deployed: None) -> None:
    """They were restricted to the worker that left; the condition goes with them."""

    def slow(number: int) -> int:
        time.sleep(3)
        return number

    with make(kubectl, "deployed", n_workers=1) as cluster, Client(cluster) as client:
        cluster.add_worker_group("more", n_workers=1)
        until_only(kubectl, client, 2)
        only = workers(client, "-more-worker-")
        restricted = client.map(slow, range(8 * sum(client.nthreads().values())), workers=only, pure=False)
        kubectl.until(lambda: client.processing()[only[0]], "tasks that are assigned")
        cluster.scale(0, worker_group="more")
        group = f"{cluster.name}-more"
        told = kubectl.until(lambda: group_condition(kubectl, group, "TasksStranded"), "the condition")
        assert "run on workers alone that have left" in told["message"]
        client.cancel(restricted)
        kubectl.until(lambda: not group_condition(kubectl, group, "TasksStranded"), "its end")
