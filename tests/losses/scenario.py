"""One run, inside the cluster's network: values are put there, workers are shaken, and what is left is compared.

``python -m tests.losses.scenario OPTIONS NAMESPACE``, with the options as JSON; the figures are its last line.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections import Counter
from contextlib import ExitStack
from typing import Any

from distributed import Client

from tests.losses import witness
from tests.losses.beside import Killer, Monitor, Timeline, beside, say
from tests.losses.figures import figures
from tests.losses.load import Load
from tests.losses.options import Options
from tests.losses.shaking import Shaking
from tests.losses.subjects import CLUSTER, Operator, manifest, operator_of
from tests.losses.values import size_of
from tests.losses.workers import Logs
from tests.node.conftest import Kubectl

WORKERS_AT_FIRST = 4
SETTLES_WITHIN = 300.0
GONE_WITHIN = 120.0
WAITS = 0.6
"""How often the next thing waits until what was begun has come to its end."""


def main(options: Options, namespace: str) -> dict[str, Any]:
    """From nothing to nothing, and what was lost between."""
    kubectl = Kubectl(os.environ, namespace)
    operator = operator_of(options.subject, kubectl, options.path)
    timeline, logs = Timeline(options), Logs(kubectl.environment, options.path)
    try:
        found = Run(options, kubectl, operator, timeline, logs).main()
        found["Pods left"] = left(kubectl)
        return found
    finally:
        operator.stop()
        logs.stop()
        timeline.close()


def left(kubectl: Kubectl) -> list[str]:
    """Delete the cluster; the Pods that are still there after that."""
    kubectl("delete", "daskcluster", CLUSTER, "--timeout=60s")
    deadline = time.monotonic() + GONE_WITHIN
    while (there := kubectl("get", "pods", "-o", "name").split()) and time.monotonic() < deadline:
        time.sleep(1)
    return there


class Run:
    """A cluster, its load, and what is done to its workers."""

    def __init__(self, options: Options, kubectl: Kubectl, operator: Operator, timeline: Timeline, logs: Logs) -> None:
        self._options = options
        self._kubectl = kubectl
        self._operator = operator
        self._timeline = timeline
        self._logs = logs
        self._shaking = Shaking(kubectl, random.Random(options.seed), WORKERS_AT_FIRST, options)
        self._chance = random.Random(options.seed + 1)
        self.actions: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.unsettled: list[str] = []

    def main(self) -> dict[str, Any]:
        """The whole of it; a cluster that is still there after it is the caller's to delete."""
        total = 2 * sum(size_of(index) for index in range(self._options.keys))
        cluster = manifest(WORKERS_AT_FIRST, total // 8, pinned=bool(self._options.second_node))
        self._kubectl("apply", "-f", "-", stdin=json.dumps(cluster))
        address = f"tcp://{self._operator.service}.{self._kubectl.namespace}.svc:8786"
        with Client(address, timeout=120) as client, ExitStack() as stack:
            client.wait_for_workers(WORKERS_AT_FIRST, timeout=120)
            monitor = Monitor(self._kubectl, client, self._logs)
            stack.enter_context(beside(monitor.run, "monitor"))
            load = Load(client, self._options.keys, random.Random(self._options.seed + 2))
            load.begin()
            self._timeline.note(f"all values are there, {total / 2**20:.0f} MiB")
            kills = self._shaken(client, monitor, load)
            self._settle(monitor)
            load.stop()
            missing = load.missing()
            return {
                **figures(self._options, load, missing, witness.told(client), self._logs.scheduler()),
                "actions": {**self.actions, **({"operator killed": kills} if kills else {})},
                "lost by action": dict(self.lost),
                "not settled": self.unsettled,
                "most workers": monitor.workers,
                "most Pods": monitor.pods,
                "most spilled MiB": round(monitor.spilled / 2**20),
            }

    def _shaken(self, client: Client, monitor: Monitor, load: Load) -> int:
        """Shake, with the operator killed beside it; how often it was."""
        if self._options.kill_every is None:
            self._shake(client, monitor, load)
            return 0
        chance = random.Random(self._options.seed + 3)
        killer = Killer(self._operator, chance, self._options.kill_every, self._timeline)
        with beside(killer.run, "killer"):
            self._shake(client, monitor, load)
        return killer.kills

    def _shake(self, client: Client, monitor: Monitor, load: Load) -> None:
        """One thing after another; some do not wait for what the one before began."""
        began, told, under_way = time.monotonic(), 0, set[str]()
        while (elapsed := time.monotonic() - began) < self._options.seconds:
            workers, before = monitor.fresh(), time.monotonic()
            kind, whole = self._shaking.shake(workers)
            self.actions[kind] += 1
            self._timeline.note(f"{whole}, begun {time.monotonic() - before:.0f} s before")
            under_way.add(kind)
            settled = self._chance.random() < WAITS
            if settled:
                self._settle(monitor)
            else:
                time.sleep(self._chance.uniform(0.5, 5))
            self._account(client, " and ".join(sorted(under_way)))
            if settled:
                under_way.clear()
            if elapsed // 60 > told:
                told = int(elapsed // 60)
                say(f"minute {told}: {self._progress(load)}")

    def _settle(self, monitor: Monitor) -> None:
        """Wait until there are as many workers as are asked for; what does not come to that is remembered."""
        deadline = time.monotonic() + SETTLES_WITHIN
        while not (workers := monitor.fresh()).settled(self._shaking.asked):
            if time.monotonic() > deadline:
                self.unsettled.append(f"{self._shaking.asked} asked: {workers}")
                self._timeline.note(f"not settled: {self.unsettled[-1]}")
                return

    def _account(self, client: Client, under_way: str) -> None:
        """Lay what was lost since the last time to what was under way."""
        lost = witness.losses(client)
        new = lost[self.lost.total() :]
        if new:
            self.lost[under_way] += len(new)
            self._timeline.note(f"LOST {len(new)} during {under_way}: {' '.join(new[:20])}")

    def _progress(self, load: Load) -> str:
        actions = ", ".join(f"{count} {kind}" for kind, count in sorted(self.actions.items()))
        return (
            f"{actions}; {load.counts['finished']} tasks done; {self.lost.total()} keys lost, {len(load.wrong)} wrong"
        )


if __name__ == "__main__":
    os.environ.setdefault("DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "60s")
    sys.stdout.write(json.dumps(main(Options.from_json(sys.argv[1]), sys.argv[2])) + "\n")
