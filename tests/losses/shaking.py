"""What happens to the workers: one thing after another, some at the same time, drawn from a bag by a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence

from tests.losses.options import Options
from tests.losses.subjects import GROUP
from tests.losses.workers import Workers
from tests.node.conftest import Kubectl

FEWEST, MOST = 1, 6
STAYING = 2
"""How many workers always stay when others are taken away: the data needs a place where a new one is still starting."""

MARK = "losses/leaves"


class Shaking:
    """A person, an autoscaler and an administrator, who know nothing of each other."""

    def __init__(self, kubectl: Kubectl, chance: random.Random, asked: int, options: Options) -> None:
        self._kubectl = kubectl
        self._chance = chance
        self._second_node = options.second_node
        self._bag: list[str] = []
        self.asked = asked
        self._taking: Mapping[str, Callable[[Sequence[str]], None]] = {
            "evict": self._evict,
            "delete": self._delete,
            **({"drain": self._drain} if options.drains else {}),
            **({"drain the second node": self._drain_second} if options.second_node else {}),
        }

    def shake(self, workers: Workers) -> tuple[str, str]:
        """Do one thing that leaves the data a place; its kind, and the whole of it."""
        if not self._bag:
            self._bag = ["scale", "scale", *self._taking]
            self._chance.shuffle(self._bag)
        kind = self._bag[-1]
        if kind == "scale":
            self._bag.pop()
            return self._scale(range(FEWEST, MOST + 1))
        chosen = self._chosen(kind, workers)
        if not chosen or min(len(workers.staying), self.asked) - len(chosen) < STAYING:
            return self._scale(range(STAYING + 1, MOST + 1))  # what was drawn has its turn when there are enough
        self._bag.pop()
        self._taking[kind](chosen)
        return kind, f"{kind} {' '.join(chosen)}"

    def _chosen(self, kind: str, workers: Workers) -> Sequence[str]:
        if kind == "drain the second node":
            return [pod for pod in workers.staying if workers.places[pod] == self._second_node]
        most = min(2, len(workers.staying) - STAYING, self.asked - STAYING)
        return self._chance.sample(workers.staying, self._chance.randint(1, most)) if most > 0 else ()

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
        """Of their nodes these workers alone: the mark of one drain is no other's."""
        mark = f"{MARK}=n{self._chance.randrange(10**9)}"
        self._kubectl("label", "pod", *pods, mark, "--overwrite", check=False)
        marked = self._kubectl.json("get", "pods", "-l", mark)["items"]
        for node in sorted({pod["spec"]["nodeName"] for pod in marked}):
            self._drained(node, f"--pod-selector={mark}")

    def _drain_second(self, pods: Sequence[str]) -> None:
        """Of all that is on it, an operator too."""
        self._drained(self._second_node)

    def _drained(self, node: str, *words: str) -> None:
        try:
            self._kubectl("drain", node, *words, "--delete-emptydir-data", "--timeout=240s")
        finally:
            self._kubectl("uncordon", node)
