"""Namespaces of a run's own, which go with all that is in them."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dask_k8s.kube.client import Client
from dask_k8s.kube.resources import NAMESPACE


@asynccontextmanager
async def own_namespaces(client: Client, prefix: str, count: int) -> AsyncIterator[tuple[str, ...]]:
    """So many new ones."""
    mark = secrets.token_hex(3)
    names = tuple(f"{prefix}-{mark}-{number}" for number in range(count))
    for name in names:
        await client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    try:
        yield names
    finally:
        for name in names:
            await client.delete(NAMESPACE, None, name)
