"""What an operator behind a proxy was told, and cannot know anything newer of; and when it asked for which Pod."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from aiohttp import web

from dask_k8s.kinds.value import Manifest
from dask_k8s.operator import nodes
from dask_k8s.operator.caches import slim_node

Word = TypeVar("Word")

IN_FLIGHT = 10.0
"""Seconds that a write may be under way that an older word was the reason for: its own time-out, and a delay."""


class Heard(Generic[Word]):
    """What was said of each of many things, and when."""

    def __init__(self) -> None:
        self._said: defaultdict[str, list[tuple[float, Word]]] = defaultdict(list)

    def add(self, of: str, word: Word) -> None:
        """It has just been said."""
        self._said[of].append((time.monotonic(), word))

    def acted_on(self, of: str, now: float) -> list[Word]:
        """What a write that arrives now may have had in mind: the last of the older words, and all newer ones."""
        said = self._said.get(of, [])
        older = [word for at, word in said if now - at >= IN_FLIGHT]
        return [*older[-1:], *(word for at, word in said if now - at < IN_FLIGHT)]


class Beliefs:
    """The replicas of worker groups and the state of nodes as they passed a proxy.

    Attributes
    ----------
    posted
        When a Pod was asked for first, by its name.
    """

    def __init__(self) -> None:
        self.posted: dict[str, float] = {}
        self._replicas = Heard[int]()
        self._nodes = Heard[Manifest | None]()
        self._pages: defaultdict[str, list[Any]] = defaultdict(list)

    def hear(self, request: web.Request, body: bytes) -> None:
        """What passes on its way to the operator."""
        if request.path.endswith("/daskworkergroups"):
            for _, group in self._items(request, body):
                self._replicas.add(group["metadata"]["uid"], group["spec"]["worker"].get("replicas", 0))
        elif request.path.endswith("/nodes"):
            for gone, node in self._items(request, body):
                self._nodes.add(node["metadata"]["name"], None if gone else slim_node(node))

    def ask(self, request: web.Request, body: bytes) -> None:
        """What comes from the operator."""
        if request.method == "POST" and request.path.endswith("/pods"):
            self.posted.setdefault(json.loads(body)["metadata"]["name"], time.monotonic())

    def most(self, group: str, now: float) -> int:
        """The most replicas of a group, by uid, that a write which arrives now may have had in mind."""
        return max(self._replicas.acted_on(group, now), default=0)

    def may_leave(self, pod: Manifest, now: float) -> bool:
        """Whether a write that arrives now may have had in mind that a Pod's node is about to go."""
        heard = self._nodes.acted_on(pod["spec"].get("nodeName", ""), now)
        return any(nodes.leaves(node, pod["spec"].get("tolerations") or ()) for node in heard)

    def _items(self, request: web.Request, body: bytes) -> Iterator[tuple[bool, Any]]:
        """The objects of a list with its last page, or of a watch's event, and whether they are gone."""
        content = json.loads(body)
        if "watch" not in request.query:
            pages = self._pages[request.path] if "continue" in request.query else []
            self._pages[request.path] = pages = [*pages, *(content.get("items") or ())]
            if not content["metadata"].get("continue"):
                yield from ((False, item) for item in pages)
        elif content["type"] not in ("BOOKMARK", "ERROR"):
            yield content["type"] == "DELETED", content["object"]
