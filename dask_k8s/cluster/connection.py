"""How this process reaches a scheduler: through the cluster network where it stands in it, else through port-forwards.

Which of the two is found out and not configured: the scheduler's Pod is asked at its own address, and has to say who
it is, since the same private address may belong to somebody else on the user's side.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import AsyncExitStack, aclosing
from types import TracebackType
from typing import Self

from dask_k8s import names
from dask_k8s.errors import SchedulerError
from dask_k8s.kinds.value import Manifest, value
from dask_k8s.kube.client import Client
from dask_k8s.kube.portforward import PortForward
from dask_k8s.scheduler.connection import connect
from dask_k8s.scheduler.rpc import SchedulerRpc

PROBE_TIMEOUT = 1.0
"""Seconds for a connection within the cluster network; outside of it nobody answers."""

RETRY = 0.05
IDENTITY_TIMEOUT = 5.0


@value
class Ports:
    """Where a scheduler listens in its Pod."""

    comm: int
    dashboard: int


class Connection:
    """The way to one scheduler, kept while it is entered.

    Each new connection of a port-forward goes to the Pod that is there then, so a scheduler that was made again is
    found again.

    Parameters
    ----------
    scheduler
        The scheduler's Pod as it is now, or None.
    """

    def __init__(
        self, client: Client, *, namespace: str, cluster: str, ports: Ports, scheduler: Callable[[], Manifest | None]
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._cluster = cluster
        self._ports = ports
        self._scheduler = scheduler
        self._stack = AsyncExitStack()
        self.address = ""
        self.dashboard_host, self.dashboard_port = "", 0

    async def __aenter__(self) -> Self:
        await self._stack.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    async def establish(self, service: Manifest) -> None:
        """Wait until the scheduler answers; then :attr:`address` and the dashboard's are known.

        Bounded by its caller.
        """
        inside = await self._stands_inside()
        if not inside:
            await self._forward()
        while True:
            try:
                if inside:
                    await self._asked_directly(service)
                else:
                    await self._asked_through_forward()
            except SchedulerError:
                await asyncio.sleep(RETRY)
            else:
                return

    async def _stands_inside(self) -> bool:
        """Whether the Pod's own address answers at all: a refusal is an answer too, before the scheduler listens.

        A service account's credentials settle it: this is a Pod.
        """
        if self._client.credentials.in_cluster:
            return True
        while (ip := self._pod_ip()) is None:
            await asyncio.sleep(RETRY)
        try:
            async with asyncio.timeout(PROBE_TIMEOUT):
                _, writer = await asyncio.open_connection(ip, self._ports.comm)
        except ConnectionRefusedError:
            return True
        except (OSError, TimeoutError):
            return False
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return True

    async def _asked_directly(self, service: Manifest) -> None:
        """The Service's address where it leads to this scheduler: it stays the same when the Pod is made again."""
        host = self._service_host(service)
        port = _service_port(service, names.COMM_PORT_NAME, names.SCHEDULER_PORT)
        await self._ask(host, port)
        self.address = f"tcp://{_bracketed(host)}:{port}"
        self.dashboard_host = host
        self.dashboard_port = _service_port(service, names.DASHBOARD_PORT_NAME, names.DASHBOARD_PORT)

    def _service_host(self, service: Manifest) -> str:
        if self._client.credentials.in_cluster:
            return f"{names.scheduler_service(self._cluster)}.{self._namespace}.svc"
        ip = service.get("spec", {}).get("clusterIP")
        return ip if ip and ip != "None" else self._pod_ip() or ""

    async def _forward(self) -> None:
        comm = await self._stack.enter_async_context(PortForward(self._client, self._resolve, self._ports.comm))
        dashboard = await self._stack.enter_async_context(
            PortForward(self._client, self._resolve, self._ports.dashboard)
        )
        host, port = comm.address
        self.address = f"tcp://{host}:{port}"
        self.dashboard_host, self.dashboard_port = dashboard.address

    async def _asked_through_forward(self) -> None:
        host, _, port = self.address.removeprefix("tcp://").rpartition(":")
        await self._ask(host, int(port))

    async def _ask(self, host: str, port: int) -> None:
        """That the scheduler there is this cluster's, or an error."""
        async with asyncio.timeout(IDENTITY_TIMEOUT):
            async with aclosing(await connect(host, port, timeout=PROBE_TIMEOUT)) as connection:
                await SchedulerRpc(connection).identity()

    async def _resolve(self) -> tuple[str, str]:
        """The scheduler's Pod of this moment."""
        pod = self._scheduler()
        if pod is None:
            raise LookupError(f"The cluster {self._cluster} has no scheduler Pod at the moment.")
        return self._namespace, pod["metadata"]["name"]

    def _pod_ip(self) -> str | None:
        pod = self._scheduler()
        return None if pod is None else (pod.get("status") or {}).get("podIP")


def _service_port(service: Manifest, name: str, default: int) -> int:
    ports = service.get("spec", {}).get("ports") or ()
    return next((int(port["port"]) for port in ports if port.get("name") == name), default)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
