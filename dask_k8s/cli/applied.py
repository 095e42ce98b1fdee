"""Server-side apply that knows what it did."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from dask_k8s import names
from dask_k8s.errors import Missing
from dask_k8s.kinds.value import Manifest
from dask_k8s.kube import resources
from dask_k8s.kube.client import Client

EVERY = 0.2

_BOOKKEEPING = frozenset({"managedFields", "resourceVersion", "generation", "creationTimestamp", "uid"})


class Outcome(StrEnum):
    """What became of an object."""

    CREATED = "created"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


async def apply(client: Client, manifest: Manifest, *, dry_run: bool) -> Outcome:
    """Bring one object to its manifest; with ``dry_run``, what that would do."""
    before = await present(client, manifest)
    try:
        after = await client.apply(manifest, manager=names.FIELD_MANAGER, dry_run=dry_run)
    except Missing:
        # The namespace that a dry run does not make: the server cannot check what would be in it.
        if not dry_run or before is not None:
            raise
        return Outcome.CREATED
    if before is None:
        return Outcome.CREATED
    return Outcome.UNCHANGED if content(before) == content(after) else Outcome.CHANGED


async def gone(client: Client, manifest: Manifest) -> None:
    """Until an object that is being deleted is no longer there; at once for any other.

    What is applied to an object on its way out goes with it.
    """
    while (there := await present(client, manifest)) and there["metadata"].get("deletionTimestamp"):
        await asyncio.sleep(EVERY)


async def present(client: Client, manifest: Manifest) -> Manifest | None:
    """The object of a manifest's kind and name as it is now; None where there is none."""
    metadata = manifest["metadata"]
    try:
        return await client.get(resources.of(manifest), metadata.get("namespace"), metadata["name"])
    except Missing:
        return None


def content(manifest: Manifest) -> Mapping[str, Any]:
    """An object without its status and what the API server keeps books of."""
    metadata = {key: field for key, field in manifest["metadata"].items() if key not in _BOOKKEEPING}
    return {**manifest, "metadata": metadata, "status": None}


def label(manifest: Manifest) -> str:
    """How an object is called in a sentence: ``Deployment dask-operator/dask-operator``."""
    metadata = manifest["metadata"]
    place = f"{metadata['namespace']}/" if metadata.get("namespace") else ""
    return f"{manifest['kind']} {place}{metadata['name']}"
