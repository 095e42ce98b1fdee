"""KubeCluster: distributed's ``Cluster`` on Kubernetes, sync and async."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import weakref
from collections.abc import Generator, Mapping, Sequence
from contextlib import AsyncExitStack
from contextvars import Context
from typing import Any, Self

from distributed.core import Status, rpc
from distributed.security import Security
from distributed.utils import Log, Logs, format_dashboard_link

from dask_k8s import settings
from dask_k8s.cluster import failures
from dask_k8s.cluster.options import Arguments, CreateMode, Options, decide
from dask_k8s.cluster.progress import Progress
from dask_k8s.cluster.scaling import Scaling
from dask_k8s.cluster.start import Start, Started
from dask_k8s.cluster.together import first_error
from dask_k8s.cluster.watched import Watched
from dask_k8s.cluster.workers import WorkersCluster
from dask_k8s.errors import Conflict, DaskK8sError, Missing
from dask_k8s.kinds.value import Manifest
from dask_k8s.kube.client import Client
from dask_k8s.kube.credentials import load
from dask_k8s.kube.resources import DASK_CLUSTER

logger = logging.getLogger(__name__)

LOOK_AT_CLUSTER = 5.0
CLOSE_AT_EXIT = 10.0


class KubeCluster(WorkersCluster):
    """A Dask cluster on Kubernetes, made with the first call and taken away with the last.

    Parameters
    ----------
    operator
        Who serves it: ``"deployed"`` for the operator that an administrator installed, ``"embedded"`` for one in this
        process, ``"auto"`` (the default) for the deployed one where there is one.
    name
        The cluster's name; at most 53 characters. By default ``dask-<user>-<10 hex>``.
    namespace
        Where it is made. By default the namespace of the kubeconfig's context, or of the Pod that this runs in.
    image
        The image of scheduler and workers. By default the one with this process's versions of Dask and Python.
    n_workers
        How many workers to start with, 3 unless given.
    resources
        ``{"requests": {"cpu": …, "memory": …}, "limits": {…}}`` for scheduler and workers.
    env
        Environment variables of scheduler and workers: a dictionary, or a list as in a Pod.
    worker_command
        What starts a worker, as a text or a list of words; ``dask worker`` unless given.
    custom_cluster_spec
        A whole DaskCluster, as a dictionary or the path of a YAML file; see :func:`make_cluster_spec`. Only ``name``,
        ``namespace``, ``n_workers`` and ``idle_timeout`` are laid over it.
    create_mode
        A :class:`CreateMode` or its name.
    shutdown_on_close
        Whether :meth:`close` deletes the cluster. By default if this process made it.
    resource_timeout
        Seconds that the whole start-up may take, 600 unless given. What cannot mend itself fails at once.
    idle_timeout
        Seconds, or a text such as ``"1 hour"``, without work after which the cluster goes by itself; 0 (the default)
        for never. A client that is connected without work is no work.
    scheduler_service_type
        ``ClusterIP``, ``NodePort`` or ``LoadBalancer``.
    quiet
        Whether no progress is shown.
    loop, asynchronous
        As for every cluster of Dask: with ``asynchronous=True``, ``await KubeCluster(…)`` or ``async with``.

    Raises
    ------
    StartError
        Where the cluster does not start: the step, what Kubernetes says, and what to do. What was made is taken away
        again.
    NoCredentials
        Where there is no kubeconfig and this is no Pod, or the log-in fails.
    ConflictingArguments, InvalidResource
        Where the arguments cannot be right; nothing is sent.

    Examples
    --------
    >>> from dask_k8s import KubeCluster
    >>> cluster = KubeCluster(n_workers=20)  # doctest: +SKIP
    >>> client = cluster.get_client()  # doctest: +SKIP
    """

    def __init__(
        self,
        *,
        operator: str | None = None,
        name: str | None = None,
        namespace: str | None = None,
        image: str | None = None,
        n_workers: int | None = None,
        resources: Manifest | None = None,
        env: Mapping[str, str] | Sequence[Manifest] | None = None,
        worker_command: str | Sequence[str] | None = None,
        custom_cluster_spec: Manifest | str | os.PathLike[str] | None = None,
        create_mode: CreateMode | str | None = None,
        shutdown_on_close: bool | None = None,
        resource_timeout: float | None = None,
        idle_timeout: float | str | None = None,
        scheduler_service_type: str | None = None,
        quiet: bool = False,
        loop: Any = None,
        asynchronous: bool = False,
    ) -> None:
        self.status = Status.closed  # until there is something to close: ``__del__`` looks at it
        self._settings = settings.read()
        self._options: Options = decide(
            Arguments(
                operator=operator,
                name=name,
                namespace=namespace,
                image=image,
                n_workers=n_workers,
                resources=resources,
                env=env,
                worker_command=worker_command,
                custom_cluster_spec=custom_cluster_spec,
                create_mode=create_mode,
                shutdown_on_close=shutdown_on_close,
                resource_timeout=resource_timeout,
                idle_timeout=idle_timeout,
                scheduler_service_type=scheduler_service_type,
            ),
            self._settings,
        )
        self.security = Security()
        self.namespace = self._options.namespace or ""
        self._client: Client | None = None
        self._watched: Watched | None = None
        self._one_scaling: Scaling | None = None
        self._started: Started | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._closing: asyncio.Event | None = None
        self._own_close: asyncio.Future[None] | None = None
        super().__init__(asynchronous=asynchronous, loop=loop, name=self._options.name, quiet=quiet)
        if not self.asynchronous:
            self._loop_runner.start()
            self._started_synchronously()

    @classmethod
    def from_name(cls, name: str, **arguments: Any) -> Self:
        """The cluster of that name, which is there already; closing it leaves it there.

        Raises
        ------
        NotFound
            Where there is none.
        """
        return cls(name=name, **{"create_mode": CreateMode.CONNECT_ONLY, "shutdown_on_close": False, **arguments})

    def _started_synchronously(self) -> None:
        """An interrupted start leaves nothing behind."""
        try:
            self.sync(self._start)
        except BaseException:
            self.close(timeout=CLOSE_AT_EXIT)
            raise

    def __await__(self) -> Generator[Any, None, Self]:
        async def started() -> Self:
            if self.status is Status.created:
                await self._start()
            return self

        return started().__await__()

    async def _start(self) -> None:
        self.status = Status.starting
        loop = asyncio.get_running_loop()
        self._closing = asyncio.Event()
        ready: asyncio.Future[Started] = loop.create_future()
        deadline = loop.time() + self._options.resource_timeout
        self._supervisor = loop.create_task(self._supervise(self._closing, ready, deadline))
        try:
            self._started = await asyncio.shield(ready)
            await self._connect(self._started.connection.address, deadline)
        except BaseException:
            await self._abandon(self._supervisor, self._closing, ready)
            raise
        _open_clusters.add(self)

    async def _connect(self, address: str, deadline: float) -> None:
        """Dask's own part of the start."""
        try:
            async with asyncio.timeout_at(deadline):
                self.scheduler_comm = rpc(address, connection_args=self.security.get_connection_args("client"))
                await super()._start()
        except OSError as error:
            raise failures.of_scheduler(error) from error

    async def _abandon(
        self, supervisor: asyncio.Task[None], closing: asyncio.Event, ready: asyncio.Future[Started]
    ) -> None:
        """A start that failed or was cancelled: the supervisor takes away what it made."""
        self.status = Status.failed
        if ready.done():
            closing.set()
        else:
            supervisor.cancel()
        await asyncio.gather(supervisor, return_exceptions=True)
        await super()._close()

    async def _supervise(self, closing: asyncio.Event, ready: asyncio.Future[Started], deadline: float) -> None:
        """Everything that is open for this cluster, from its start to its close, in one task."""
        try:
            async with AsyncExitStack() as stack:
                started = await self._opened(stack, deadline)
                ready.set_result(started)
                await self._until_closed(closing, started)
        except BaseException as error:
            if ready.done():
                if not isinstance(error, asyncio.CancelledError):
                    logger.exception("What keeps %s connected has ended; it may still be in Kubernetes", self.name)
                raise
            ready.set_exception(first_error(error))

    async def _opened(self, stack: AsyncExitStack, deadline: float) -> Started:
        try:
            async with asyncio.timeout_at(deadline):
                credentials = await load()
        except TimeoutError:
            raise failures.of_login(self._options.resource_timeout) from None
        self.namespace = self._options.namespace or credentials.namespace or "default"
        self._client = await stack.enter_async_context(Client(credentials))
        self._watched = Watched(self._client, self.namespace, self._options.name)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        stack.callback(group.create_task(self._watched.run()).cancel)
        with Progress(f"Dask cluster {self._options.name}", quiet=self.quiet) as progress:
            start = Start(
                self._client,
                self._options,
                self._settings,
                namespace=self.namespace,
                watched=self._watched,
                progress=progress,
                stack=stack,
                deadline=deadline,
            )
            return await start.run()

    async def _until_closed(self, closing: asyncio.Event, started: Started) -> None:
        async with asyncio.TaskGroup() as group:
            # An empty context each: a notebook shows what they say under the cell that runs then. In ours it would
            # stand under the one that made the cluster, far above, where nobody looks any more.
            tasks = [
                group.create_task(each, context=Context())
                for each in (self._stay_subscribed(), self._tell_of_workers(), self._end_with_it(started.uid))
            ]
            await closing.wait()
            for task in tasks:
                task.cancel()
        if self._deletes(started):
            await self._delete(started.uid)

    async def _end_with_it(self, uid: str) -> None:
        """Close when the DaskCluster is gone: another one of its name is none of ours."""
        watched = self._watched
        while watched is not None and watched.has(uid):
            await watched.change(within=LOOK_AT_CLUSTER)
        logger.warning("The DaskCluster %s was deleted: this KubeCluster is closed.", self.name)
        self._own_close = asyncio.ensure_future(self._close())

    def _deletes(self, started: Started) -> bool:
        asked = self._options.shutdown_on_close
        return started.created if asked is None or self.status is Status.failed else asked

    async def _delete(self, uid: str) -> None:
        try:
            await self._api.delete(DASK_CLUSTER, self.namespace, self.name, uid=uid)
        except (Missing, Conflict):
            return  # it is gone; a conflict says that another one has its name
        except (DaskK8sError, RuntimeError) as error:
            logger.warning("The DaskCluster %s was not deleted: %s", self.name, error)

    async def _close(self) -> None:
        if self.status is Status.closed:
            return
        _open_clusters.discard(self)
        if self._one_scaling is not None:
            await self._one_scaling.finish()
        if self._closing is not None:
            self._closing.set()
        await super()._close()
        if self._supervisor is not None:
            await asyncio.gather(self._supervisor, return_exceptions=True)

    async def _get_logs(self, cluster: bool = True, scheduler: bool = True, workers: bool = True) -> Logs:
        """Logs by Pod; ``cluster`` adds nothing, since progress goes to the ``logging`` module."""
        logs = Logs()
        if self._watched is not None:
            for name, text in (await self._watched.logs(scheduler=scheduler, workers=workers)).items():
                logs[name] = Log(text)
        return logs

    @property
    def dashboard_link(self) -> str:
        """Where a browser finds the dashboard; ``distributed.dashboard.link`` says in which form."""
        if self._started is None:
            return ""
        connection = self._started.connection
        return str(format_dashboard_link(connection.dashboard_host, connection.dashboard_port))


_open_clusters: weakref.WeakSet[KubeCluster] = weakref.WeakSet()


@atexit.register
def _close_open_clusters() -> None:
    """A script that ends takes its clusters with it."""
    for cluster in list(_open_clusters):
        with contextlib.suppress(TimeoutError, RuntimeError):
            if not cluster.asynchronous:
                cluster.close(timeout=CLOSE_AT_EXIT)
