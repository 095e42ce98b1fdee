"""From options to a scheduler that answers: one deadline over all of it, and one error that says what went wrong.

What cannot mend itself ends the start at once; everything else is shown, waited for, and told at the deadline.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

from dask_k8s import names
from dask_k8s.cluster import failures, serving
from dask_k8s.cluster.connection import Connection, Ports
from dask_k8s.cluster.embedded import Embedded, missing_rights
from dask_k8s.cluster.options import CreateMode, OperatorMode, Options, differences
from dask_k8s.cluster.progress import Progress
from dask_k8s.cluster.together import together
from dask_k8s.cluster.watched import FINAL_REASONS, Watched, dask_container
from dask_k8s.diagnosis import Cause, Diagnosis
from dask_k8s.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Missing,
    NotFound,
    StartError,
    StartTimeout,
    Unreachable,
)
from dask_k8s.kinds.value import Manifest, value
from dask_k8s.kube.client import Client
from dask_k8s.kube.resources import DASK_CLUSTER, LEASE, SERVICE
from dask_k8s.manifests.scheduler import comm_port, dashboard_port
from dask_k8s.settings import Settings

logger = logging.getLogger(__name__)

LOOK_AGAIN = 2.0
"""Seconds after which a Pod is looked at again though nothing changed: some troubles are told by Events alone."""


@value
class Started:
    """A cluster that answers.

    Parameters
    ----------
    uid
        The DaskCluster's.
    created
        Whether this process made it.
    """

    connection: Connection
    uid: str
    created: bool


class Start:
    """One start-up.

    Parameters
    ----------
    stack
        What was opened is put on it: closing it leaves nothing behind.
    deadline
        When it has to be over, by the loop's clock.
    """

    def __init__(
        self,
        client: Client,
        options: Options,
        settings: Settings,
        *,
        namespace: str,
        watched: Watched,
        progress: Progress,
        stack: AsyncExitStack,
        deadline: float,
    ) -> None:
        self._client = client
        self._options = options
        self._settings = settings
        self._namespace = namespace
        self._watched = watched
        self._progress = progress
        self._stack = stack
        self._deadline = deadline
        self._uid = ""
        self._created = False
        self._embedded: Embedded | None = None

    async def run(self) -> Started:
        """Make or join the cluster and wait for its scheduler.

        Raises
        ------
        StartError
            Where it cannot start; what was made is taken away again.
        NotFound
            Where there is none to join.
        """
        try:
            async with asyncio.timeout_at(self._deadline):
                return await self._all_steps()
        except TimeoutError:
            failure: Exception = await self._too_late()
        except StartError as error:
            failure = error
        except (ApiError, Unreachable) as error:
            failure = failures.of_api(error, self._progress.step, self._namespace)
        except BaseException:
            await self._taken_away()
            raise
        await self._taken_away()
        raise failure

    async def _all_steps(self) -> Started:
        await self._make_or_join()
        self._progress.begin("Starting the scheduler")
        manifest = await self._found(self._ours)
        await self._found(self._watched.scheduler)
        connection = await self._stack.enter_async_context(
            Connection(
                self._client,
                namespace=self._namespace,
                cluster=self._options.name,
                ports=_ports(manifest),
                scheduler=self._watched.scheduler,
            )
        )
        await self._connected(connection)
        return Started(connection=connection, uid=self._uid, created=self._created)

    async def _make_or_join(self) -> None:
        if self._options.create_mode is CreateMode.CONNECT_ONLY:
            self._progress.begin(f"Looking for the cluster {self._options.name}")
            await self._join()
            return
        self._progress.begin("Asking who serves the cluster")
        embedded = await self._decide_operator()
        identity = f"embedded-{secrets.token_hex(5)}"
        if embedded:
            # What cannot be made is told before anything is: missing CRDs, a namespace that is not there, a taken name.
            await self._check_rights()
            try:
                await self._client.create(self._manifest(identity), dry_run=True)
            except AlreadyExists:
                await self._exists_already()
                return
            await self._embed(identity)
        self._progress.begin(f"Making the DaskCluster {self._options.name}")
        self._progress.note(f"image {_image(self._options.manifest)}")
        try:
            cluster = await self._client.create(self._manifest(identity if embedded else None))
        except AlreadyExists:
            await self._exists_already()
            return
        self._created, self._uid = True, cluster["metadata"]["uid"]
        if embedded:
            await self._tie_lease(identity, cluster)
        elif embedded is None:
            await self._wait_to_be_taken_up(cluster)

    async def _decide_operator(self) -> bool | None:
        """True for embedded, False for deployed, None where only waiting tells."""
        mode = self._options.operator
        if mode is not OperatorMode.AUTO:
            return mode is OperatorMode.EMBEDDED
        server = self._client.credentials.server
        known = serving.remembered(server, self._namespace)
        if known is None:
            known = await serving.deployed_serves(self._client, self._namespace, self._settings.operator_namespace)
        return None if known is None else not known

    async def _embed(self, identity: str) -> None:
        """An operator in this process, before there is anything to serve: its Lease comes before its cluster."""
        self._progress.note(f"served by an operator in this process; none is deployed for {self._namespace}")
        self._embedded = Embedded(
            namespace=self._namespace,
            cluster=self._options.name,
            identity=identity,
            settings=self._settings,
        )
        self._stack.push_async_callback(self._embedded.stop)
        await self._embedded.start()

    async def _check_rights(self) -> None:
        """All that an operator in this process would lack, at once."""
        if lacking := await missing_rights(self._client, self._namespace):
            raise StartError(
                "Starting an operator in this process",
                f"These rights are missing in the namespace {self._namespace}: {', '.join(lacking)}.",
                "Ask an administrator for them, or for a deployed operator (dask k8s install).",
            )

    async def _tie_lease(self, identity: str, cluster: Manifest) -> None:
        """The Lease goes when its cluster goes."""
        meta = cluster["metadata"]
        owner = {"apiVersion": names.API_VERSION, "kind": names.CLUSTER, "name": meta["name"], "uid": meta["uid"]}
        patch = {"metadata": {"ownerReferences": [owner]}}
        await self._client.patch(LEASE, self._namespace, names.embedded_lease(identity), patch)
        if self._embedded is not None:
            self._embedded.tied = True

    async def _wait_to_be_taken_up(self, cluster: Manifest) -> None:
        """Nobody may look at the operator's Lease: a status that appears tells that there is one."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.take_up_timeout
        while loop.time() < deadline:
            await self._watched.change(within=deadline - loop.time())
            if (self._watched.cluster() or {}).get("status"):
                serving.remember(self._client.credentials.server, self._namespace, deployed=True)
                return
        await self._embed_late(cluster)

    async def _embed_late(self, cluster: Manifest) -> None:
        """Nobody came: the cluster becomes ours, unless somebody writes to it first."""
        identity = f"embedded-{secrets.token_hex(5)}"
        await self._check_rights()
        await self._embed(identity)
        patch: dict[str, Any] = {
            "metadata": {"resourceVersion": cluster["metadata"]["resourceVersion"]},
            "spec": {"managedBy": names.managed_by(identity)},
        }
        try:
            await self._client.patch(DASK_CLUSTER, self._namespace, self._options.name, patch)
        except Conflict:
            logger.info("A deployed operator has taken up %s after all.", self._options.name)
            serving.remember(self._client.credentials.server, self._namespace, deployed=True)
            await self._stop_embedded()
        else:
            serving.remember(self._client.credentials.server, self._namespace, deployed=False)
            await self._tie_lease(identity, cluster)

    async def _stop_embedded(self) -> None:
        if self._embedded is not None:
            await self._embedded.stop()
            self._embedded = None

    async def _exists_already(self) -> None:
        if self._options.create_mode is CreateMode.CREATE_ONLY:
            raise StartError(
                self._progress.step,
                f"There is a DaskCluster {self._options.name} in {self._namespace} already.",
                "Choose another name=, or join it with create_mode='CREATE_OR_CONNECT'.",
            )
        await self._stop_embedded()
        await self._join()

    async def _join(self) -> None:
        """A cluster that is there; where its embedded operator is gone, this process serves it from now on."""
        try:
            cluster = await self._client.get(DASK_CLUSTER, self._namespace, self._options.name)
        except Missing as error:
            if "daskcluster" in error.message and "could not find" not in error.message:
                raise NotFound(f"There is no DaskCluster {self._options.name} in {self._namespace}.") from error
            raise
        if "deletionTimestamp" in cluster["metadata"]:
            raise StartError(
                self._progress.step,
                f"The DaskCluster {self._options.name} is being deleted.",
                "Try again when it is gone, or choose another name=.",
            )
        self._uid = cluster["metadata"]["uid"]
        if found := differences(self._options, cluster):
            logger.warning("The DaskCluster %s is joined as it is: %s.", self._options.name, "; ".join(found))
        identity = names.embedded_identity(cluster["spec"].get("managedBy"))
        may_serve = self._options.operator is not OperatorMode.DEPLOYED
        if identity is not None and may_serve and not await self._is_served(identity):
            await self._check_rights()
            await self._embed(identity)
            await self._tie_lease(identity, cluster)

    async def _is_served(self, identity: str) -> bool:
        try:
            lease = await self._client.get(LEASE, self._namespace, names.embedded_lease(identity))
        except Missing:
            return False
        return lease["spec"].get("holderIdentity") == names.DEPLOYED or serving.is_live(lease, datetime.now(UTC))

    def _manifest(self, identity: str | None) -> dict[str, Any]:
        manifest = self._options.manifest
        managed = {} if identity is None else {"managedBy": names.managed_by(identity)}
        return {
            **manifest,
            "metadata": {**manifest["metadata"], "namespace": self._namespace},
            "spec": {**manifest["spec"], **managed},
        }

    def _ours(self) -> Manifest | None:
        """The cluster that was made or joined, and not what a cache that is behind still has of an earlier one."""
        return self._watched.cluster() if self._watched.has(self._uid) else None

    async def _found(self, look: Callable[[], Manifest | None]) -> Manifest:
        """Until a cache shows it; a trouble that is final ends the start."""
        while (found := look()) is None:
            await self._watched.change(within=LOOK_AGAIN)
            self._check_resource()
            if trouble := self._watched.trouble():
                self._progress.tell(trouble)
        return found

    async def _connected(self, connection: Connection) -> None:
        """Until the scheduler answers, beside a look at what Kubernetes says of its Pod."""
        service = await self._service()
        async with together() as group:
            looking = group.create_task(self._look_after())
            self._progress.begin("Connecting to the scheduler")
            await connection.establish(service)
            looking.cancel()

    async def _service(self) -> Manifest:
        """The scheduler's Service, made beside its Pod."""
        while True:
            try:
                return await self._client.get(SERVICE, self._namespace, names.scheduler_service(self._options.name))
            except Missing:
                await self._watched.change(within=0.1)
                self._check_resource()

    async def _look_after(self) -> None:
        """Show what is wrong with the scheduler's Pod; end the start where it is final."""
        while True:
            self._check_resource()
            pod = self._watched.scheduler()
            trouble = None if pod is None else await self._watched.diagnosis(pod)
            self._progress.tell("" if trouble is None else trouble.sentence)
            if pod is not None and trouble is not None and trouble.final:
                raise await self._failed(pod, trouble)
            await self._watched.change(within=LOOK_AGAIN)

    def _check_resource(self) -> None:
        degraded = self._watched.degraded()
        if degraded is None:
            return
        reason, message = degraded
        if reason in FINAL_REASONS or (reason == "Forbidden" and "exceeded quota" not in message):
            raise StartError(self._progress.step, message, "Correct what the message names.")
        self._progress.tell(message)

    async def _failed(self, pod: Manifest, trouble: Diagnosis) -> StartError:
        words = ""
        if trouble.cause is Cause.CRASHING:
            words = await self._watched.last_words(pod, dask_container(pod))
        cause = f"{trouble.sentence}\n{words}" if words else trouble.sentence
        return StartError(self._progress.step, cause, trouble.mend)

    async def _too_late(self) -> StartError:
        """What stands in the way at the end of the time."""
        limit = f"after {self._options.resource_timeout:g} s (resource_timeout=)"
        pod = self._watched.scheduler()
        trouble = None if pod is None else await self._watched.diagnosis(pod)
        if pod is not None and trouble is not None:
            found = await self._failed(pod, trouble)
            return StartTimeout(f"{found.step}, {limit}", found.cause, found.mend)
        if degraded := self._watched.degraded():
            return StartTimeout(f"{self._progress.step}, {limit}", degraded[1], "Correct what the message names.")
        served = bool((self._watched.cluster() or {}).get("status"))
        cause = "The scheduler did not answer." if served else "No operator has taken the cluster up."
        mend = "Raise resource_timeout=." if served else "Look at the operator's log, or use operator='embedded'."
        return StartTimeout(f"{self._progress.step}, {limit}", self._watched.trouble() or cause, mend)

    async def _taken_away(self) -> None:
        if self._created:
            try:
                await self._client.delete(DASK_CLUSTER, self._namespace, self._options.name, uid=self._uid)
            except (ApiError, Unreachable) as error:
                logger.warning("The DaskCluster %s is still there: %s", self._options.name, error)


def _image(manifest: Manifest) -> str:
    """The workers', which is the scheduler's unless somebody wrote a manifest of his own."""
    container: Manifest = next(iter(manifest["spec"]["worker"].get("spec", {}).get("containers") or ()), {})
    return str(container.get("image", "of its own"))


def _ports(manifest: Manifest) -> Ports:
    spec = manifest["spec"]["scheduler"]["spec"]
    return Ports(comm=comm_port(spec), dashboard=dashboard_port(spec))
