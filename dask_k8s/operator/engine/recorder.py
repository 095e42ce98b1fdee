"""Events for ``kubectl describe``: aggregated, limited in their rate, and never in the way of a pass."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from dask_k8s.errors import AlreadyExists, ApiError, NoCredentials, Unreachable
from dask_k8s.kinds.value import Ref, value
from dask_k8s.kube.client import Client
from dask_k8s.kube.resources import EVENT

logger = logging.getLogger(__name__)

BURST = 25
"""Events that one object may have at once; after that one in :data:`REFILL` seconds."""

REFILL = 60.0
BACKLOG = 1000
MESSAGE_LIMIT = 1024
TOLD_AT_MOST = 10_000


@value
class _Sentence:
    about: Ref
    api_version: str
    reason: str
    message: str
    warning: bool


class Recorder:
    """Takes sentences at once and writes them when it can.

    Parameters
    ----------
    component
        Who speaks.
    """

    def __init__(self, client: Client, component: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._component = component
        self._clock = clock
        self._waiting: asyncio.Queue[_Sentence] = asyncio.Queue(maxsize=BACKLOG)
        self._tokens: dict[str, tuple[float, float]] = {}

    def tell(self, about: Ref, api_version: str, reason: str, message: str, *, warning: bool) -> None:
        """A sentence about an object; dropped where that object has had too many, or too many wait."""
        sentence = _Sentence(
            about=about, api_version=api_version, reason=reason, message=message[:MESSAGE_LIMIT], warning=warning
        )
        if not self._waiting.full() and self._allowed(about.uid or about.name):
            self._waiting.put_nowait(sentence)

    async def run(self) -> None:
        """Write what is told, until it is cancelled."""
        while True:
            sentence = await self._waiting.get()
            try:
                await self._write(sentence)
            except (ApiError, Unreachable, NoCredentials) as error:
                logger.debug("An Event was not written: %s", error)

    async def _write(self, sentence: _Sentence) -> None:
        """A new Event, or the same one again with a higher count."""
        manifest = self._manifest(sentence)
        namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
        try:
            await self._client.create(manifest)
        except AlreadyExists:
            before = await self._client.get(EVENT, namespace, name)
            again = {"count": before.get("count", 1) + 1, "lastTimestamp": manifest["lastTimestamp"]}
            await self._client.patch(EVENT, namespace, name, again)

    def _allowed(self, about: str) -> bool:
        now = self._clock()
        if len(self._tokens) > TOLD_AT_MOST:
            self._tokens.clear()
        tokens, since = self._tokens.get(about, (float(BURST), now))
        tokens = min(float(BURST), tokens + (now - since) / REFILL)
        self._tokens[about] = (max(0.0, tokens - 1), now)
        return tokens >= 1

    def _manifest(self, sentence: _Sentence) -> dict[str, Any]:
        about = sentence.about
        text = f"{about.uid}/{sentence.reason}/{sentence.message}"
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{about.name}.{hashlib.sha256(text.encode()).hexdigest()[:16]}",
                "namespace": about.namespace,
            },
            "involvedObject": {
                "apiVersion": sentence.api_version,
                "kind": about.kind,
                "name": about.name,
                "namespace": about.namespace,
                "uid": about.uid,
            },
            "reason": sentence.reason,
            "message": sentence.message,
            "type": "Warning" if sentence.warning else "Normal",
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
