"""``dask k8s install`` where somebody else has installed something."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from dask_k8s import names
from dask_k8s.cli import foreign, manifest
from dask_k8s.cli.applied import Outcome, apply
from dask_k8s.cli.install import Wish, install
from dask_k8s.errors import DaskK8sError, Missing
from dask_k8s.kube.client import Client
from dask_k8s.kube.resources import (
    CUSTOM_RESOURCE_DEFINITION,
    DEPLOYMENT,
    SERVICE_ACCOUNT,
)
from tests.api.install.conftest import Said, installed

pytestmark = pytest.mark.usefixtures("crds", "one_at_a_time")


async def make_peer(client: Client, namespace: str) -> None:
    """dask-kubernetes' operator, as its chart makes it."""
    labels = {"app.kubernetes.io/name": "dask-kubernetes-operator"}
    container = {"name": "operator", "image": "ghcr.io/dask/dask-kubernetes-operator:2025.7.0"}
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
    }
    metadata = {"name": "peer", "namespace": namespace, "labels": labels}
    await client.create({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec})


@pytest.fixture
async def peer(one_at_a_time: None, client: Client, namespace: str) -> AsyncIterator[str]:
    """The namespace in which dask-kubernetes' operator runs."""
    await make_peer(client, namespace)
    yield namespace
    await client.delete(DEPLOYMENT, namespace, "peer")


async def test_beside_dask_kubernetes_it_refuses(client: Client, peer: str, said: Said) -> None:
    """And has done nothing then; a dry run refuses as well."""
    for dry_run in (True, False):
        with pytest.raises(DaskK8sError, match=f"scale down Deployment {peer}/peer"):
            await install(client, Wish(namespace=peer, dry_run=dry_run), said)
    assert len(said) == 2
    assert (await client.get(DEPLOYMENT, peer, "peer"))["spec"]["replicas"] == 1
    with pytest.raises(Missing):
        await client.get(SERVICE_ACCOUNT, peer, names.OPERATOR)


async def test_replace_scales_dask_kubernetes_down_first(client: Client, peer: str, wish: Wish, said: Said) -> None:
    """Before the kinds are touched, and with the command that undoes it."""
    await install(client, replace(wish, crds_only=True, replace=True), said)
    assert (await client.get(DEPLOYMENT, peer, "peer"))["spec"]["replicas"] == 0
    assert said[1].startswith(f"Deployment {peer}/peer (ghcr.io/dask/dask-kubernetes-operator:2025.7.0): scaled down;")
    assert said[1].endswith(f"kubectl -n {peer} scale deployment peer --replicas=1")
    assert said[2].startswith("CustomResourceDefinition ")
    await install(client, replace(wish, crds_only=True), Said())


async def test_a_replacing_dry_run_leaves_dask_kubernetes_alone(client: Client, peer: str, said: Said) -> None:
    """It says what would be done to it."""
    await install(client, Wish(namespace=peer, dry_run=True, replace=True), said)
    assert "would be scaled down" in said[1]
    assert (await client.get(DEPLOYMENT, peer, "peer"))["spec"]["replicas"] == 1


async def test_a_second_operator_of_ours_is_refused(client: Client, wish: Wish) -> None:
    """Two of them in two namespaces would serve the same clusters under two Leases."""
    await installed(client, wish)
    with pytest.raises(DaskK8sError, match=f"--namespace {wish.namespace} to change that one"):
        await install(client, Wish(namespace="elsewhere"), Said())


async def test_kinds_without_our_label_are_foreign(client: Client) -> None:
    """Whoever made them; with the label they are ours."""
    group = f"g{secrets.token_hex(4)}.example.org"
    crd: dict[str, object] = {
        "apiVersion": CUSTOM_RESOURCE_DEFINITION.api_version,
        "kind": CUSTOM_RESOURCE_DEFINITION.kind,
        "metadata": {"name": f"things.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": "Thing", "plural": "things"},
            "versions": [
                {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
            ],
        },
    }
    assert not await foreign.look(client, [crd], "any")
    assert await apply(client, crd, dry_run=False) is Outcome.CREATED
    try:
        assert (await foreign.look(client, [crd], "any")).crds == (f"things.{group}",)
        ours = {**crd, "metadata": {"name": f"things.{group}", "labels": {manifest.PART_OF: manifest.PACKAGE}}}
        assert await apply(client, ours, dry_run=True) is Outcome.CHANGED
        assert await apply(client, ours, dry_run=False) is Outcome.CHANGED
        assert await apply(client, ours, dry_run=False) is Outcome.UNCHANGED
        assert not await foreign.look(client, [crd], "any")
    finally:
        await client.delete(CUSTOM_RESOURCE_DEFINITION, None, f"things.{group}")
