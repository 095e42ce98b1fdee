"""The operator as a process of its own, in a Pod or in a shell: its Lease, its probes, its end."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

from dask_k8s import names
from dask_k8s.errors import AlreadyExists, Forbidden, Unavailable, Unreachable
from dask_k8s.kinds.value import value
from dask_k8s.kube import credentials
from dask_k8s.kube.about import about
from dask_k8s.kube.client import Client
from dask_k8s.kube.credentials import Credentials
from dask_k8s.kube.informer import Informer
from dask_k8s.operator import Operator, Scope, probes
from dask_k8s.operator.engine.election import Election, Terms
from dask_k8s.operator.metrics import Metrics
from dask_k8s.settings import DEFAULT_MAX_WORKERS, Timing

logger = logging.getLogger(__name__)

EVERYWHERE = "*"

ASK_AGAIN = 2.0
"""Seconds between two attempts to make the Lease's namespace."""


@value
class Options:
    """How a deployed operator runs.

    Parameters
    ----------
    namespaces
        Those that are served; None for all.
    lease_namespace
        Where the Lease is held; None for where it belongs by itself.
    lease_duration
        Seconds after its last renewal until another may take the Lease.
    max_workers
        The most that an autoscaler may ask for.
    timing
        How long it waits for what.
    probes_port
        Where probes and metrics are answered; None for nowhere.
    kubeconfig, context
        The log-in; None for what the surroundings give.
    """

    namespaces: tuple[str, ...] | None
    lease_namespace: str | None = None
    lease_duration: float = Terms().duration
    max_workers: int = DEFAULT_MAX_WORKERS
    timing: Timing = Timing()
    probes_port: int | None = None
    kubeconfig: str | None = None
    context: str | None = None


async def serve(options: Options, stop: asyncio.Event) -> None:
    """Serve until ``stop`` is set; then give the Lease back and return.

    Raises
    ------
    DaskK8sError
        When it could not begin.
    ExceptionGroup
        When a bug ended it.
    """
    own = await credentials.load(kubeconfig=options.kubeconfig, context=options.context)
    async with Client(own) as client, Client(own) as for_lease:
        operator = Operator(
            client,
            Scope(namespaces=options.namespaces),
            _election(for_lease, options),
            inside=client.credentials.in_cluster,
            max_workers=options.max_workers,
            timing=options.timing,
        )
        async with _probes(operator, options.probes_port):
            if _makes_its_namespace(options, client.credentials):
                await _unless(stop, _provide_namespace(client, names.OPERATOR_NAMESPACE))
            async with operator:
                await stop.wait()


def lease_namespace(options: Options, own: Credentials) -> str:
    """Where the Lease is held: where one says, else beside the Pod, else where KubeCluster looks for it."""
    if options.lease_namespace:
        return options.lease_namespace
    if own.in_cluster and own.namespace:
        return own.namespace
    return options.namespaces[0] if options.namespaces else names.OPERATOR_NAMESPACE


def _makes_its_namespace(options: Options, own: Credentials) -> bool:
    return options.lease_namespace is None and options.namespaces is None and not own.in_cluster


def _election(client: Client, options: Options) -> Election:
    served = EVERYWHERE if options.namespaces is None else ",".join(options.namespaces)
    return Election(
        client,
        namespace=lease_namespace(options, client.credentials),
        name=names.OPERATOR,
        identity=f"{socket.gethostname()}-{secrets.token_hex(4)}",
        terms=Terms.lasting(options.lease_duration),
        annotations={names.SERVED_NAMESPACES: served},
    )


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Do some work, or give it up once ``stop`` is set."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work), group.create_task(stop.wait())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()


async def _provide_namespace(client: Client, name: str) -> None:
    """Make the namespace that an installation would have made; whoever may not make it is told once."""
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    level, extra = logging.WARNING, about("Namespace", name=name)
    while True:
        try:
            await client.create(manifest)
        except AlreadyExists:
            return
        except Forbidden as refusal:
            said = "The namespace %s has to be there, or name another by --lease-namespace: %s"
            logger.warning(said, name, refusal, extra=extra)
            return
        except (Unavailable, Unreachable) as error:
            logger.log(level, "Waiting for the API server, to make the namespace %s: %s", name, error, extra=extra)
            level = logging.DEBUG
            await asyncio.sleep(ASK_AGAIN)
        else:
            logger.info("Made the namespace %s, for the operator's Lease", name, extra=extra)
            return


@asynccontextmanager
async def _probes(operator: Operator, port: int | None) -> AsyncIterator[None]:
    if port is None:
        yield
        return

    def informers() -> list[Informer]:
        return [informer for cache in operator.caches.all() for informer in cache.informers()]

    def dead() -> Iterator[str]:
        return probes.why_dead(informers(), operator.loop.progress, time.monotonic())

    metrics = Metrics(operator.insight)
    async with probes.answered(
        port, dead=dead, unready=lambda: probes.why_unready(informers()), metrics=metrics.exposition
    ):
        yield
