"""Rights and calls are the same: an operator under an account with the shipped rules, and all that it asked for.

A verb that is missing from the rules is refused, and asked for all the same; one too many is never asked for.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from dask_k8s import names
from dask_k8s.cli import manifest
from dask_k8s.cluster.embedded import Embedded
from dask_k8s.kinds.value import Manifest
from dask_k8s.kube import calls, credentials
from dask_k8s.kube.calls import Call
from dask_k8s.kube.client import Client
from dask_k8s.kube.resources import (
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    DASK_AUTOSCALER,
    DASK_CLUSTER,
    DASK_WORKER_GROUP,
    DISRUPTION_BUDGET,
    LEASE,
    POD,
    SERVICE,
)
from dask_k8s.operator import Operator, Scope
from dask_k8s.operator.engine.election import Election
from dask_k8s.operator.rights import BUDGETS, DEPLOYED, EMBEDDED, FORWARDING, NODES, OPTIONAL, RIGHTS, Right, rules
from dask_k8s.settings import read
from tests.api.conftest import ApiServer
from tests.api.install.test_rights import kubeconfig_with, token_of
from tests.api.operator.conftest import A_TENTH, Json, Serve, World, cluster_of, seed_autoscaler, seed_cluster, seed_job
from tests.faults.proxy import Faults, Met
from tests.unit.scheduler.conftest import Partner

ME = "embedded-0123456789"
RBAC = "rbac.authorization.k8s.io"
DELETES_CLUSTERS = Right(group=names.GROUP, resource=DASK_CLUSTER.plural, verbs=("delete",))
FORWARDS = Call(verb="get", group=FORWARDING.group, resource=FORWARDING.resource)
"""A WebSocket begins as a GET; from Kubernetes 1.35 on the API server looks for the right to create as well."""
ASKED_OF_ITSELF = Call(verb="create", group="authorization.k8s.io", resource="selfsubjectaccessreviews")
"""Whether it may watch what it can do without; everybody may ask that."""


class Account:
    """An account with rights, and what it asked for.

    Each first object of a kind that it makes is made twice, as by a network that repeats a request: so it meets its own
    object under the name that it has chosen, and has to look at it.
    """

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._made: set[Call] = set()
        self.refused: set[Call] = set()
        faults.trouble = self._answer

    @property
    def calls(self) -> set[Call]:
        """Each verb on each kind that was asked for."""
        return {_call(request) for request in self._faults.requests} - {ASKED_OF_ITSELF}

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        call = _call(request)
        if call.verb == "create" and call not in self._made and "/events" not in request.path:
            self._made.add(call)
            await self._faults.pass_on(request)
        answer = await self._faults.pass_on(request)
        if answer.status == 403:
            self.refused.add(call)
        return answer


def _call(request: web.Request | Met) -> Call:
    return calls.of(request.method, request.path, watch="watch" in request.query)


def granted(*rights: Right) -> set[Call]:
    """The verbs of these rights, one by one."""
    return {
        Call(verb=verb, group=right.group, resource=right.resource)
        for right in manifest.merged(rights)
        for verb in right.verbs
    }


@asynccontextmanager
async def account(
    world: World, apiserver: ApiServer, folder: Path, *rights: Right, everywhere: tuple[Right, ...] = ()
) -> AsyncIterator[tuple[Account, Faults]]:
    """The namespace's own account, with some rights there and some in all namespaces."""
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": world.namespace}
    name = f"rights-{secrets.token_hex(4)}"
    for kind, allowed, place in (("Role", rights, {"namespace": world.namespace}), ("ClusterRole", everywhere, {})):
        about: Manifest = {"apiVersion": f"{RBAC}/v1", "metadata": {"name": name, **place}}
        reference = {"apiGroup": RBAC, "kind": kind, "name": name}
        await world.client.create({**about, "kind": kind, "rules": rules(manifest.merged(allowed))})
        await world.client.create({**about, "kind": f"{kind}Binding", "roleRef": reference, "subjects": [subject]})
    user = {"token": await token_of(apiserver, world.namespace)}
    kubeconfig = kubeconfig_with(user, apiserver, folder / "account.kubeconfig")
    try:
        async with Faults(await credentials.from_kubeconfig(str(kubeconfig), apiserver.context)) as faults:
            yield Account(faults), faults
    finally:
        for each in (CLUSTER_ROLE_BINDING, CLUSTER_ROLE):
            await world.client.delete(each, None, name)


