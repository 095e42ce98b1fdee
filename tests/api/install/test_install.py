"""``dask k8s install``: what it does, says and waits for."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace

import pytest

from dask_k8s import names
from dask_k8s.cli import manifest
from dask_k8s.cli.install import Wish, install
from dask_k8s.errors import Missing, StartError, StartTimeout
from dask_k8s.kube.client import Client
from dask_k8s.kube.resources import (
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    DEPLOYMENT,
)
from tests.api.install.conftest import WITHIN, Said, a_pod_that, installed, report, report_available, the_deployment

pytestmark = pytest.mark.usefixtures("crds", "one_at_a_time")


async def test_it_installs_waits_and_says_what_it_did(client: Client, wish: Wish, said: Said) -> None:
    """Each object is created, the end is told when the operator is available, and not before."""
    async with asyncio.TaskGroup() as group:
        installing = group.create_task(install(client, wish, said))
        await the_deployment(client, wish.namespace)
        await asyncio.sleep(0.2)
        assert not installing.done()
        await report_available(client, wish.namespace)
    for kind in ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "Deployment"):
        assert said.about(kind) == ["created"]
    assert said.about("CustomResourceDefinition") in (["unchanged"] * 4, ["changed"] * 4)
    assert any(line.startswith("The operator is ready after ") for line in said)


async def test_a_second_time_changes_nothing(client: Client, wish: Wish, said: Said) -> None:
    """Everything is unchanged, a count of replicas that somebody else has set included."""
    await installed(client, wish)
    await client.patch(DEPLOYMENT, wish.namespace, names.OPERATOR, {"spec": {"replicas": 2}})
    await report(client, wish.namespace, replicas=2, updatedReplicas=2, readyReplicas=2, availableReplicas=2)

    await install(client, wish, said)
    outcomes = [line.rpartition(": ")[2] for line in said if ": " in line]
    assert outcomes[:9] == ["unchanged"] * 9
    assert (await the_deployment(client, wish.namespace))["spec"]["replicas"] == 2


async def test_another_image_changes_the_deployment_alone(client: Client, wish: Wish, said: Said) -> None:
    """And is waited for: what is told about the version before does not count."""
    await installed(client, wish)

    async with asyncio.TaskGroup() as group:
        again = group.create_task(install(client, replace(wish, image="registry.example/op:2"), said))
        async with asyncio.timeout(WITHIN):
            while "Deployment" not in "".join(said):
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.2)
        assert not again.done()
        await report_available(client, wish.namespace)
    assert said.about("Deployment") == ["changed"]
    assert said.about("ClusterRole") == ["unchanged"]
    pod = (await the_deployment(client, wish.namespace))["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "registry.example/op:2"


async def test_a_dry_run_changes_nothing(client: Client, said: Said) -> None:
    """It says what would be created, even in a namespace that is not there yet."""
    wish = Wish(namespace=f"absent-{secrets.token_hex(4)}", dry_run=True)
    await install(client, wish, said)
    for kind in ("Namespace", "ServiceAccount", "ClusterRole", "Role", "Deployment"):
        assert said.about(kind) == ["would be created"]
    for resource in (CLUSTER_ROLE, CLUSTER_ROLE_BINDING):
        with pytest.raises(Missing):
            await client.get(resource, None, names.OPERATOR)


async def test_what_keeps_the_operator_from_running_is_told_at_once(client: Client, wish: Wish) -> None:
    """An image that does not exist ends the waiting, with the kubelet's words and the option that mends it."""
    message = 'Back-off pulling image "x": not found'
    installing = asyncio.create_task(install(client, wish, Said()))
    await a_pod_that(client, wish.namespace, {"reason": "ImagePullBackOff", "message": message})
    with pytest.raises(StartError) as told:
        await installing
    assert not isinstance(told.value, StartTimeout)
    assert told.value.cause == f"Pod operator-pod: the image {manifest.IMAGE} cannot be pulled: {message}"
    assert told.value.mend == "Name an image that is there, by --image."


async def test_time_that_is_over_is_told_with_the_reason(client: Client, wish: Wish) -> None:
    """Without any Pod it is what the Deployment's conditions say."""
    quota = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: small"}
    installing = asyncio.create_task(install(client, replace(wish, timeout=2), Said()))
    await report(client, wish.namespace, conditions=[quota])
    with pytest.raises(StartTimeout, match="FailedCreate: exceeded quota: small"):
        await installing


async def test_without_controllers_it_says_that_nobody_looked(client: Client, wish: Wish) -> None:
    """As on a bare API server."""
    with pytest.raises(StartTimeout, match="Kubernetes has not looked at the Deployment"):
        await install(client, replace(wish, timeout=1), Said())
