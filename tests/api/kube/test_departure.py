"""A write asks in the moment in which it leaves, and what is given up is given up by the kernel, too."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from aiohttp import web

from dask_k8s.errors import LeadershipLost, Missing, Unreachable
from dask_k8s.kinds.value import Manifest
from dask_k8s.kube.client import Client
from dask_k8s.kube.credentials import Credentials
from dask_k8s.kube.resources import Resource
from tests.faults.proxy import Faults

CONFIG_MAP = Resource(group="", version="v1", plural="configmaps", kind="ConfigMap")


class Fence:
    """What a test can drop."""

    def __init__(self) -> None:
        self.holds = True
        self.asked, self.most = 0, 100

    def check(self) -> float:
        self.asked += 1
        if not self.holds or self.asked > self.most:
            raise LeadershipLost("dropped")
        return 5.0


def always() -> float:
    """A permission that is never taken away."""
    return 5.0


def config_map(name: str, namespace: str = "default", size: int = 1) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": {"content": "x" * size},
    }


async def test_a_write_that_had_to_wait_is_asked_again(faults: Faults, namespace: str) -> None:
    """It was allowed when it was decided, and then waited for a place; reads need no permission."""
    fence = Fence()

    async def slow(request: web.Request) -> None:
        if request.method == "POST":
            await asyncio.sleep(0.3)

    faults.trouble = slow
    async with Client(faults.credentials(), in_flight=1) as client:
        guarded = client.guarded(fence.check)
        async with asyncio.TaskGroup() as group:
            group.create_task(guarded.create(config_map("on-its-way", namespace)))
            while not faults.requests:
                await asyncio.sleep(0.01)
            waiting = group.create_task(_lost(guarded, config_map("waits", namespace)))
            fence.holds = False
        assert waiting.result()
        assert (await guarded.get(CONFIG_MAP, namespace, "on-its-way"))["metadata"]["name"] == "on-its-way"
        with pytest.raises(Missing):
            await guarded.get(CONFIG_MAP, namespace, "waits")
    assert [request.method for request in faults.requests] == ["POST", "GET", "GET"]


async def _lost(client: Client, manifest: Manifest) -> bool:
    """Whether it was not allowed to be sent."""
    try:
        await client.create(manifest)
    except LeadershipLost:
        return True
    return False


async def test_a_write_that_needs_a_new_log_in_is_asked_again(faults: Faults, namespace: str) -> None:
    """Between a 401 and the second attempt lies a program of the user's."""
    fence = Fence()

    async def says_401(request: web.Request) -> web.Response:
        fence.holds = False
        return web.Response(status=401)

    faults.trouble = says_401
    async with Client(faults.credentials()) as client:
        with pytest.raises(LeadershipLost):
            await client.guarded(fence.check).create(config_map("a", namespace))
    assert len(faults.requests) == 1


async def test_a_write_is_asked_in_the_step_that_hands_its_bytes_over(faults: Faults, namespace: str) -> None:
    """Its connection was there and it was allowed; then the loop had other things to do, or the process was stopped."""
    fence = Fence()
    async with Client(faults.credentials()) as client:
        guarded = client.guarded(fence.check)
        fence.most = 2
        assert await _lost(guarded, config_map("a", namespace))
        fence.most = 100
        await guarded.create(config_map("b", namespace))
    assert [request.method for request in faults.requests] == ["POST"]


async def test_a_write_has_no_more_time_than_is_left_when_there_is_a_slot_for_it(
    faults: Faults, namespace: str
) -> None:
    """However much it had when it was decided."""

    async def slow(request: web.Request) -> None:
        await asyncio.sleep(1.0)

    faults.trouble = slow
    async with Client(faults.credentials()) as client:
        with pytest.raises(Unreachable, match="no answer within"):
            await client.guarded(lambda: 0.2).create(config_map("a", namespace), timeout=5)
    (asked,) = faults.requests
    assert float(asked.query["timeout"].removesuffix("s")) <= 0.2


GUARDED = pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "as ever"])
SIZE = 400_000


@contextmanager
def slow_to_read() -> Iterator[socket.socket]:
    """A server that takes connections, and of what is sent a few kilobytes."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening


def led_to(listening: socket.socket, faults: Faults) -> Credentials:
    host, port = listening.getsockname()
    return dataclasses.replace(faults.credentials(), server=f"http://{host}:{port}")


@GUARDED
async def test_what_was_given_up_does_not_arrive_when_the_network_is_back(faults: Faults, *, guarded: bool) -> None:
    """A server that reads again after the write was given up gets the end of the connection, and not the rest."""
    with slow_to_read() as listening:
        async with Client(led_to(listening, faults)) as client:
            sender = client.guarded(always) if guarded else client
            with pytest.raises(Unreachable):
                await sender.create(config_map("a", size=SIZE), timeout=0.5)
        assert (_received(listening) > SIZE) is not guarded


@GUARDED
async def test_nor_does_it_where_the_process_was_stopped_meanwhile(faults: Faults, *, guarded: bool) -> None:
    """Nobody is there to give it up but the kernel: the loop stands still from before its end until all is read."""
    with slow_to_read() as listening:
        async with Client(led_to(listening, faults)) as client:
            sender = client.guarded(always) if guarded else client
            writing = asyncio.create_task(_given_up(sender))
            await asyncio.sleep(0.3)  # the kernel has taken it by now
            time.sleep(1.5)  # noqa: ASYNC251 - as while it is stopped
            received = _received(listening)
            await writing
    assert (received > SIZE) is not guarded


async def _given_up(client: Client) -> None:
    with pytest.raises(Unreachable):
        await client.create(config_map("a", size=SIZE), timeout=0.6)


def _received(listening: socket.socket) -> int:
    """How many bytes of the connection that waits there can still be had."""
    accepted, _ = listening.accept()
    accepted.settimeout(1.0)
    received = 0
    with accepted, suppress(ConnectionResetError, TimeoutError):
        while piece := accepted.recv(65536):
            received += len(piece)
    return received


async def test_a_connection_that_was_answered_is_one_for_everybody(faults: Faults, namespace: str) -> None:
    """It goes back to the others as it was, and ends as connections do."""
    async with Client(faults.credentials()) as client:
        await client.guarded(always).create(config_map("a", namespace))
        (kept,) = client._transport._sockets._open()
        assert kept.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == bytes(8)
        assert kept.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 0