async def comes_to_ask(world: World, seen: Account, expected: set[Call]) -> None:
    """Wait until it has asked for all of it."""

    async def asked() -> bool:
        return expected <= seen.calls

    try:
        await world.until(asked, "every verb")
    except AssertionError as error:
        raise AssertionError(f"never asked for: {expected - seen.calls}; {error}") from None


async def test_a_deployed_operator_asks_for_what_its_role_allows_and_for_no_more(
    world: World, serve: Serve, apiserver: ApiServer, tmp_path: Path
) -> None:
    """Clusters, groups, an autoscaler, a job and a cluster that was left behind, in one namespace, by a Role."""
    expected = granted(*RIGHTS, *DEPLOYED, *OPTIONAL)
    everything = (*RIGHTS, *DEPLOYED, BUDGETS)
    async with (
        account(world, apiserver, tmp_path, *everything, everywhere=(NODES,)) as (seen, faults),
        Client(faults.credentials()) as client,
        serve(client=client),
    ):
        await lives_of_a_cluster(world, seed_cluster())
        await world.make(seed_autoscaler())
        await world.make(seed_job())
        await world.ends(await world.runner(), code=0)
        await world.is_gone(DASK_CLUSTER, "simple-job")
        await leaves_a_cluster_behind(world)
        await comes_to_ask(world, seen, expected)
    assert seen.calls == expected
    assert seen.refused == set()


