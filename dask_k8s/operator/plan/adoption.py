"""What names a cluster becomes the cluster's own, and is deleted with it."""

from __future__ import annotations

from collections.abc import Iterator

from dask_k8s import metadata, names
from dask_k8s.kinds.resource import Head
from dask_k8s.operator.actions import Patch
from dask_k8s.operator.observed import Home


def follows_the_dead(head: Head, home: Home | None) -> bool:
    """Whether it belongs to a cluster that is gone, or is going: nothing is done, and the garbage collector comes."""
    if home is not None and home.deleting:
        return True
    controller = metadata.controller_of(head.owners)
    if controller is None or controller.get("kind") != names.CLUSTER:
        return False
    return home is None or controller["uid"] != home.ref.uid


def adopted(head: Head, home: Home) -> Iterator[Patch]:
    """The owner reference to its cluster, beside those that others wrote; nothing where something controls it."""
    if head.controller is None:
        owners = [*head.owners, metadata.owner_reference(home.ref, names.API_VERSION)]
        yield Patch(target=head.ref, patch={"metadata": {"ownerReferences": owners}}, owner=home.ref)
