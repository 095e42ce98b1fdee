"""An operator on a real API server, and the hands of a kubelet that is not there."""

from __future__ import annotations

import asyncio
import copy
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from dask_k8s import names
from dask_k8s.errors import Missing
from dask_k8s.kube.client import Client
from dask_k8s.kube.resources import DASK_AUTOSCALER, DASK_CLUSTER, DASK_JOB, DASK_WORKER_GROUP, POD, Resource
from dask_k8s.operator import Operator, Scope
from dask_k8s.operator.engine.election import Election, Terms
from dask_k8s.settings import Timing
from tests.faults.proxy import Faults
from tests.unit.scheduler.conftest import Partner, alone, located

EXAMPLES = Path(__file__).parents[3] / "examples"
DEADLINE = 20.0

Json = dict[str, Any]
Serve = Callable[..., AbstractAsyncContextManager[Operator]]

A_TENTH = Timing(lease_may_come=3.0, refused_drain=1.0, silence=0.5, resync=30.0)
"""What people can wait for and tests need not."""


class World:
    """One namespace: what a test does in it, what it sees of it, and what a kubelet would report."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.client = client
        self.namespace = namespace

    async def make(self, manifest: Json) -> Json:
        """Create an object here."""
        metadata = {**manifest["metadata"], "namespace": self.namespace}
        return await self.client.create({**manifest, "metadata": metadata})

    async def cluster(self, name: str = "simple") -> Json:
        return await self.client.get(DASK_CLUSTER, self.namespace, name)

    async def group(self, name: str = "simple-default") -> Json:
        return await self.client.get(DASK_WORKER_GROUP, self.namespace, name)

    async def job(self, name: str = "simple-job") -> Json:
        return await self.client.get(DASK_JOB, self.namespace, name)

    async def autoscaler(self, name: str = "simple") -> Json:
        return await self.client.get(DASK_AUTOSCALER, self.namespace, name)

    async def runner(self, name: str = "simple-job-runner") -> Json:
        """Wait until a runner is there that is not going."""

        async def there() -> Json | None:
            found = [pod for pod in await self.pods("job-runner") if pod["metadata"]["name"] == name]
            return found[0] if found else None

        found: Json = await self.until(there, f"the runner {name}")
        return found

    async def is_gone(self, resource: Resource, name: str) -> None:
        """Wait until an object is gone, or is going."""

        async def gone() -> bool:
            try:
                found = await self.client.get(resource, self.namespace, name)
            except Missing:
                return True
            return "deletionTimestamp" in found["metadata"]

        await self.until(gone, f"{name} is gone")

    async def scale(self, replicas: int, name: str = "simple-default", resource: Resource = DASK_WORKER_GROUP) -> None:
        patch = {"spec": {"worker": {"replicas": replicas}}}
        await self.client.patch(resource, self.namespace, name, patch)

    async def pods(self, component: str = "worker") -> list[Json]:
        found = await self.client.list(POD, self.namespace, labels=f"{names.COMPONENT}={component}")
        return [pod for pod in found["items"] if "deletionTimestamp" not in pod["metadata"]]

    async def runs(self, pod: Json, *, ready: bool = True, ip: str = "127.0.0.1", restarts: int = 0) -> None:
        """As a kubelet reports a Pod whose containers run, after so many starts anew."""
        started = {"startedAt": "2026-01-01T00:00:00Z"}
        await self.reports(
            pod,
            {
                "phase": "Running",
                "podIP": ip,
                "podIPs": [{"ip": ip}],
                "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
                "containerStatuses": [{**_container(pod, {"running": started}, ready=ready), "restartCount": restarts}],
            },
        )

    async def ends(self, pod: Json, *, code: int = 1, **status: Any) -> None:
        """As a kubelet reports a Pod whose containers ended with an exit code."""
        now = pod["metadata"]["creationTimestamp"]
        reason = "Error" if code else "Completed"
        state = {"terminated": {"exitCode": code, "reason": reason, "finishedAt": now, "startedAt": now}}
        phase = "Failed" if code else "Succeeded"
        statuses = [_container(pod, state, ready=False)]
        await self.reports(pod, {"phase": phase, "containerStatuses": statuses, **status})

    async def reports(self, pod: Json, status: Json) -> None:
        await self.client.patch(POD, self.namespace, pod["metadata"]["name"], {"status": status}, subresource="status")

    async def removed(self, pod: Json) -> None:
        """As a kubelet ends the deletion of a Pod, or as somebody forces it."""
        await self.client.delete(POD, self.namespace, pod["metadata"]["name"], grace=0)

    async def until(self, condition: Callable[[], Any], what: str, within: float = DEADLINE) -> Any:
        """Wait for a condition with a deadline; what it gives that is true."""
        last: Any = None
        try:
            async with asyncio.timeout(within):
                while not (last := await _unless_missing(condition)):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"not within {within:g} s: {what}; {await self.seen()}") from None
        return last

    async def seen(self) -> str:
        """What there is, for a failure's text."""
        kinds = (DASK_CLUSTER, DASK_WORKER_GROUP, DASK_JOB, DASK_AUTOSCALER, POD)
        lists = [await self.client.list(kind, self.namespace) for kind in kinds]
        return yaml.safe_dump([[_brief(item) for item in each["items"]] for each in lists])

    async def workers(self, count: int) -> list[Json]:
        """Wait until there are exactly so many workers."""

        async def there() -> tuple[list[Json]] | None:
            found = await self.pods()
            return (found,) if len(found) == count else None

        found: tuple[list[Json]] = await self.until(there, f"{count} workers")
        return found[0]

    async def workers_of(self, group: str) -> list[Json]:
        """The worker Pods of one group."""
        return [pod for pod in await self.pods() if pod["metadata"]["labels"]["dask.org/workergroup-name"] == group]

    async def condition(self, type_: str, *, status: str, reason: str, group: str | None = None) -> Json:
        """Wait until a condition is there with this status and reason."""
        return await self.told(lambda: self.group(group) if group else self.cluster(), type_, status, reason)

    async def told(self, read: Callable[[], Awaitable[Json]], type_: str, status: str, reason: str) -> Json:
        """Wait until a resource has a condition with this status and reason."""

        async def there() -> Json | None:
            resource = await read()
            for each in resource.get("status", {}).get("conditions", []):
                if (each["type"], each["status"], each["reason"]) == (type_, status, reason):
                    return dict(each)
            return None

        found: Json = await self.until(there, f"{type_}={status} ({reason})")
        return found


