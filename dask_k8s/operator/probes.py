"""What the kubelet asks: ``/livez``, whether a restart would help, and ``/readyz``, whether the caches are in step.

And what Prometheus asks: ``/metrics``.

An API server that is away, or CRDs that are missing, make no restart: they are told by ``/readyz``. That the event loop
breathes needs no look of its own, since nobody would answer. A standby is ready: its caches are warm.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

from aiohttp import web

from dask_k8s.operator.engine.queue import Key

SILENCE = 300.0
"""Seconds without a word after which a cache that knows of no trouble counts as dead: bookmarks come each minute."""

PASS_LIMIT = 300.0
"""Seconds without an end of any of its calls after which a pass counts as hung: each has a deadline of seconds."""


_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Follower(Protocol):
    """What is asked of an informer."""

    @property
    def resource(self) -> object:
        """The kind that it follows."""

    @property
    def namespace(self) -> str | None:
        """Where; None for everywhere."""

    @property
    def trouble(self) -> str | None:
        """Why it is not in step, as a sentence."""

    @property
    def last_heard(self) -> float:
        """When it last heard something, by the monotonic clock."""


def why_dead(followers: Iterable[Follower], passes: Mapping[Key, float], now: float) -> Iterator[str]:
    """What only a restart mends, as sentences.

    Parameters
    ----------
    passes
        Those under way, with the moments of the monotonic clock at which they began or last got further.
    """
    for follower in followers:
        silent = now - follower.last_heard
        if follower.trouble is None and silent > SILENCE:
            yield f"{_what(follower)}: nothing was heard for {silent:.0f} s, and no trouble is known."
    for key, began in passes.items():
        if now - began > PASS_LIMIT:
            yield f"The pass for {key.kind} {key.namespace}/{key.name} hangs for {now - began:.0f} s."


def why_unready(followers: Iterable[Follower]) -> Iterator[str]:
    """Which caches are not in step, as sentences."""
    for follower in followers:
        if follower.trouble is not None:
            what = _what(follower)
            yield follower.trouble if follower.trouble.startswith(what) else f"{what} {follower.trouble}"


@asynccontextmanager
async def answered(
    port: int,
    *,
    dead: Callable[[], Iterable[str]],
    unready: Callable[[], Iterable[str]],
    metrics: Callable[[str], tuple[bytes, str]],
) -> AsyncIterator[int]:
    """Answers the probes on a port of every interface; yields the port, which is another one where 0 was asked.

    Parameters
    ----------
    metrics
        What is told to whoever accepts this, and the type that it has.

    Raises
    ------
    OSError
        When the port is taken.
    """
    app = web.Application()
    app.router.add_get("/livez", _answer(dead))
    app.router.add_get("/readyz", _answer(unready))
    app.router.add_get("/metrics", _exposed(metrics))
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, None, port).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _answer(complaints: Callable[[], Iterable[str]]) -> _Handler:
    async def handle(_: web.Request) -> web.StreamResponse:
        found = list(complaints())
        return web.Response(text="\n".join(found or ["ok"]) + "\n", status=503 if found else 200)

    return handle


def _exposed(metrics: Callable[[str], tuple[bytes, str]]) -> _Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        body, content_type = metrics(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    return handle


def _what(follower: Follower) -> str:
    return f"{follower.resource} in {follower.namespace}" if follower.namespace else str(follower.resource)
