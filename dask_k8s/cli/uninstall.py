"""``dask k8s uninstall``: takes away what an installation made, and nothing that anybody needs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from dask_k8s import names
from dask_k8s.cli import manifest, packed
from dask_k8s.cli.applied import label, present
from dask_k8s.cli.manifest import PACKAGE, PART_OF
from dask_k8s.cli.session import Say
from dask_k8s.errors import DaskK8sError, Missing, Unavailable
from dask_k8s.kinds.value import Manifest
from dask_k8s.kube import resources
from dask_k8s.kube.client import Client
from dask_k8s.kube.resources import DASK_AUTOSCALER, DASK_CLUSTER, DASK_JOB, DASK_WORKER_GROUP, LEASE, Resource

UNAVAILABLE_FOR = 10.0
"""Seconds that an API server which cannot answer now is asked again."""


async def uninstall(
    client: Client, namespace: str, say: Say, *, crds: bool = False, delete_clusters: bool = False
) -> None:
    """Take the operator away, and the kinds where that is asked for; say line by line what was done.

    Raises
    ------
    DaskK8sError
        Before anything is done, when ``crds`` would delete clusters, jobs or what belongs to them, and
        ``delete_clusters`` does not say so.
    """
    if crds and not delete_clusters:
        await _refuse_with_clusters(client)
    objects = [each for each in manifest.operator(namespace=namespace) if each["kind"] != "Namespace"]
    await _delete(client, reversed(objects), say)
    await _delete_lease(client, namespace, say)
    say(f"Namespace {namespace}: left, with whatever else is in it")
    if crds:
        await _delete(client, packed.crds(), say)


async def _delete_lease(client: Client, namespace: str, say: Say) -> None:
    """The operator, which loses its rights with its Deployment, may not have given it back: KubeCluster would wait."""
    try:
        await client.delete(LEASE, namespace, names.OPERATOR)
    except Missing:
        return
    say(f"Lease {namespace}/{names.OPERATOR}: deleted")


async def _refuse_with_clusters(client: Client) -> None:
    found = []
    for resource in (DASK_CLUSTER, DASK_WORKER_GROUP, DASK_JOB, DASK_AUTOSCALER):
        items = await _all_of(client, resource)
        found += [f"{resource.kind} {each['metadata']['namespace']}/{each['metadata']['name']}" for each in items]
    if found:
        some = ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
        raise DaskK8sError(
            f"Without their kinds, these would be deleted: {some}. Nothing was changed. "
            "Delete them first, or say --delete-clusters."
        )


async def _all_of(client: Client, resource: Resource) -> list[Manifest]:
    """Every object of a kind; none where there is no such kind.

    For a second or two after a CRD was applied the API server answers that its storage is initializing.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + UNAVAILABLE_FOR
    while True:
        try:
            items: list[Manifest] = (await client.list(resource))["items"]
        except Missing:
            return []
        except Unavailable:
            if loop.time() > deadline:
                raise
            await asyncio.sleep(0.5)
        else:
            return items


async def _delete(client: Client, manifests: Iterable[Manifest], say: Say) -> None:
    for each in manifests:
        there = await present(client, each)
        if there is None:
            say(f"{label(each)}: not there")
        elif there["metadata"].get("labels", {}).get(PART_OF) != PACKAGE:
            say(f"{label(each)}: left, since it is not ours: it lacks the label {PART_OF}={PACKAGE}")
        else:
            metadata = there["metadata"]
            await client.delete(resources.of(each), metadata.get("namespace"), metadata["name"], uid=metadata["uid"])
            say(f"{label(each)}: deleted")
