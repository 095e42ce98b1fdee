"""What happens to the workers: one thing after another, some at the same time, drawn from a bag by a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.losses.subjects import GROUP
from tests.losses.workers import Workers
from tests.node.conftest import Kubectl

FEWEST, MOST = 1, 6
STAYING = 2
"""How many workers always stay when others are taken away: the data needs a place where a new one is still starting."""

MARK = "losses/leaves"


class Shaking:
    """A person, an autoscaler and an administrator, who know nothing of each other.

    Parameters
    ----------
    drains
        Whether the administrator drains the node of some workers.
    """

    def __init__(self, kubectl: Kubectl, chance: random.Random, asked: int, *, drains: bool) -> None:
        self._kubectl = kubectl
        self._chance = chance
        self.asked = asked
        self._bag: list[str] = []
        self._taking: Mapping[str, Callable[[Sequence[str]], None]] = {
            "evict": self._evict,
            "delete": self._delete,
            **({"drain": self._drain} if drains else {}),
        }

    def shake(self, workers: Workers) -> tuple[str, str]:
        """Do one thing that leaves the data a place; its kind, and the whole of it."""
        if not self._bag:
            self._bag = ["scale", "scale", *self._taking]
            self._chance.shuffle(self._bag)
        kind, most = self._bag[-1], min(2, len(workers.staying) - STAYING, self.asked - STAYING)
        if kind != "scale" and most < 1:
            return self._scale(range(STAYING + 1, MOST + 1))  # what is drawn has its turn when there are enough
        self._bag.pop()
        if kind == "scale":
            return self._scale(range(FEWEST, MOST + 1))
        chosen = self._chance.sample(workers.staying, self._chance.randint(1, most))
        self._taking[kind](chosen)
        return kind, f"{kind} {' '.join(chosen)}"

    def _scale(self, counts: Sequence[int]) -> tuple[str, str]:
        before = self.asked
        self.asked = self._chance.choice([count for count in counts if count != before])
        self._kubectl("scale", "daskworkergroup", GROUP, f"--replicas={self.asked}")
        return ("scale up" if self.asked > before else "scale down"), f"scale {before} to {self.asked}"

    def _evict(self, pods: Sequence[str]) -> None:
        for pod in pods:
            path = f"/api/v1/namespaces/{self._kubectl.namespace}/pods/{pod}/eviction"
            metadata = {"name": pod, "namespace": self._kubectl.namespace}
            eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
            self._kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction), check=False)

    def _delete(self, pods: Sequence[str]) -> None:
        self._kubectl("delete", "pod", *pods, "--wait=false", "--ignore-not-found")

    def _drain(self, pods: Sequence[str]) -> None:
        """Of their node these workers alone: the mark of one drain is no other's."""
        mark = f"{MARK}=n{self._chance.randrange(10**9)}"
        self._kubectl("label", "pod", *pods, mark, "--overwrite", check=False)
        for node in self._nodes(mark):
            try:
                self._kubectl("drain", node, f"--pod-selector={mark}", "--delete-emptydir-data", "--timeout=150s")
            finally:
                self._kubectl("uncordon", node)

    def _nodes(self, mark: str) -> list[str]:
        pods: list[dict[str, Any]] = self._kubectl.json("get", "pods", "-l", mark)["items"]
        return sorted({pod["spec"]["nodeName"] for pod in pods})
