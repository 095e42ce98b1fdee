"""An operator in this process, for one cluster alone.

It has a thread and a loop of its own, and the rights of whoever runs the process.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading

from dask_k8s import names
from dask_k8s.kube import resources
from dask_k8s.kube.client import Client
from dask_k8s.kube.credentials import load
from dask_k8s.operator import Operator, Scope
from dask_k8s.operator.engine.election import Election, Terms
from dask_k8s.operator.rights import FORWARDING, RIGHTS


class Embedded:
    """The operator of one cluster, embedded in this process.

    It ends with the process, and a deployed operator takes the cluster over once its Lease has run out.

    Parameters
    ----------
    identity
        ``embedded-<id>``, which also names the Lease.
    lease_duration
        Seconds after its last renewal until the Lease may be taken.
    """

    def __init__(self, *, namespace: str, cluster: str, identity: str, lease_duration: float) -> None:
        self._namespace = namespace
        self._cluster = cluster
        self._identity = identity
        self._duration = lease_duration
        self._serving: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
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
        """End, give the Lease back, leave no thread."""
        if self._loop is not None and self._stop is not None and not self._ended.done():
            self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread.ident is not None:
            await asyncio.wrap_future(self._ended)
            self._thread.join()

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:
            if not self._serving.done():
                self._serving.set_exception(error)
            raise
        finally:
            if not self._serving.done():
                self._serving.set_result(None)
            self._ended.set_result(None)

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with Client(await load()) as client:
            operator = Operator(
                client,
                Scope(namespaces=(self._namespace,), cluster=self._cluster),
                self._election(client),
                me=self._identity,
                inside=client.credentials.in_cluster,
            )
            async with operator:
                await operator.serving.wait()
                self._serving.set_result(None)
                await self._stop.wait()

    def _election(self, client: Client) -> Election:
        return Election(
            client,
            namespace=self._namespace,
            name=names.embedded_lease(self._identity),
            identity=self._identity,
            terms=Terms.lasting(self._duration),
            labels={names.LEASE_FOR: self._cluster},
        )


async def missing_rights(client: Client, namespace: str) -> list[str]:
    """The verbs that an embedded operator needs and these credentials lack, as ``verb resource``."""
    wanted = [
        (verb, right.group, *right.resource.partition("/")[::2])
        for right in (*RIGHTS, FORWARDING)
        for verb in right.verbs
    ]

    async def lacks(verb: str, group: str, plural: str, subresource: str) -> str | None:
        resource = resources.Resource(group=group, version="v1", plural=plural, kind="")
        if await client.allowed(verb, resource, namespace, subresource or None):
            return None
        return f"{verb} {plural}{'/' if subresource else ''}{subresource}"

    answers = await asyncio.gather(*(lacks(*each) for each in wanted))
    return [answer for answer in answers if answer is not None]
