"""``dask k8s uninstall``."""

from __future__ import annotations

import pytest

from dask_k8s import names
from dask_k8s.cli import manifest
from dask_k8s.cli.install import Wish
from dask_k8s.cli.uninstall import uninstall
from dask_k8s.errors import DaskK8sError, Missing
from dask_k8s.kube.client import Client
from dask_k8s.kube.resources import (
    DEPLOYMENT,
    LEASE,
    SERVICE_ACCOUNT,
)
from tests.api.install.conftest import Said, installed

pytestmark = pytest.mark.usefixtures("crds", "one_at_a_time")


async def test_uninstall_takes_away_what_is_ours(client: Client, wish: Wish, said: Said) -> None:
    """With the Lease that the operator may still hold; what bears an operator's name without our label stays."""
    await installed(client, wish)
    theirs = {"metadata": {"labels": {manifest.PART_OF: None}}}
    await client.patch(SERVICE_ACCOUNT, wish.namespace, names.OPERATOR, theirs)
    metadata = {"name": names.OPERATOR, "namespace": wish.namespace}
    await client.create({"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": metadata})

    await uninstall(client, wish.namespace, said)
    assert said.about("Deployment") == said.about("Lease") == ["deleted"]
    assert "left, since it is not ours" in next(line for line in said if line.startswith("ServiceAccount "))
    await client.get(SERVICE_ACCOUNT, wish.namespace, names.OPERATOR)
    with pytest.raises(Missing):
        await client.get(DEPLOYMENT, wish.namespace, names.OPERATOR)


async def test_uninstall_never_takes_clusters_unasked(client: Client, namespace: str, said: Said) -> None:
    """With the kinds their objects would go: it refuses, names them, and has done nothing."""
    metadata = {"name": "group", "namespace": namespace}
    pod = {"containers": [{"name": "worker", "image": "any", "args": ["dask", "worker"]}]}
    spec = {"cluster": "absent", "worker": {"replicas": 0, "spec": pod}}
    group = {"apiVersion": names.API_VERSION, "kind": names.WORKER_GROUP, "metadata": metadata, "spec": spec}
    await client.create(group)
    with pytest.raises(DaskK8sError, match="would be deleted: Dask"):
        await uninstall(client, namespace, said, crds=True)
    assert said == []
