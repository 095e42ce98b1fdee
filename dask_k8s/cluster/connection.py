"""How this process reaches a scheduler: through the cluster network where it stands in it, else through port-forwards.

Which of the two is found out and not configured: the scheduler's Pod is asked at its own address, and has to say who
it is, since the same private address may belong to somebody else on the user's side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from dask_k8s import names
from dask_k8s.cluster.together import together
from dask_k8s.errors import NotFound, SchedulerError
from dask_k8s.kinds.value import Manifest, value
from dask_k8s.kube.client import Client
from dask_k8s.kube.portforward import PortForward
from dask_k8s.scheduler.verified import connect_verified

PROBE_TIMEOUT = 1.0
"""Seconds for a connection within the cluster network; outside of it nobody answers."""

RETRY = 0.05
HEAD_START = 0.25
"""Seconds for the direct way to answer after the port-forward has: it is the faster one."""

LAST_ATTEMPT = 0.5
"""Seconds for the last question at the Pod's own address, before the port-forward is settled on."""

SERVICE_ATTEMPTS = 40


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
        self._comm = PortForward(client, self._resolve, ports.comm)
        self._dashboard = PortForward(client, self._resolve, ports.dashboard)
        self.address = ""
        self.dashboard_host, self.dashboard_port = "", 0

    async def __aenter__(self) -> Self:
        await self._stack.__aenter__()
        for forward in (self._comm, self._dashboard):
            await self._stack.enter_async_context(forward)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    async def establish(self, service: Manifest) -> None:
        """Wait until the scheduler answers; then :attr:`address` and the dashboard's are known.

        Bounded by its caller.
        """
        if self._client.credentials.in_cluster:
            while not await self._directly(service):
                await asyncio.sleep(RETRY)
            return
        async with together() as group:
            direct = group.create_task(self._directly(service))
            forwarded = group.create_task(self._forwarded())
            await asyncio.wait((direct, forwarded), return_when=asyncio.FIRST_COMPLETED)
            if not (direct.done() and direct.result()):
                await forwarded
                await asyncio.wait((direct,), timeout=HEAD_START)
            inside = direct.done() and direct.result()
            direct.cancel()
            forwarded.cancel()
        if not inside and not await self._directly_after_all(service):
            self._use_forward()

    async def _directly_after_all(self, service: Manifest) -> bool:
        """One more attempt, now that the scheduler is known to listen.

        While a Pod's network was still being made, or its scheduler was busy starting, the first may have failed
        inside the cluster network too.
        """
        ip = self._pod_ip()
        if ip is None:
            return False
        try:
            await _asked(ip, self._ports.comm, ip, LAST_ATTEMPT)
        except SchedulerError:
            return False
        await self._use_direct(service, ip)
        return True

    async def _directly(self, service: Manifest) -> bool:
        """Whether this process stands in the cluster network: the scheduler itself answers at its Pod's address.

        A refusal comes from the Pod before the scheduler listens, and is asked again. Silence, or an answer of somebody
        else, means that the address is not the Pod's from here: then nobody is asked again.
        """
        while True:
            ip = self._pod_ip()
            if ip is not None:
                try:
                    await _asked(ip, self._ports.comm, ip)
                except SchedulerError as error:
                    if not isinstance(error.__cause__, ConnectionRefusedError):
                        return False
                else:
                    await self._use_direct(service, ip)
                    return True
            await asyncio.sleep(RETRY)

    async def _use_direct(self, service: Manifest, ip: str) -> None:
        """The Service's address where it leads to this scheduler: it stays the same when the Pod is made again."""
        host = self._service_host(service) or ip
        port = _service_port(service, (names.COMM_PORT_NAME,), names.SCHEDULER_PORT)
        dashboard = _service_port(service, names.DASHBOARD_PORT_NAMES, names.DASHBOARD_PORT)
        if not await self._leads_there(host, port, ip):
            host, port, dashboard = ip, self._ports.comm, self._ports.dashboard
        self.address = f"tcp://{_bracketed(host)}:{port}"
        self.dashboard_host, self.dashboard_port = host, dashboard

    async def _leads_there(self, host: str, port: int, ip: str) -> bool:
        """Whether an address leads to the scheduler's Pod, now or within a moment: rules for a new Service take one."""
        for _ in range(SERVICE_ATTEMPTS):
            try:
                await _asked(host, port, ip)
            except SchedulerError:
                await asyncio.sleep(RETRY)
            else:
                return True
        return False

    def _service_host(self, service: Manifest) -> str | None:
        if self._client.credentials.in_cluster:
            return f"{names.scheduler_service(self._cluster)}.{self._namespace}.svc"
        ip = service.get("spec", {}).get("clusterIP")
        return None if ip == "None" else ip

    async def _forwarded(self) -> None:
        """Until the scheduler answers through the port-forward."""
        host, port = self._comm.address
        while True:
            if self._pod_ip() is not None:
                try:
                    await _asked(host, port, None)
                except SchedulerError:
                    pass
                else:
                    return
            await asyncio.sleep(RETRY)

    def _use_forward(self) -> None:
        host, port = self._comm.address
        self.address = f"tcp://{host}:{port}"
        self.dashboard_host, self.dashboard_port = self._dashboard.address

    async def _resolve(self) -> tuple[str, str]:
        """The scheduler's Pod of this moment."""
        pod = self._scheduler()
        if pod is None:
            raise NotFound(f"The cluster {self._cluster} has no scheduler Pod at the moment.")
        return self._namespace, pod["metadata"]["name"]

    def _pod_ip(self) -> str | None:
        pod = self._scheduler()
        return None if pod is None else (pod.get("status") or {}).get("podIP")


async def _asked(host: str, port: int, ip: str | None, within: float = PROBE_TIMEOUT) -> None:
    """That the scheduler at this address, or any where it is None, answers there; else an error."""
    await (await connect_verified(host, port, ip=ip, timeout=within)).aclose()


def _service_port(service: Manifest, wanted: tuple[str, ...], default: int) -> int:
    ports = service.get("spec", {}).get("ports") or ()
    return next((int(port["port"]) for port in ports if port.get("name") in wanted), default)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