async def test_an_embedded_operator_asks_for_what_a_person_is_told_to_have(
    world: World,
    serve: Serve,
    scheduler: Partner,
    apiserver: ApiServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its process included, which removes its Lease in the end; KubeCluster itself writes whose the Lease is."""
    tied = Call(verb="patch", group=LEASE.group, resource=LEASE.plural)
    expected = granted(*RIGHTS, *EMBEDDED, BUDGETS) - {tied}
    async with account(world, apiserver, tmp_path, *RIGHTS, *EMBEDDED, BUDGETS) as (seen, faults):
        async with (
            Client(faults.credentials()) as client,
            serve(client=client, me=ME, lease=names.embedded_lease(ME), cluster="simple"),
        ):
            await lives_of_a_cluster(world, cluster_of(scheduler, managedBy=names.managed_by(ME)))
            await world.make(seed_autoscaler())
            await comes_to_ask(world, seen, granted(*RIGHTS, BUDGETS) - granted(DELETES_CLUSTERS))
            await world.client.patch(DASK_CLUSTER, world.namespace, "simple", {"spec": {"idleTimeout": 1}})
            await world.is_gone(DASK_CLUSTER, "simple")
        monkeypatch.setenv("KUBECONFIG", faults.kubeconfig(tmp_path / "proxy.kubeconfig"))
        another = Embedded(namespace=world.namespace, cluster="other", identity=f"{ME}0", settings=read())
        await another.start()
        await another.stop()
    assert seen.calls == expected
    assert seen.refused == set()


async def test_the_shipped_cluster_role_serves_all_namespaces(
    world: World, apiserver: ApiServer, tmp_path: Path
) -> None:
    """What it follows, it follows everywhere; one cluster alone is its own, since other tests have theirs."""
    name = f"only-{secrets.token_hex(4)}"
    shipped = (*RIGHTS, *DEPLOYED, *OPTIONAL)
    async with (
        account(world, apiserver, tmp_path, everywhere=shipped) as (seen, faults),
        Client(faults.credentials()) as client,
        Operator(
            client,
            Scope(namespaces=None, cluster=name),
            Election(client, namespace=world.namespace, name=names.embedded_lease(name), identity=name),
            me=f"embedded-{name}",
            inside=True,
            max_workers=20,
            timing=A_TENTH,
        ),
    ):
        manifest = seed_cluster(managedBy=names.managed_by(f"embedded-{name}"))
        manifest["metadata"]["name"] = name
        await world.make(manifest)
        await world.workers(2)
    everywhere = {request.path for request in faults.requests if "namespaces" not in request.path}
    followed = {each.path() for each in (DASK_CLUSTER, DASK_WORKER_GROUP, DASK_AUTOSCALER, POD, SERVICE, LEASE)}
    assert followed <= everywhere
    assert seen.calls <= granted(*shipped)
    assert seen.refused == set()


async def test_an_operator_outside_the_cluster_network_asks_for_port_forwards_beside_that(
    world: World, apiserver: ApiServer, tmp_path: Path
) -> None:
    """Nobody answers at the scheduler's own address; the API server says whether there may be another way."""
    async with (
        account(world, apiserver, tmp_path, *RIGHTS, *DEPLOYED, FORWARDING) as (seen, faults),
        Client(faults.credentials()) as client,
        Operator(
            client,
            Scope(namespaces=(world.namespace,)),
            Election(client, namespace=world.namespace, name=names.OPERATOR, identity="outside"),
            inside=False,
            max_workers=20,
            timing=A_TENTH,
        ),
    ):
        await world.make(seed_cluster())
        await world.make(seed_autoscaler())
        await world.workers(2)
        (pod,) = await world.pods("scheduler")
        await world.runs(pod, ip="192.0.2.1")
        await comes_to_ask(world, seen, {FORWARDS})
    assert seen.calls - granted(*RIGHTS, *DEPLOYED) == {FORWARDS}
    assert seen.refused == set()


async def lives_of_a_cluster(world: World, manifest: Json) -> None:
    """What a cluster may come to need: each part of it made, changed and taken away."""
    manifest["spec"]["scheduler"]["podDisruptionBudget"] = True
    await world.make(manifest)
    await world.workers(2)
    await says_something_twice(world)
    await loses_a_worker(world)
    await world.scale(3)
    await world.workers(3)
    await world.scale(1)
    await world.workers(1)
    await world.scale(4, "simple", DASK_CLUSTER)
    await world.workers(4)
    no_budget = {"spec": {"scheduler": {"podDisruptionBudget": False}}}
    await world.client.patch(DASK_CLUSTER, world.namespace, "simple", no_budget)
    await world.is_gone(DISRUPTION_BUDGET, "simple-scheduler")


async def says_something_twice(world: World) -> None:
    """Its scheduler is ready, is not, and is again."""
    (pod,) = await world.pods("scheduler")
    for ready in (True, False, True):
        await world.runs(pod, ready=ready)
        word = "Ready" if ready else "NotReady"
        await world.condition("SchedulerReady", status=str(ready), reason=word)


async def loses_a_worker(world: World) -> None:
    """Somebody takes a Pod out of its group, which adopts it again."""
    first, *_ = await world.pods()
    name = first["metadata"]["name"]
    await world.client.patch(POD, world.namespace, name, {"metadata": {"ownerReferences": None}})


async def leaves_a_cluster_behind(world: World) -> None:
    """Its embedded operator is gone, and the Lease has run out."""
    spec = {"holderIdentity": "gone", "leaseDurationSeconds": 1, "renewTime": "2026-01-01T00:00:00.000000Z"}
    metadata = {"name": names.embedded_lease(ME), "labels": {names.LEASE_FOR: "left"}}
    await world.make({"apiVersion": LEASE.api_version, "kind": "Lease", "metadata": metadata, "spec": spec})
    manifest = seed_cluster(managedBy=names.managed_by(ME))
    manifest["metadata"]["name"] = "left"
    await world.make(manifest)
