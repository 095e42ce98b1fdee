"""Client certificates that are replaced, before a server that looks at them for each request as the API server does."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from dask_k8s.errors import Forbidden
from dask_k8s.kube import credentials
from dask_k8s.kube.client import Client
from dask_k8s.kube.resources import POD
from devcluster.certificates import Authority

Asks = Callable[[Client], Any]


class Server:
    """It knows its users by their certificates, and keeps the connection of one whose certificate is over."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.over: set[str] = set()
        self.connections: set[object] = set()
        self._authority = Authority()
        (folder / "ca.crt").write_bytes(self._authority.pem)
        self._authority.issue("server", addresses=["127.0.0.1"]).write(folder, "server")
        self.issue()

    def issue(self) -> None:
        """A new certificate and key under the names of the old ones."""
        self._authority.issue("user").write(self.folder, "user")

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Whoever's certificate is over gets a 401 over the same connection again and again."""
        self.connections.add(request.transport)
        if _serial(request) in self.over:
            return web.json_response({"kind": "Status", "code": 401}, status=401)
        return web.json_response({"serial": _serial(request)})

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Path]:
        """While it listens; the kubeconfig that leads to it."""
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.folder / "ca.crt")
        tls.load_cert_chain(self.folder / "server.crt", self.folder / "server.key")
        tls.verify_mode = ssl.CERT_REQUIRED
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
            yield self._kubeconfig(runner.addresses[0][1])
        finally:
            await runner.cleanup()

    def _kubeconfig(self, port: int) -> Path:
        cluster = {"server": f"https://127.0.0.1:{port}", "certificate-authority": str(self.folder / "ca.crt")}
        user = {"client-certificate": str(self.folder / "user.crt"), "client-key": str(self.folder / "user.key")}
        content = {
            "current-context": "it",
            "clusters": [{"name": "it", "cluster": cluster}],
            "users": [{"name": "me", "user": user}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "me"}}],
        }
        path = self.folder / "config"
        path.write_text(yaml.safe_dump(content))
        return path


def _serial(request: web.Request) -> str:
    assert request.transport is not None
    certificate = request.transport.get_extra_info("ssl_object").getpeercert()
    return str(certificate["serialNumber"])


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal has the files read again, however short a time ago they were read."""
    monkeypatch.setattr(credentials, "_NOT_AGAIN_WITHIN", 0.0)


@pytest.fixture
async def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


async def _lists(client: Client) -> Any:
    return await client.list(POD)


async def _watches(client: Client) -> Any:
    async with client.watch(POD) as events:
        return await anext(events, None)


@pytest.mark.parametrize("asks", [_lists, _watches])
async def test_a_replaced_certificate_is_shown_at_once(server: Server, asks: Asks) -> None:
    """The kept connection still bears the old one, and would be refused for ever."""
    async with server.serving() as kubeconfig, Client(await credentials.from_kubeconfig(kubeconfig)) as client:
        first = (await client.version())["serial"]
        server.over.add(first)
        server.issue()
        await asks(client)
        assert (await client.version())["serial"] != first


async def test_who_is_refused_for_a_while_goes_on_once_there_is_a_new_one(server: Server) -> None:
    """As where nobody renewed it in time: each attempt looks again."""
    async with server.serving() as kubeconfig, Client(await credentials.from_kubeconfig(kubeconfig)) as client:
        server.over.add((await client.version())["serial"])
        for _ in range(2):
            with pytest.raises(Forbidden):
                await client.version()
        server.issue()
        await client.version()


async def test_connections_are_kept_while_the_certificate_is_the_same(server: Server) -> None:
    """A log-in that brings nothing new costs no handshake."""
    async with server.serving() as kubeconfig:
        own = await credentials.from_kubeconfig(kubeconfig)
        async with Client(own) as client:
            for _ in range(3):
                await client.version()
                await own.refresh()
    assert len(server.connections) == 1
