"""How this operator reaches schedulers: straight, or through a port-forward from outside the cluster network.

Always the Pod's own address and never the Service, which its user may point anywhere.
"""

from __future__ import annotations

import logging
from typing import Protocol

from dask_k8s import names
from dask_k8s.errors import ApiError, NoCredentials, SchedulerError, SchedulerSilent, Unreachable
from dask_k8s.kinds.value import Manifest, Ref
from dask_k8s.kube.about import about_object
from dask_k8s.kube.client import Client
from dask_k8s.kube.portforward import open_stream
from dask_k8s.operator.caches import Caches
from dask_k8s.scheduler.connection import Connection, connect
from dask_k8s.scheduler.verified import connect_verified

logger = logging.getLogger(__name__)

FIRST_PAUSE = 0.5

DIRECT_TIMEOUT = 1.5
"""Seconds for a connection where nobody knows yet whether this process stands inside the cluster network: from outside
nobody answers, or somebody else."""

INSIDE_TIMEOUT = 5.0
"""Seconds for a connection inside it: a scheduler whose loop is held up by a large graph is slow, and not silent."""


def pause(failures: int, longest: float) -> float:
    """Seconds until a scheduler that did not answer so many times is tried again: longer and longer."""
    doublings: int = 1 << min(failures, 10)
    return min(longest, FIRST_PAUSE * doublings)


class Reaches(Protocol):
    """Opens connections to schedulers."""

    async def connect(self, cluster: Ref) -> Connection:
        """A connection to a cluster's scheduler."""


class Reach:
    """Opens connections to schedulers.

    Parameters
    ----------
    inside
        Whether this process is known to stand in the cluster network, so that a port-forward is never tried.
    """

    def __init__(self, client: Client, caches: Caches, *, inside: bool) -> None:
        self._client = client
        self._caches = caches
        self._inside = inside
        self._outside = False
        self._answered = False  # once one has, the next that does not is busy, and this process not outside

    async def connect(self, cluster: Ref) -> Connection:
        """A connection to a cluster's scheduler, its handshake done.

        Raises
        ------
        SchedulerSilent
            Where there is no scheduler, or it does not answer.
        SchedulerRefused
            Where it answers beyond bounds.
        """
        pod = self._locate(cluster)
        ip, port = pod["status"]["podIP"], pod["spec"]["commPort"]
        if self._inside:
            return await connect(ip, port, timeout=INSIDE_TIMEOUT)
        if self._outside:
            return await self._forwarded(pod, port)
        try:
            connection = await connect_verified(ip, port, ip=ip, timeout=DIRECT_TIMEOUT)
        except SchedulerError:
            extra = about_object(cluster)
            logger.debug(
                "The scheduler of %s/%s does not answer at %s", cluster.namespace, cluster.name, ip, extra=extra
            )
        else:
            self._answered = True
            return connection
        connection = await self._forwarded(pod, port)
        if not self._answered:
            self._outside = True
            logger.info("Schedulers are reached through port-forwards: this process stands outside the cluster network")
        return connection

    async def _forwarded(self, pod: Manifest, port: int) -> Connection:
        meta = pod["metadata"]
        try:
            return await connect(
                meta["name"], port, open_stream=lambda: open_stream(self._client, meta["namespace"], meta["name"], port)
            )
        except (ApiError, Unreachable, NoCredentials) as error:
            raise SchedulerSilent(f"No port-forward to {meta['name']}: {error}") from error

    def _locate(self, cluster: Ref) -> Manifest:
        pod = self._caches.pods.get(cluster.namespace, names.scheduler_pod(cluster.name))
        if pod is None or not pod["status"].get("podIP") or "commPort" not in pod["spec"]:
            raise SchedulerSilent("The scheduler's Pod has no address yet.")
        return pod
