"""What an operator behind a proxy was told that people ask for: it cannot know of anything newer."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from aiohttp import web

GROUPS = "/daskworkergroups"
IN_FLIGHT = 10.0
"""Seconds that a write may be under way that an older number was the reason for: its own time-out, and a delay."""


class Beliefs:
    """The replicas of worker groups as they passed a proxy."""

    def __init__(self) -> None:
        self._told: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)

    def hear(self, request: web.Request, body: bytes) -> None:
        """What passes on its way to the operator."""
        if GROUPS not in request.path:
            return
        content = json.loads(body)
        if "watch" in request.query:
            self._learn(content.get("object") or {})
        for item in content.get("items") or [] if "watch" not in request.query else []:
            self._learn(item)

    def most(self, group: str, now: float) -> int:
        """The most replicas of a group, by uid, that a write which arrives now may have had in mind."""
        told = self._told.get(group, [])
        recent = [replicas for at, replicas in told if now - at < IN_FLIGHT]
        before = [replicas for at, replicas in told if now - at >= IN_FLIGHT][-1:]
        return max((*recent, *before), default=0)

    def _learn(self, group: Mapping[str, Any]) -> None:
        if "uid" in group.get("metadata", {}):
            replicas = group.get("spec", {}).get("worker", {}).get("replicas", 0)
            self._told[group["metadata"]["uid"]].append((time.monotonic(), replicas))