async def _unless_missing(condition: Callable[[], Any]) -> Any:
    """What the condition gives; an object that is not there yet is no failure."""
    try:
        return await condition()
    except Missing:
        return None


def _container(pod: Json, state: Json, *, ready: bool) -> Json:
    name = pod["spec"]["containers"][0]["name"]
    return {"name": name, "image": "x", "imageID": "", "restartCount": 0, "ready": ready, "state": state}


def _brief(item: Json) -> Json:
    return {"name": item["metadata"]["name"], "status": item.get("status")}


def seed_cluster(**spec: Any) -> Json:
    """The seed's cluster, its scheduler bound to a node as a Kubernetes scheduler would do it."""
    manifest: Json = copy.deepcopy(yaml.safe_load((EXAMPLES / "cluster.yaml").read_text()))
    manifest["spec"]["scheduler"]["spec"]["nodeName"] = "node"
    manifest["spec"].update(spec)
    return manifest


def seed_job(name: str = "simple-job", **pod: Any) -> Json:
    """The seed's job, its scheduler bound to a node; keywords lie over the runner's spec."""
    manifest: Json = copy.deepcopy(yaml.safe_load((EXAMPLES / "job.yaml").read_text()))
    manifest["metadata"]["name"] = name
    manifest["spec"]["job"]["spec"].update(pod)
    manifest["spec"]["cluster"]["spec"]["scheduler"]["spec"]["nodeName"] = "node"
    return manifest


def seed_autoscaler(name: str = "simple", **spec: Any) -> Json:
    """The seed's autoscaler; keywords lie over its spec."""
    manifest: Json = copy.deepcopy(yaml.safe_load((EXAMPLES / "autoscaler.yaml").read_text()))
    manifest["metadata"]["name"] = name
    manifest["spec"].update(spec)
    return manifest


@pytest.fixture
def world(client: Client, namespace: str, crds: None) -> World:
    """A namespace with what a test needs in it."""
    return World(client, namespace)


@pytest.fixture
def serve(world: World) -> Serve:
    """Starts an operator for the test's namespace, and for others also."""

    @asynccontextmanager
    async def start(
        *,
        me: str = names.DEPLOYED,
        lease: str = names.OPERATOR,
        cluster: str | None = None,
        duration: float = 5.0,
        client: Client = world.client,
        also: tuple[str, ...] = (),
        leads: bool = True,
    ) -> AsyncIterator[Operator]:
        election = Election(
            client,
            namespace=world.namespace,
            name=lease,
            identity=secrets.token_hex(4),
            terms=Terms.lasting(duration),
            labels={names.LEASE_FOR: cluster} if cluster else None,
            final=names.DEPLOYED if cluster else None,
        )
        scope = Scope(namespaces=(world.namespace, *also), cluster=cluster)
        async with Operator(client, scope, election, me=me, inside=True, max_workers=20, timing=A_TENTH) as operator:
            async with asyncio.timeout(DEADLINE):
                await (operator.serving.wait() if leads else operator.caches.synced())
            yield operator

    return start


@pytest.fixture
async def scheduler() -> AsyncIterator[Partner]:
    """A scheduler of the test's own: what it is asked has effects on it."""
    async with alone() as found:
        yield found


def cluster_of(scheduler: Partner, **spec: Any) -> Json:
    """The seed's cluster, whose scheduler's Pod is said to listen where a real one does."""
    manifest = seed_cluster(**spec)
    (container,) = manifest["spec"]["scheduler"]["spec"]["containers"]
    container["ports"][0]["containerPort"] = located(scheduler.address)[1]
    return manifest


def without(plural: str) -> Callable[[web.Request, bytes], list[bytes]]:
    """Passes on what watches tell, but for those of one kind."""
    return lambda request, line: [] if request.path.endswith(plural) else [line]


async def is_missed(troubles: Iterable[str]) -> bool:
    """Whether a kind is known not to be served."""
    return any("is its CRD installed?" in trouble for trouble in troubles)


async def quiet(faults: Faults, seconds: float = 2.0) -> None:
    """Returns once nothing but the Lease has been asked for in so many seconds."""
    async with asyncio.timeout(30):
        while True:
            before = len(faults.requests)
            await asyncio.sleep(seconds)
            if all("/leases" in met.path for met in faults.requests[before:]):
                return
