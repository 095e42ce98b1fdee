"""A connection to the scheduler at a Pod's address, and to nobody else.

Outside of the cluster network that private address may belong to another machine, or a proxy may answer for it.
"""

from __future__ import annotations

import asyncio

from dask_k8s.errors import SchedulerError, SchedulerRefused, SchedulerSilent
from dask_k8s.scheduler.connection import Connection, connect
from dask_k8s.scheduler.rpc import SchedulerRpc


async def connect_verified(host: str, port: int, *, ip: str | None, timeout: float) -> Connection:
    """A connection to a scheduler that says that it listens at this IP address.

    Parameters
    ----------
    host, port
        Where to connect: the same address, or one that should lead to it.
    ip
        None where the way itself says who is at its end, as a port-forward does.
    timeout
        Seconds for the connection, and for the answer; later calls have their own.

    Raises
    ------
    SchedulerSilent, SchedulerRefused
        Where nobody answers, or somebody else does.
    """
    connection = await connect(host, port, timeout=timeout)
    try:
        async with asyncio.timeout(timeout):
            address = (await SchedulerRpc(connection).identity()).address
        if ip is not None and host_of(address) != ip:
            raise SchedulerRefused(f"{host}:{port} is the scheduler at {address}, and not the one at {ip}")
    except TimeoutError as error:
        await connection.aclose()
        raise SchedulerSilent(f"{host}:{port} did not say who it is within {timeout:g} s") from error
    except SchedulerError:
        await connection.aclose()
        raise
    return connection


def host_of(address: str) -> str:
    """The host of ``tcp://10.0.0.1:8786``, without the brackets of IPv6."""
    return address.rpartition("://")[2].rpartition(":")[0].strip("[]")
