"""What stands in the way of an installation: kinds that are not ours, and operators beside which ours must not run."""

from __future__ import annotations

from collections.abc import Iterable

from dask_k8s.cli.applied import present
from dask_k8s.cli.manifest import PACKAGE, PART_OF, SELECTOR
from dask_k8s.errors import DaskK8sError
from dask_k8s.kinds.value import Manifest, value
from dask_k8s.kube.client import Client
from dask_k8s.kube.resources import DEPLOYMENT

PEER = "dask-kubernetes-operator"
"""In the labels and in the image of dask-kubernetes' operator, however its chart was released."""


@value
class Foreign:
    """What dask-kubernetes has in a cluster.

    Parameters
    ----------
    crds
        The names of kinds that are not ours, though they bear the names of ours.
    operators
        The Deployments of its operator that run.
    """

    crds: tuple[str, ...]
    operators: tuple[Manifest, ...]

    def __bool__(self) -> bool:
        return bool(self.crds or self.operators)


async def look(client: Client, crds: Iterable[Manifest], namespace: str) -> Foreign:
    """What dask-kubernetes has in this cluster.

    Raises
    ------
    DaskK8sError
        When an operator of ours runs in another namespace: two of them would serve the same clusters.
    """
    there = [manifest for crd in crds if (manifest := await present(client, crd)) is not None]
    running = [each for each in (await client.list(DEPLOYMENT))["items"] if runs(each)]
    for deployment in running:
        if is_ours(deployment) and deployment["metadata"]["namespace"] != namespace:
            raise DaskK8sError(_second_operator(deployment, namespace))
    return Foreign(
        crds=tuple(
            crd["metadata"]["name"] for crd in there if crd["metadata"].get("labels", {}).get(PART_OF) != PACKAGE
        ),
        operators=tuple(each for each in running if is_peer(each)),
    )


def runs(deployment: Manifest) -> bool:
    """Whether it is to have Pods."""
    return bool(deployment["spec"].get("replicas", 1))


def is_peer(deployment: Manifest) -> bool:
    """Whether it is dask-kubernetes' operator."""
    labels = deployment["metadata"].get("labels") or {}
    images = [container.get("image", "") for container in deployment["spec"]["template"]["spec"]["containers"]]
    return PEER in labels.values() or any(PEER in image for image in images)


def is_ours(deployment: Manifest) -> bool:
    """Whether it is this package's operator."""
    labels = deployment["metadata"].get("labels") or {}
    return {**SELECTOR, PART_OF: PACKAGE}.items() <= labels.items()


def refusal(foreign: Foreign) -> DaskK8sError:
    """Says what is there, and what ``--replace`` would do about it."""
    lines = ["dask-kubernetes is installed in this cluster. Nothing was changed. With --replace, this command would"]
    if foreign.crds:
        lines.append(f"  - take over the definitions of {', '.join(foreign.crds)}; objects of these kinds stay")
    for deployment in foreign.operators:
        lines.append(f"  - scale down {named(deployment)}, which could be undone by: {undo(deployment)}")
    return DaskK8sError("\n".join([*lines, "  - install dask-k8s."]))


def named(deployment: Manifest) -> str:
    """A Deployment in a sentence, with its image."""
    metadata = deployment["metadata"]
    image = deployment["spec"]["template"]["spec"]["containers"][0].get("image")
    return f"Deployment {metadata['namespace']}/{metadata['name']} ({image})"


def undo(deployment: Manifest) -> str:
    """The command that brings a Deployment back that was scaled down."""
    metadata, replicas = deployment["metadata"], deployment["spec"].get("replicas", 1)
    return f"kubectl -n {metadata['namespace']} scale deployment {metadata['name']} --replicas={replicas}"


def _second_operator(deployment: Manifest, namespace: str) -> str:
    place = deployment["metadata"]["namespace"]
    return (
        f"An operator of dask-k8s runs already: {named(deployment)}. A second one in {namespace} would serve the same "
        f"clusters. Say --namespace {place} to change that one, or take it away first: "
        f"dask k8s uninstall --namespace {place}"
    )
