"""A proxy in front of the real API server that makes go wrong what a test asks for, and passes on all else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
import yaml
from aiohttp import web

from dask_k8s.kube.credentials import Credentials
from dask_k8s.kube.lines import Lines
from dask_k8s.kube.sockets import Sockets

Trouble = Callable[[web.Request], Awaitable[web.StreamResponse | None]]
"""Asked for each request: its own answer, or None to pass the request on."""

LineTrouble = Callable[[web.Request, bytes], Iterable[bytes]]
"""Asked for each line of a watch: what is passed on in its place."""

Asked = Callable[[web.Request, bytes], None]
"""Told of each request as it comes, with its body, whatever becomes of it."""

Seen = Callable[[web.Request, bytes], None]
"""Told of each answer to a read and of each line of a watch, as the far side gets it."""

Passed = Callable[["Met", bytes, int], None]
"""Told of each write that the API server has answered: what it was and when it was passed on, its body, the status."""

KEPT = ("Content-Type", "Accept", "User-Agent")


@dataclass(frozen=True, slots=True)
class Met:
    """A request that came by.

    Parameters
    ----------
    at
        When, by the monotonic clock.
    """

    at: float
    method: str
    path: str
    query: Mapping[str, str]
    agent: str

    @classmethod
    def now(cls, request: web.Request) -> Met:
        """What is kept of one that is here."""
        agent = request.headers.get("User-Agent", "")
        return cls(time.monotonic(), request.method, request.path, dict(request.query), agent)


class Faults:
    """An async context manager; each trouble is a method or a field.

    Attributes
    ----------
    trouble
        What becomes of requests.
    lines
        What becomes of the lines of watches.
    page
        How many items of a list the API server gives at once, however many are asked for; None leaves it to the asker.
    silent
        Whether watches stay open and tell nothing.
    frozen
        Whether nothing at all is passed on, in either direction, while every connection stays open.
    requests
        All that were met, in their order.
    asked
        Told of what comes from the far side.
    seen
        Told of what passes to it.
    passed
        Told of writes.
    """

    def __init__(self, upstream: Credentials) -> None:
        self.trouble: Trouble | None = None
        self.lines: LineTrouble | None = None
        self.page: int | None = None
        self.silent = False
        self.requests: list[Met] = []
        self.asked: Asked = lambda request, body: None
        self.seen: Seen = lambda request, body: None
        self.passed: Passed = lambda met, body, status: None
        self.refreshed = 0
        self.token = ""
        self._upstream = upstream
        self._flows = asyncio.Event()
        self._flows.set()
        self._watches: dict[web.StreamResponse, web.Request] = {}
        self._mute: set[web.StreamResponse] = set()
        self._runner: web.AppRunner | None = None
        self._sockets = Sockets()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=0, ssl=self._upstream.tls() or True, socket_factory=self._sockets.make)
        self._session = aiohttp.ClientSession(connector=connector)
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._runner is not None
        assert self._session is not None
        await self._runner.cleanup()
        await self._session.close()
        await self._sockets.close()

    @property
    def server(self) -> str:
        """Where it listens."""
        assert self._runner is not None
        host, port = self._runner.addresses[0]
        return f"http://{host}:{port}"

    def credentials(self) -> Credentials:
        """For a client on the far side; the proxy logs in as the upstream's own user."""
        return Credentials(
            server=self.server,
            tls=lambda: None,
            headers=self._headers,
            refresh=self._refresh,
            namespace=None,
            proxy=None,
            server_hostname=None,
            in_cluster=False,
        )

    def kubeconfig(self, path: Path) -> str:
        """Writes the same for a process on the far side; the file's name."""
        named = {"name": "proxy"}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "proxy",
            "clusters": [{**named, "cluster": {"server": self.server}}],
            "users": [{**named, "user": {}}],
            "contexts": [{**named, "context": {"cluster": "proxy", "user": "proxy"}}],
        }
        path.write_text(yaml.safe_dump(content))
        return str(path)

    def watches(self) -> list[web.Request]:
        """Those that are open."""
        return list(self._watches.values())

    def watching(self) -> int:
        """How many watches are open."""
        return len(self._watches)

    @property
    def frozen(self) -> bool:
        return not self._flows.is_set()

    @frozen.setter
    def frozen(self, freezes: bool) -> None:
        self._flows.clear() if freezes else self._flows.set()

    def cut(self, watch: web.Request | None = None) -> None:
        """Breaks all watches, or one, in the middle of a chunk."""
        for request in self._watches.values():
            if watch in (None, request):
                abort(request)

    def mute(self, watch: web.Request) -> None:
        """One watch stays open and tells nothing any more."""
        self._mute |= {response for response, request in self._watches.items() if request is watch}

    async def inject(self, line: bytes) -> None:
        """Sends a line of the test's own on all watches; there has to be one."""
        while not self._watches:
            await asyncio.sleep(0.01)
        for watch in self._watches:
            await watch.write(line + b"\n")

    async def loses_reply(self, request: web.Request) -> web.StreamResponse:
        """A trouble: the API server does what is asked, and its answer is lost."""
        await self.pass_on(request)
        abort(request)
        return web.Response(status=502)

    async def _headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    async def _refresh(self) -> None:
        self.refreshed += 1
        self.token = f"token-{self.refreshed}"

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(Met.now(request))
        self.asked(request, await request.read())
        await self._flows.wait()
        answer = await self.trouble(request) if self.trouble else None
        answer = answer or await self.pass_on(request)
        await self._flows.wait()
        return answer

    async def pass_on(self, request: web.Request) -> web.StreamResponse:
        """What the real API server says."""
        assert self._session is not None
        kept = {key: text for key, text in request.headers.items() if key in KEPT}
        sent = await request.read()
        met = Met.now(request)
        try:
            async with self._session.request(
                request.method,
                self._upstream.server + self._shortened(request),
                data=sent or None,
                headers={**kept, **await self._upstream.headers()},
                timeout=aiohttp.ClientTimeout(total=None),
            ) as upstream:
                if "watch" in request.query and upstream.status == 200:
                    return await self._pass_watch_on(request, upstream)
                passed = {key: upstream.headers[key] for key in ("Retry-After", "Warning") if key in upstream.headers}
                body = await upstream.read()
                if request.method != "GET":
                    self.passed(met, sent, upstream.status)
                elif upstream.status == 200:
                    self.seen(request, body)
                return web.Response(
                    status=upstream.status, body=body, headers=passed, content_type=upstream.content_type
                )
        except aiohttp.ClientConnectionError:
            abort(request)  # as the far side would see it without a proxy
            return web.Response(status=502)

    def _shortened(self, request: web.Request) -> str:
        if self.page is None or "limit" not in request.query:
            return request.path_qs
        return str(request.rel_url.update_query(limit=self.page))

    async def _pass_watch_on(self, request: web.Request, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        self._watches[response] = request
        lines = Lines()
        try:
            async for piece in upstream.content.iter_any():
                for line in lines.feed(piece):
                    await self._pass_line_on(request, response, line)
        except OSError:
            # The client went: there is nobody to pass anything on to.
            pass
        finally:
            del self._watches[response]
            self._mute.discard(response)
        return response

    async def _pass_line_on(self, request: web.Request, response: web.StreamResponse, line: bytes) -> None:
        await self._flows.wait()
        if self.silent or response in self._mute:
            return
        for passed in self.lines(request, line) if self.lines else (line,):
            self.seen(request, passed)
            await response.write(passed + b"\n")


def abort(request: web.Request) -> None:
    """Breaks a connection."""
    if request.transport is not None:
        request.transport.abort()


def says(status: int, body: bytes = b"", *, times: int = 1, headers: Mapping[str, str] | None = None) -> Trouble:
    """Answers so many requests itself."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers=headers)

    return first(times, answer)


def first(count: int, trouble: Trouble) -> Trouble:
    """A trouble for so many requests, and for none after them."""
    left = count

    async def counted(request: web.Request) -> web.StreamResponse | None:
        nonlocal left
        left -= 1
        return await trouble(request) if left >= 0 else None

    return counted


def only(condition: Callable[[web.Request], bool], trouble: Trouble) -> Trouble:
    """A trouble for some requests alone."""

    async def filtered(request: web.Request) -> web.StreamResponse | None:
        return await trouble(request) if condition(request) else None

    return filtered
