"""An operator in this process, for one cluster alone.

It has a thread and a loop of its own, and the rights of whoever runs the process.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import secrets
import threading

from dask_k8s import names
from dask_k8s.errors import DaskK8sError
from dask_k8s.kube import resources
from dask_k8s.kube.client import Client
from dask_k8s.kube.credentials import load
from dask_k8s.kube.resources import LEASE
from dask_k8s.operator import Operator, Scope
from dask_k8s.operator.engine.election import Election, Terms
from dask_k8s.operator.rights import EMBEDDED, FORWARDING, RIGHTS
from dask_k8s.settings import Settings

logger = logging.getLogger(__name__)


class Embedded:
    """The operator of one cluster, embedded in this process.

    It ends with the process, and a deployed operator takes the cluster over once its Lease has run out.

    Parameters
    ----------
    identity
        ``embedded-<id>``, which also names the Lease.
    settings
        How long its Lease lasts, and what it waits for.

    Attributes
    ----------
    tied
        Whether the Lease goes with its cluster; else it is removed at the end.
    """

    def __init__(self, *, namespace: str, cluster: str, identity: str, settings: Settings) -> None:
        self._namespace = namespace
        self._cluster = cluster
        self._identity = identity
        self._settings = settings
        self._serving: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._stop_asked = threading.Event()
        self.tied = False
        self._thread = threading.Thread(target=self._main, name=f"dask-k8s operator of {cluster}", daemon=True)

    async def start(self) -> None:
        """Begin to serve; returns when the Lease is held and the caches are in step.

        Raises
        ------
        Exception
            Whatever kept it from serving.
        """
        self._thread.start()
        await asyncio.wrap_future(self._serving)

    async def stop(self) -> None:
        """End, give the Lease back, leave no thread; also where it never came to serve."""
        self._stop_asked.set()
        if self._loop is not None and self._stop is not None and not self._ended.done():
            self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread.ident is not None:
            await asyncio.wrap_future(self._ended)
            self._thread.join()

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:
            if self._serving.done():
                logger.exception("The operator of %s in this process has ended; nobody scales it now", self._cluster)
            else:
                self._serving.set_exception(error)
        finally:
            if not self._serving.done():
                self._serving.set_result(None)
            self._ended.set_result(None)

    async def _run(self) -> None:
        stop = self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        if self._stop_asked.is_set():
            return
        own = await load()
        async with Client(own) as client, Client(own) as for_lease:
            operator = Operator(
                client,
                Scope(namespaces=(self._namespace,), cluster=self._cluster),
                self._election(for_lease),
                me=self._identity,
                inside=client.credentials.in_cluster,
                max_workers=self._settings.max_workers,
                timing=self._settings.timing,
            )
            async with operator, asyncio.TaskGroup() as group:
                stopping = group.create_task(stop.wait())
                serving = group.create_task(operator.serving.wait())
                await asyncio.wait((stopping, serving), return_when=asyncio.FIRST_COMPLETED)
                serving.cancel()
                if not stopping.done():
                    self._serving.set_result(None)
            if not self.tied:
                await self._remove_lease(client)

    async def _remove_lease(self, client: Client) -> None:
        """A Lease that belongs to no cluster would stay for ever."""
        try:
            await client.delete(LEASE, self._namespace, names.embedded_lease(self._identity))
        except DaskK8sError as error:
            logger.debug("The Lease of %s is left: %s", self._identity, error)

    def _election(self, client: Client) -> Election:
        return Election(
            client,
            namespace=self._namespace,
            name=names.embedded_lease(self._identity),
            identity=f"{self._identity}-{secrets.token_hex(4)}",
            final=names.DEPLOYED,
            terms=Terms.lasting(self._settings.lease_duration),
            labels={names.LEASE_FOR: self._cluster},
        )


async def missing_rights(client: Client, namespace: str) -> list[str]:
    """The verbs that an embedded operator needs and these credentials lack, as ``verb resource``."""
    wanted = [
        (verb, right.group, *right.resource.partition("/")[::2])
        for right in (*RIGHTS, *EMBEDDED, *(() if client.credentials.in_cluster else (FORWARDING,)))
        for verb in right.verbs
    ]

    async def lacks(verb: str, group: str, plural: str, subresource: str) -> str | None:
        resource = resources.Resource(group=group, version="v1", plural=plural, kind="")
        if await client.allowed(verb, resource, namespace, subresource or None):
            return None
        return f"{verb} {plural}{'/' if subresource else ''}{subresource}"

    answers = await asyncio.gather(*(lacks(*each) for each in wanted))
    return [answer for answer in answers if answer is not None]
