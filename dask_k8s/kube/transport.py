"""One HTTP session to one API server: credentials, deadlines, a bound on what is in flight, and errors told apart."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from types import TracebackType
from typing import Protocol, Self, TypeVar

import aiohttp

from dask_k8s.errors import Forbidden, Unreachable
from dask_k8s.kinds.value import value
from dask_k8s.kube import departure, replies
from dask_k8s.kube.counts import Counts
from dask_k8s.kube.credentials import Credentials
from dask_k8s.kube.departure import Permit
from dask_k8s.kube.slots import Slots
from dask_k8s.kube.sockets import Sockets

logger = logging.getLogger(__name__)

CONNECT_WITHIN = 10.0
"""Seconds for a connection to come about: less than a call has, so that a dead address is told early."""

CLOSE_WITHIN = 1.0
"""Seconds that a WebSocket waits for the other end to agree that it is closed."""

T = TypeVar("T")
Headers = Mapping[str, str]


class _Exchange(AbstractAsyncContextManager[aiohttp.ClientResponse], Awaitable[aiohttp.ClientResponse], Protocol):
    """A request on its way: awaited for a response that stays open, or entered for one that is released."""


@value
class Request:
    """What is asked of the API server.

    Parameters
    ----------
    path
        Without the server; its parts are quoted.
    params
        The query; None leaves one out.
    tells_deadline
        Whether the server is told how long we wait, so that it gives up no later: for writes.
    permit
        Asked when there is a slot for it, which bounds its time, and when the bytes leave; what it raises is what the
        call raises.
    """

    method: str
    path: str
    params: Mapping[str, str | None]
    body: bytes | None = None
    content_type: str = "application/json"
    tells_deadline: bool = False
    permit: Permit | None = None

    def query(self, seconds: float) -> dict[str, str]:
        """The query as it is sent, when so much time is left."""
        query = {key: text for key, text in self.params.items() if text is not None}
        return {**query, "timeout": f"{max(seconds, 0.0):.3f}s"} if self.tells_deadline else query


class Transport:
    """Sends requests over one session; an async context manager that owns it.

    Watches and WebSockets last, so they take neither from the bound on calls in flight nor from a limit of the
    connector, which has none.
    """

    def __init__(self, credentials: Credentials, *, user_agent: str, in_flight: int) -> None:
        self.credentials = credentials
        self._user_agent = user_agent
        self._slots = Slots(in_flight)
        self._sockets = Sockets()
        self._session: aiohttp.ClientSession | None = None
        self.counts = Counts(credentials.server)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, socket_factory=self._sockets.make),
            middlewares=(_once, self.counts),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": self._user_agent, "Accept": "application/json"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_WITHIN),
            request_class=departure.Request,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            await self._sockets.close()

    async def call(self, request: Request, timeout: float) -> bytes:
        """The body of the answer, within a time that counts from when there is a slot for the request.

        Raises
        ------
        ApiError
            When the API server says no.
        Unreachable
            When no answer came, or a broken one.
        NoCredentials
            When the log-in has ended and cannot be renewed.
        """

        async def exchange(headers: Headers) -> bytes:
            with departure.departing(request.permit, deadline) as departing:
                async with self._send(request, headers, deadline) as response:
                    body = await response.read()
                if departing is not None:
                    departing.answered()
            self._look_at(request, response, body)
            return body

        async with self._slots:
            seconds = timeout if request.permit is None else min(timeout, request.permit())
            deadline = asyncio.get_running_loop().time() + seconds
            async with self._broken_means_unreachable(request, seconds), asyncio.timeout_at(deadline):
                return await self._authorized(exchange)

    @asynccontextmanager
    async def stream(self, request: Request, *, timeout: float, idle: float) -> AsyncIterator[AsyncIterator[bytes]]:
        """The pieces of an answer that lasts, as they come; ends when the server ends it.

        Parameters
        ----------
        timeout
            Seconds until the answer begins.
        idle
            Seconds without a byte after which the connection counts as lost.
        """
        deadline = asyncio.get_running_loop().time() + timeout

        async def begin(headers: Headers) -> aiohttp.ClientResponse:
            response = await self._send(request, headers, deadline, sock_read=idle)
            if response.status >= 300:
                self._look_at(request, response, await response.read())
            return response

        async with self._broken_means_unreachable(request, timeout), asyncio.timeout_at(deadline):
            response = await self._authorized(begin)
        try:
            async with aclosing(self._pieces(request, response, idle)) as pieces:
                yield pieces
        finally:
            _break_off(response)

    async def _pieces(self, request: Request, response: aiohttp.ClientResponse, idle: float) -> AsyncGenerator[bytes]:
        async with self._broken_means_unreachable(request, idle):
            async for piece in response.content.iter_any():
                yield piece

    async def websocket(
        self, path: str, params: Mapping[str, str], protocols: tuple[str, ...], timeout: float
    ) -> aiohttp.ClientWebSocketResponse:
        """A WebSocket that leaves pings and pongs to its holder, who knows when silence is a sign."""
        request = Request(method="GET", path=path, params=params)

        async def shake_hands(headers: Headers) -> aiohttp.ClientWebSocketResponse:
            try:
                return await self._opened().ws_connect(
                    self._url(request),
                    params=request.query(timeout),
                    headers={**headers, "Accept": "*/*"},  # a stream is no JSON: asked for that alone, it is a 406
                    protocols=protocols,
                    autoping=False,
                    timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_WITHIN),
                    ssl=self.credentials.tls() or True,
                    proxy=self.credentials.proxy,
                    server_hostname=self.credentials.server_hostname,
                )
            except aiohttp.WSServerHandshakeError as refusal:
                # Its body, with the reason, is lost here.
                said = f"no WebSocket to {request.path}: {refusal.status} {refusal.message}"
                raise replies.error(refusal.status, refusal.headers or {}, said.encode()) from refusal

        async with self._broken_means_unreachable(request, timeout), asyncio.timeout(timeout):
            return await self._authorized(shake_hands)

    async def _authorized(self, send: Callable[[Headers], Awaitable[T]]) -> T:
        """Logs in again after a 401, once: tokens and certificates end, and only the server knows when."""
        try:
            return await send(await self.credentials.headers())
        except Forbidden as refusal:
            if refusal.status != 401:
                raise
        await self.credentials.refresh()
        return await send(await self.credentials.headers())

    def _send(self, request: Request, headers: Headers, deadline: float, sock_read: float | None = None) -> _Exchange:
        """Redirects are not followed: they would turn a POST into a GET, and carry the token elsewhere."""
        return self._opened().request(
            request.method,
            self._url(request),
            params=request.query(deadline - asyncio.get_running_loop().time()),
            data=request.body,
            headers={"Content-Type": request.content_type, **headers} if request.body is not None else headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_WITHIN, sock_read=sock_read),
            allow_redirects=False,
            ssl=self.credentials.tls() or True,
            proxy=self.credentials.proxy,
            server_hostname=self.credentials.server_hostname,
        )

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("The client is used outside of its `async with`.")
        return self._session

    def _url(self, request: Request) -> str:
        return self.credentials.server + request.path

    def _look_at(self, request: Request, response: aiohttp.ClientResponse, body: bytes) -> None:
        for sentence in replies.warnings(response.headers.getall("Warning", ())):
            logger.debug("%s %s: the API server warns: %s", request.method, request.path, sentence)
        if response.status >= 300:
            raise replies.error(response.status, response.headers, body)

    @asynccontextmanager
    async def _broken_means_unreachable(self, request: Request, within: float) -> AsyncIterator[None]:
        try:
            yield
        except Unreachable:
            raise
        except (aiohttp.ClientError, OSError) as problem:
            silence = f"no answer within {within:g} s" if isinstance(problem, TimeoutError) else ""
            raise self.unreachable(request, str(problem) or silence or type(problem).__name__) from problem

    def unreachable(self, request: Request, what: str) -> Unreachable:
        """The error that says what was asked, of whom, and what happened instead."""
        return Unreachable(f"{request.method} {self._url(request)}: {what}")


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keeps aiohttp from sending a PUT or a DELETE again whose connection broke: the first may have happened.

    It does so for these two errors, and has no option against it.
    """
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as broken:
        if request.method == "GET":
            raise
        raise aiohttp.ClientConnectionError(str(broken)) from broken


def _break_off(response: aiohttp.ClientResponse) -> None:
    """Ends an answer that has no end; a proper end of TLS would wait for the other side's, and that may be gone."""
    if response.connection is not None and response.connection.transport is not None:
        response.connection.transport.abort()
    response.close()
