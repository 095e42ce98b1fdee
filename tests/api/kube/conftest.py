"""An informer behind the proxy, and what it told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from aiohttp import web

from dask_k8s.kinds.value import Manifest
from dask_k8s.kube.client import Client
from dask_k8s.kube.informer import Informer
from dask_k8s.kube.resources import CONFIG_MAP
from tests.faults.proxy import Faults, Met

MINE = "example.org/mine"


def config_map(namespace: str, name: str, content: str = "") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "labels": {MINE: "yes"}},
        "data": {"content": content},
    }


class Follower:
    """An informer of the namespace's config maps that bear our label, and what it told."""

    def __init__(self, client: Client, namespace: str, **options: Any) -> None:
        self.told: list[tuple[str, str]] = []
        self.informer = Informer(client, CONFIG_MAP, namespace, labels=MINE, longest_pause=0.3, **options)
        self.informer.on(self._note)

    def _note(self, old: Manifest | None, new: Manifest | None) -> None:
        subject = new or old
        assert subject is not None
        verb = "added" if old is None else "gone" if new is None else "changed"
        self.told.append((verb, subject["metadata"]["name"]))

    def content(self) -> dict[str, str]:
        return {each["metadata"]["name"]: each["data"]["content"] for each in self.informer.values()}

    async def shows(self, **content: str) -> None:
        """Waits until the cache is this."""
        await until(lambda: self.content() == content)


@asynccontextmanager
async def running(informer: Informer) -> AsyncIterator[None]:
    """Runs it beside the body."""
    task = asyncio.create_task(informer.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], bool]) -> None:
    """Waits for it, at most ten seconds."""
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until, "not within ten seconds"
        await asyncio.sleep(0.01)


@pytest.fixture
async def follower(faults: Faults, through: Client, namespace: str) -> AsyncIterator[Follower]:
    """One that is in step, behind the proxy; its watch is lost after half a second of silence."""
    follower = Follower(through, namespace, idle=0.5)
    async with running(follower.informer):
        await until(lambda: follower.informer.synced.is_set() and faults.watching() == 1)
        yield follower


def is_watch(request: web.Request | Met) -> bool:
    return "watch" in request.query


def is_list(request: web.Request | Met) -> bool:
    return request.path.endswith("/configmaps") and request.method == "GET" and not is_watch(request)
