"""One burst, seen from a client: sends the tasks, samples what happens, prints one line of JSON.

Run as ``python -m benchmarks.burst_client NAMESPACE SERVICE`` in the cluster's network, beside an operator that serves
a cluster ``burst`` with its autoscaler.
"""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from typing import Any

TASKS, SECONDS, MOST = 200, 0.5, 6
WORKERS = "dask.org/component=worker"
SAMPLE = 0.5
LONGEST = 240.0
"""Seconds after which a figure counts as not reached."""


def main(namespace: str, service: str) -> dict[str, Any]:
    """From a cluster at rest with one worker to the same again."""
    from distributed import Client

    with Client(f"tcp://{service}.{namespace}.svc:8786", timeout=120) as client:
        client.wait_for_workers(1, timeout=120)
        before = at_rest(client, namespace)
        came = new_pod(namespace, before)
        ran = client.map(trace, range(TASKS), pure=False)
        began = time.monotonic()
        series: list[tuple[float, int, int, int, int]] = []
        found: dict[str, Any] = dict.fromkeys(("first_pod", "six_joined", "all_done", "back_at_one"))
        while time.monotonic() - began < LONGEST and found["back_at_one"] is None:
            sample(client, namespace, ran, began, series, found)
            time.sleep(SAMPLE)
        found["first_pod"] = round(came[0] - began, 2) if came else None
        counts = Counter(number for _, number in client.get_events("ran"))
        return {**found, "twice": sum(count - 1 for count in counts.values()), "series": series}


def trace(number: int) -> int:
    """A task that says each time that it runs."""
    from distributed import get_worker

    get_worker().log_event("ran", number)
    time.sleep(SECONDS)
    return number


def at_rest(client: Any, namespace: str) -> set[str]:
    """Wait until there is one worker, and one Pod of a worker, for a while; its name."""
    since, pods = time.monotonic(), set[str]()
    while time.monotonic() - since < 8:
        pods = workers(namespace)
        if len(pods) != 1 or len(client.scheduler_info(n_workers=-1)["workers"]) != 1:
            since = time.monotonic()
        time.sleep(0.5)
    return pods


def new_pod(namespace: str, before: set[str]) -> list[float]:
    """The times at which others than these came, from a watch: looking now and then would be too coarse."""
    came: list[float] = []
    argv = ["kubectl", "-n", namespace, "get", "pods", "-l", WORKERS, "--watch-only", "-o", "name"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    atexit.register(process.kill)

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip().removeprefix("pod/") not in before:
                came.append(time.monotonic())

    threading.Thread(target=read, daemon=True).start()
    time.sleep(2)
    return came


def sample(
    client: Any,
    namespace: str,
    futures: list[Any],
    began: float,
    series: list[tuple[float, int, int, int, int]],
    found: dict[str, Any],
) -> None:
    """One look at everything."""
    target = int(client.sync(client.scheduler.adaptive_target))
    joined = len(client.scheduler_info(n_workers=-1)["workers"])
    left = sum(future.status != "finished" for future in futures)
    pods = workers(namespace)
    now = round(time.monotonic() - began, 2)
    series.append((now, target, len(pods), joined, left))
    reached = {
        "six_joined": joined >= MOST,
        "all_done": left == 0,
        "back_at_one": left == 0 and joined == 1 and len(pods) == 1,
    }
    for figure, holds in reached.items():
        if holds and found[figure] is None:
            found[figure] = now
    if reached["all_done"]:
        futures.clear()  # so that nothing but the tasks' end keeps workers


def workers(namespace: str) -> set[str]:
    """The names of the workers' Pods that are not going."""
    argv = ["kubectl", "-n", namespace, "get", "pods", "-l", WORKERS, "-o", "json"]
    items = json.loads(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)["items"]
    return {pod["metadata"]["name"] for pod in items if "deletionTimestamp" not in pod["metadata"]}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
