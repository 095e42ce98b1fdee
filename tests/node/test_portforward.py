"""Streams into a real Pod: API server, kubelet and container runtime on the way."""

from __future__ import annotations

import asyncio
import json
import os
import textwrap
from collections.abc import AsyncIterator

import pytest

from dask_k8s.errors import Missing, Unreachable
from dask_k8s.kube import credentials
from dask_k8s.kube.client import Client
from dask_k8s.kube.portforward import PortForward, open_stream
from devcluster import Cluster
from tests.node.conftest import Kubectl

PORT, NOBODY = 7000, 7001
SERVER = """
    import socketserver

    class Echo(socketserver.StreamRequestHandler):
        def handle(self):
            while data := self.request.recv(65536):
                self.request.sendall(data)
                if data.endswith(b"quit"):
                    return

    with socketserver.ThreadingTCPServer(("127.0.0.1", 7000), Echo) as server:
        print("listening", flush=True)
        server.serve_forever()
"""


@pytest.fixture
def pod(kubectl: Kubectl, image: str) -> str:
    """A Pod that says again what it hears, until it hears quit."""
    container = {"name": "echo", "image": image, "command": ["python", "-c", textwrap.dedent(SERVER)]}
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "echo"},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }
    kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    kubectl.until(lambda: "listening" in kubectl("logs", "echo", check=False), "the server in the Pod")
    return "echo"


@pytest.fixture
async def client(node: Cluster) -> AsyncIterator[Client]:
    """A client with all rights, outside of the cluster network."""
    async with Client(await credentials.from_kubeconfig(node.kubeconfig)) as client:
        yield client


async def test_a_port_leads_into_the_pod(client: Client, kubectl: Kubectl, pod: str) -> None:
    """Much comes back whole, and the Pod's end is a proper end, not a broken connection."""

    async def resolve() -> tuple[str, str]:
        return kubectl.namespace, pod

    sent = os.urandom(2**20) * 8
    async with PortForward(client, resolve, PORT) as forward, asyncio.timeout(60):
        reader, writer = await asyncio.open_connection(*forward.address)
        async with asyncio.TaskGroup() as group:
            writer.write(sent)
            group.create_task(writer.drain())
            assert await reader.readexactly(len(sent)) == sent
        writer.write(b"quit")
        assert await reader.read() == b"quit"
        writer.close()
        await writer.wait_closed()
        assert forward.last_error is None


async def test_a_stream_leads_into_the_pod(client: Client, kubectl: Kubectl, pod: str) -> None:
    """The same without a port on this machine."""
    async with asyncio.timeout(60):
        reader, writer = await open_stream(client, kubectl.namespace, pod, PORT)
        writer.write(b"hello quit")
        assert await reader.read() == b"hello quit"
        writer.close()
        await writer.wait_closed()


async def test_where_nobody_listens(client: Client, kubectl: Kubectl, pod: str) -> None:
    """The kubelet's words reach the reader, and a Pod that is not there is told at once."""
    async with asyncio.timeout(60):
        reader, writer = await open_stream(client, kubectl.namespace, pod, NOBODY)
        with pytest.raises(Unreachable, match=r"port 7001 of Pod .*refused"):
            await reader.readexactly(1)
        writer.close()
        await writer.wait_closed()
        with pytest.raises(Missing):
            await open_stream(client, kubectl.namespace, "none", PORT)


async def test_the_last_lines_of_a_container(client: Client, kubectl: Kubectl, pod: str) -> None:
    """As the diagnosis quotes them."""
    assert await client.logs(kubectl.namespace, pod, tail=1) == "listening\n"
