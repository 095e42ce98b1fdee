"""What a client counts of its requests."""

from __future__ import annotations

import pytest
from aiohttp import web

from dask_k8s.kube.resources import CONFIG_MAP, POD
from tests.unit.operator.conftest import client_of


async def _anything(_: web.Request) -> web.StreamResponse:
    return web.json_response({"metadata": {}})


@pytest.mark.parametrize("prefix", ["", "/k8s/clusters/c-x"])
async def test_verbs_are_those_of_a_role_wherever_the_api_begins(prefix: str) -> None:
    """Behind Rancher and its like the server's address has a path of its own, before that of each request."""
    app = web.Application()
    app.router.add_route("*", prefix + "/{path:(api|version).*}", _anything)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with client_of(f"http://127.0.0.1:{runner.addresses[0][1]}{prefix}") as client:
            await client.version()
            await client.list(POD)
            await client.get(POD, "ns", "a")
            await client.delete(CONFIG_MAP, "ns", "a")
            async with client.watch(POD, "ns") as events:
                assert [event async for event in events] == []
    finally:
        await runner.cleanup()
    assert client.answers == {("get", "200"): 2, ("list", "200"): 1, ("delete", "200"): 1, ("watch", "200"): 1}
