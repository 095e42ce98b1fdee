"""A proxy in front of the real API server that makes go wrong what a test asks for, and passes on all else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import web

from dask_k8s.kube.credentials import Credentials
from dask_k8s.kube.sockets import Sockets

Trouble = Callable[[web.Request], Awaitable[web.StreamResponse | None]]
"""Asked for each request: its own answer, or None to pass the request on."""


class Faults:
    """An async context manager; each trouble is a method or a field."""

    def __init__(self, upstream: Credentials) -> None:
        self.trouble: Trouble | None = None
        self.silent = False
        self.requests: list[web.Request] = []
        self.refreshed = 0
        self.token = ""
        self._upstream = upstream
        self._watches: set[web.StreamResponse] = set()
        self._runner: web.AppRunner | None = None
        self._sockets = Sockets()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=0, ssl=self._upstream.ssl or True, socket_factory=self._sockets.make)
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

    def credentials(self) -> Credentials:
        """For a client on the far side; the proxy logs in as the upstream's own user."""
        assert self._runner is not None
        host, port = self._runner.addresses[0]
        return Credentials(
            server=f"http://{host}:{port}",
            ssl=None,
            headers=self._headers,
            refresh=self._refresh,
            namespace=None,
            proxy=None,
            server_hostname=None,
            in_cluster=False,
        )

    def watching(self) -> int:
        """How many watches are open."""
        return len(self._watches)

    def cut(self) -> None:
        """Breaks all watches, in the middle of a chunk."""
        for watch in self._watches:
            if watch._req is not None and watch._req.transport is not None:
                watch._req.transport.abort()

    async def inject(self, line: bytes) -> None:
        """Sends a line of the test's own on all watches; there has to be one."""
        while not self._watches:
            await asyncio.sleep(0.01)
        for watch in self._watches:
            await watch.write(line + b"\n")

    async def _headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    async def _refresh(self) -> None:
        self.refreshed += 1
        self.token = f"token-{self.refreshed}"

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        answer = await self.trouble(request) if self.trouble else None
        return answer or await self.pass_on(request)

    async def pass_on(self, request: web.Request) -> web.StreamResponse:
        """What the real API server says."""
        assert self._session is not None
        kept = {key: text for key, text in request.headers.items() if key in ("Content-Type", "Accept", "User-Agent")}
        async with self._session.request(
            request.method,
            self._upstream.server + request.path_qs,
            data=await request.read() or None,
            headers={**kept, **await self._upstream.headers()},
            timeout=aiohttp.ClientTimeout(total=None),
        ) as upstream:
            if "watch" in request.query and upstream.status == 200:
                return await self._pass_watch_on(request, upstream)
            passed = {key: upstream.headers[key] for key in ("Retry-After", "Warning") if key in upstream.headers}
            return web.Response(
                status=upstream.status,
                body=await upstream.read(),
                headers=passed,
                content_type=upstream.content_type,
            )

    async def _pass_watch_on(self, request: web.Request, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        self._watches.add(response)
        try:
            async for piece in upstream.content.iter_any():
                if not self.silent:
                    await response.write(piece)
        except OSError:
            # The client went: there is nobody to pass anything on to.
            pass
        finally:
            self._watches.discard(response)
        return response


def says(status: int, body: bytes = b"", *, times: int = 1, headers: Mapping[str, str] | None = None) -> Trouble:
    """Answers so many requests itself."""
    left = times

    async def trouble(request: web.Request) -> web.StreamResponse | None:
        nonlocal left
        left -= 1
        return web.Response(status=status, body=body, headers=headers) if left >= 0 else None

    return trouble


def only(condition: Callable[[web.Request], bool], trouble: Trouble) -> Trouble:
    """A trouble for some requests alone."""

    async def filtered(request: web.Request) -> web.StreamResponse | None:
        return await trouble(request) if condition(request) else None

    return filtered
