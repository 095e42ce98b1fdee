"""What a user does with a cluster's workers: scale, adapt, other groups, wait for them, see how many there are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from distributed.comm import get_address_host
from distributed.core import Status

from dask_k8s import names
from dask_k8s.cluster import groups
from dask_k8s.cluster.groups import Order
from dask_k8s.cluster.options import checked_n_workers
from dask_k8s.cluster.scaling import Adaptivity, Scaling, checked_range
from dask_k8s.cluster.spec import Environment
from dask_k8s.cluster.subscribed import SubscribedCluster
from dask_k8s.cluster.waiting import Waiting
from dask_k8s.cluster.watched import Watched
from dask_k8s.errors import DaskK8sError
from dask_k8s.kinds.value import Manifest
from dask_k8s.kube.client import Client
from dask_k8s.settings import seconds_or_never

logger = logging.getLogger(__name__)

LOOK_AT_WORKERS = 5.0

ANSWER = 10.0
"""Seconds for a scheduler that is busy to say who has joined."""

HEARD = 3.0
"""Seconds until ``scheduler_info`` tells of a worker that has joined, also where another process subscribed last."""


class WorkersCluster(SubscribedCluster):
    """A cluster on Kubernetes once it has started: its workers, whatever group they are in."""

    namespace: str
    _client: Client | None
    _watched: Watched | None
    _one_scaling: Scaling | None

    def scale(self, n: int, worker_group: str = names.DEFAULT_GROUP) -> Any:
        """Set the number of workers of a group; those that leave hand their data over first.

        Of the default group it ends ``adapt``; other groups are none of the autoscaler's.

        Parameters
        ----------
        n
            How many workers there should be.
        worker_group
            The group's name as :meth:`add_worker_group` got it. A DaskWorkerGroup of this cluster that was made with
            kubectl is also found by its full name.

        Raises
        ------
        NotFound
            Where there is no such group, with the names of those that there are.
        """
        return self._write(self._scaling.scale, checked_n_workers(n, "n"), worker_group)

    def add_worker_group(
        self,
        name: str,
        n_workers: int | None = None,
        image: str | None = None,
        resources: Manifest | None = None,
        worker_command: str | Sequence[str] | None = None,
        env: Environment | None = None,
        custom_spec: Manifest | None = None,
    ) -> Any:
        """Make workers of another kind: a DaskWorkerGroup ``<cluster>-<name>``, which goes with the cluster.

        What is not given is as in the cluster's own workers, as the DaskCluster has them. The arguments are those of
        :class:`KubeCluster`, for these workers alone, and replace what the cluster's have.

        Parameters
        ----------
        name
            What :meth:`scale` and :meth:`delete_worker_group` call the group.
        n_workers
            How many workers to start with, 3 unless given.
        custom_spec
            A whole ``spec.worker`` instead, as a dictionary; see :func:`make_worker_spec`. Only ``n_workers`` is laid
            over it.

        Raises
        ------
        InvalidResource
            Where an argument cannot be right, or there is a group of that name.
        ConflictingArguments
            Where ``custom_spec`` stands beside an argument that it would silence.

        Examples
        --------
        >>> cluster.add_worker_group("big", n_workers=2, resources={"limits": {"memory": "16Gi"}})  # doctest: +SKIP
        """
        order = Order(
            name=name,
            n_workers=n_workers,
            image=image,
            resources=resources,
            worker_command=worker_command,
            env=env,
            custom_spec=custom_spec,
        )
        return self._write(self._scaling.add, groups.checked(order, self.name))

    def delete_worker_group(self, name: str) -> Any:
        """Take a group away, and nothing with it: its workers hand over their data and end what they compute first.

        Deleting a DaskWorkerGroup deletes its Pods at once. So it is scaled to 0, and deleted once its workers have
        left, at the latest when nothing has moved for a little more than its ``drainTimeout`` (60 s unless set); a
        warning says where some are left. Returns when the group is deleted. What has room nowhere else is lost.

        Parameters
        ----------
        name
            As in :meth:`scale`. The default group cannot be deleted: scale it to 0.

        Raises
        ------
        InvalidResource
            Where it is the default group.
        NotFound
            Where there is no such group, with the names of those that there are.
        """
        groups.check_deletable(name, self.name)
        return self.sync(self._scaling.delete, name, quiet=self.quiet)

    def wait_for_workers(self, n_workers: int, timeout: float | str | None = None) -> Any:
        """Wait until so many workers have joined, of whatever group; a ``Client`` of this cluster waits so, too.

        What keeps them is shown meanwhile. That nobody asks for so many is a warning and no error, since somebody else
        may do so.

        Parameters
        ----------
        n_workers
            How many.
        timeout
            Seconds, or a text such as ``"5 minutes"``; None or 0 for no limit.

        Raises
        ------
        WorkersMissing
            At the end of the time, or as soon as it is certain that they cannot come: how many have joined, and what
            keeps the others. It is a ``TimeoutError``.
        """
        limit = seconds_or_never(timeout, "timeout")
        return self.sync(self._wait_for_workers, checked_n_workers(n_workers), timeout=limit)

    async def _wait_for_workers(self, n_workers: int = 0, timeout: float = 0.0) -> None:
        if self._watched is None:
            raise self._not_started()
        waiting = Waiting(self.name, n_workers, self._watched, running=self._running, there=self._there)
        await waiting.run(timeout, quiet=self.quiet)
        await self._heard_of(n_workers)

    async def _running(self) -> list[str] | None:
        """Where the workers are that take tasks."""
        return await self._hosts(self.scheduler_comm.ncores_running)

    async def _there(self) -> list[str] | None:
        """Where all workers are, paused ones as well."""
        return await self._hosts(self.scheduler_comm.ncores)

    async def _hosts(self, question: Callable[[], Awaitable[Mapping[str, int]]]) -> list[str] | None:
        """The host of each worker of an answer; None where the scheduler gives none."""
        if self.status is not Status.running:
            raise DaskK8sError(f"The cluster {self.name} is closed.")
        try:
            async with asyncio.timeout(ANSWER):
                return [get_address_host(address) for address in await question()]
        except OSError:
            return None

    async def _heard_of(self, n_workers: int) -> None:
        """So that who waited sees so many in the ``repr`` as well."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + HEARD
        while len(self.scheduler_info["workers"]) < n_workers and loop.time() < deadline:
            await asyncio.sleep(0.05)

    def _write(self, write: Any, *arguments: Any) -> Any:
        """In an asynchronous cluster a write begins also where nobody waits for it."""
        return self._scaling.begin(write(*arguments)) if self.asynchronous else self.sync(write, *arguments)

    def adapt(self, minimum: int = 0, maximum: float | None = None) -> Adaptivity:
        """Let the number of workers follow what the scheduler could use, until ``scale`` is called.

        It makes or changes the cluster's DaskAutoscaler: the operator scales, and a deployed one does so also when this
        process has ended. How fast the scheduler wants to be done is its own ``distributed.adaptive.target-duration``.

        Parameters
        ----------
        minimum
            How many workers there are at least.
        maximum
            How many there are at most; None or infinity for as many as the operator allows.

        Returns
        -------
        Adaptivity
            With the limits. In an asynchronous cluster it can be awaited, and need not be.

        Raises
        ------
        InvalidResource
            Where the limits cannot be right.
        """
        limits = checked_range(minimum, maximum)
        return Adaptivity(*limits, self._write(self._scaling.adapt, *limits))

    @property
    def adaptive(self) -> Adaptivity | None:
        """The limits of the DaskAutoscaler that holds, whoever made it; None where the number is set by hand."""
        autoscaler = None if self._watched is None else self._watched.autoscaler()
        if autoscaler is None:
            return None
        return Adaptivity(autoscaler["spec"].get("minimum", 0), autoscaler["spec"].get("maximum"))

    def _scaling_status(self) -> str:
        """For the widget: distributed's own knows neither the operator's autoscaler nor Pods that are on their way."""
        there, asked = len(self.scheduler_info["workers"]), len(self.requested)
        count = f"{there}" if there == asked else f"{there} of {asked}"
        return f"<p>Scaling: {self.adaptive or 'by hand'}</p><p>Workers: {count}</p>"

    def _repr_html_(self, cluster_status: str | None = None) -> str:
        row = f'<tr><td style="text-align: left;"><strong>Scaling:</strong> {self.adaptive or "by hand"}</td></tr>'
        return str(super()._repr_html_(cluster_status=row if cluster_status is None else cluster_status))

    def __repr__(self) -> str:
        text = str(super().__repr__())
        return text if self.adaptive is None else f"{text[:-1]}, {self.adaptive})"

    @property
    def _scaling(self) -> Scaling:
        self._one_scaling = self._one_scaling or Scaling(self._api, self.namespace, self.name)
        return self._one_scaling

    @property
    def _api(self) -> Client:
        if self._client is None:
            raise self._not_started()
        return self._client

    def _not_started(self) -> DaskK8sError:
        return DaskK8sError(f"The cluster {self.name} has not started.")

    @property
    def requested(self) -> set[str]:
        """The names of the workers whose Pods there are."""
        return set() if self._watched is None else {pod["metadata"]["name"] for pod in self._watched.workers()}

    plan = requested  # what is asked for becomes a Pod within a moment

    async def _tell_of_workers(self) -> None:
        """Why workers do not come, once for each cause: the cluster itself has started long ago."""
        told: set[str] = set()
        watched = self._watched
        while watched is not None:
            for pod in tuple(watched.workers()):
                trouble = await watched.diagnosis(pod)
                if trouble is not None and trouble.cause not in told:
                    told.add(trouble.cause)
                    logger.warning("%s %s", trouble.sentence, trouble.mend)
            await watched.change(within=LOOK_AT_WORKERS)
