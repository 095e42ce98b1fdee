"""The CRDs at the door of a real API server: what is refused, with which sentence, and what is kept."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from dask_k8s.errors import Invalid
from dask_k8s.kube.client import Client
from dask_k8s.kube.resources import DASK_AUTOSCALER, DASK_CLUSTER, DASK_WORKER_GROUP
from tests.api.operator.conftest import seed_autoscaler, seed_cluster, seed_job

Json = dict[str, Any]


def at(manifest: Json, path: str, content: object) -> Json:
    """The manifest with something else at a path such as ``spec.worker.replicas``."""
    changed = copy.deepcopy(manifest)
    *folders, last = path.split(".")
    place = changed
    for folder in folders:
        place = place.setdefault(folder, {})
    if content is None:
        del place[last]
    else:
        place[last] = content
    return changed


def group(name: str = "extra", cluster: str = "simple") -> Json:
    """A small worker group."""
    spec = {"cluster": cluster, "worker": {"spec": {"containers": [{"name": "worker", "image": "x"}]}}}
    return {"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskWorkerGroup", "metadata": {"name": name}, "spec": spec}


@pytest.mark.parametrize(
    ("path", "content", "sentence"),
    [
        ("metadata.name", "a" * 54, "metadata.name may have at most 53 characters"),
        ("metadata.name", "1st", "metadata.name must begin with a letter"),
        ("metadata.name", "a.b", "metadata.name must begin with a letter"),
        ("spec.worker.replicas", -1, "spec.worker.replicas"),
        ("spec.worker.replicas", "two", "spec.worker.replicas"),
        ("spec.worker.drainTimeout", -1, "spec.worker.drainTimeout"),
        ("spec.worker.spec.containers", [], "spec.worker.spec.containers"),
        ("spec.worker.spec", None, "spec.worker.spec"),
        ("spec.scheduler.service", None, "spec.scheduler.service"),
        ("spec.scheduler.spec.containers", [{"image": "x"}], "spec.scheduler.spec.containers[0].name"),
        ("spec.worker.metadata", {"labels": {"a": 1}}, "spec.worker.metadata.labels.a"),
        ("spec.idleTimeout", -5, "spec.idleTimeout"),
    ],
)
async def test_a_bad_cluster_is_refused_with_the_field(
    client: Client, namespace: str, crds: None, path: str, content: object, sentence: str
) -> None:
    """The API server says which field is wrong."""
    manifest = at(at(seed_cluster(), "metadata.namespace", namespace), path, content)
    with pytest.raises(Invalid) as refused:
        await client.create(manifest, dry_run=True)
    assert sentence in refused.value.message


@pytest.mark.parametrize(
    ("manifest", "sentence"),
    [
        (group(name="g" * 64), "metadata.name may have at most 63 characters"),
        (group(cluster=""), "spec.cluster"),
        (at(group(), "spec.worker", None), "spec.worker"),
    ],
    ids=["name", "cluster", "worker"],
)
async def test_a_bad_group_is_refused_with_the_field(
    client: Client, namespace: str, crds: None, manifest: Json, sentence: str
) -> None:
    """The API server says which field is wrong."""
    with pytest.raises(Invalid) as refused:
        await client.create(at(manifest, "metadata.namespace", namespace), dry_run=True)
    assert sentence in refused.value.message


@pytest.mark.parametrize(
    ("path", "content", "sentence"),
    [
        ("metadata.name", "a" * 54, "metadata.name may have at most 53 characters"),
        ("metadata.name", "1st", "metadata.name must begin with a letter"),
        ("spec.job", None, "spec.job"),
        ("spec.cluster", None, "spec.cluster"),
        ("spec.job.spec.restartPolicy", "Always", "restartPolicy must be OnFailure or Never"),
        ("spec.job.spec.containers", [], "spec.job.spec.containers"),
        ("spec.cluster.spec.worker.replicas", -1, "spec.cluster.spec.worker.replicas"),
        ("spec.cluster.spec.scheduler.service", None, "spec.cluster.spec.scheduler.service"),
    ],
)
async def test_a_bad_job_is_refused_with_the_field(
    client: Client, namespace: str, crds: None, path: str, content: object, sentence: str
) -> None:
    """The API server says which field is wrong."""
    with pytest.raises(Invalid) as refused:
        await client.create(at(at(seed_job(), "metadata.namespace", namespace), path, content), dry_run=True)
    assert sentence in refused.value.message


@pytest.mark.parametrize(
    ("path", "content", "sentence"),
    [
        ("spec.cluster", None, "spec.cluster"),
        ("spec.cluster", "", "spec.cluster"),
        ("spec.minimum", -1, "spec.minimum"),
        ("spec.minimum", 11, "spec.maximum must be at least spec.minimum"),
        ("spec.interval", 0, "spec.interval"),
        ("spec.scaleDown", {"stabilizationSeconds": 3601}, "spec.scaleDown.stabilizationSeconds"),
    ],
)
async def test_a_bad_autoscaler_is_refused_with_the_field(
    client: Client, namespace: str, crds: None, path: str, content: object, sentence: str
) -> None:
    """The API server says which field is wrong, or which two contradict each other."""
    with pytest.raises(Invalid) as refused:
        await client.create(at(at(seed_autoscaler(), "metadata.namespace", namespace), path, content), dry_run=True)
    assert sentence in refused.value.message


async def test_an_autoscalers_cluster_cannot_be_changed(client: Client, namespace: str, crds: None) -> None:
    """The sentence says what to do instead; limits can be changed, and have defaults."""
    bare = {**seed_autoscaler(), "spec": {"cluster": "simple"}}
    made = await client.create(at(bare, "metadata.namespace", namespace))
    assert made["spec"] == {
        "cluster": "simple",
        "minimum": 0,
        "interval": 1,
        "scaleDown": {"stabilizationSeconds": 30},
    }
    await client.patch(DASK_AUTOSCALER, namespace, "simple", {"spec": {"minimum": 2, "maximum": 3}})
    with pytest.raises(Invalid, match="delete the autoscaler and make another one"):
        await client.patch(DASK_AUTOSCALER, namespace, "simple", {"spec": {"cluster": "other"}})


async def test_a_groups_cluster_cannot_be_changed(client: Client, namespace: str, crds: None) -> None:
    """The sentence says what to do instead."""
    await client.create(at(group(), "metadata.namespace", namespace))
    with pytest.raises(Invalid, match="delete the group and make another one"):
        await client.patch(DASK_WORKER_GROUP, namespace, "extra", {"spec": {"cluster": "other"}})


async def test_managed_by_is_set_once(client: Client, namespace: str, crds: None) -> None:
    """From nothing to something, and then never again."""
    await client.create(at(seed_cluster(), "metadata.namespace", namespace))
    await client.patch(DASK_CLUSTER, namespace, "simple", {"spec": {"managedBy": "dask.org/embedded-1"}})
    for other in ("dask.org/embedded-2", None):
        with pytest.raises(Invalid, match="can be set once"):
            await client.patch(DASK_CLUSTER, namespace, "simple", {"spec": {"managedBy": other}})


async def test_defaults_are_filled_in_and_unknown_pod_fields_kept(client: Client, namespace: str, crds: None) -> None:
    """Fields of a newer Kubernetes survive; what we have a default for gets it."""
    manifest = at(at(seed_cluster(), "metadata.namespace", namespace), "spec.worker.replicas", None)
    manifest = at(manifest, "spec.worker.spec.fieldOfTomorrow", {"a": [1]})
    made = await client.create(at(manifest, "spec.scheduler.service.fieldOfTomorrow", True))
    worker = made["spec"]["worker"]
    assert (worker["replicas"], worker["drainTimeout"]) == (3, 60)
    assert worker["spec"]["fieldOfTomorrow"] == {"a": [1]}
    assert made["spec"]["scheduler"]["service"]["fieldOfTomorrow"] is True
