"""What all Dask resources have in common: who they are, whether they are going, their labels and annotations."""

from __future__ import annotations

from datetime import datetime

from dask_k8s import names
from dask_k8s.errors import InvalidResource
from dask_k8s.kinds.fields import Fields
from dask_k8s.kinds.value import Manifest, Ref, value
from dask_k8s.metadata import Metadata, controller_of, owner_reference


@value
class Head:
    """The head of a Dask resource that was read from the API server.

    Parameters
    ----------
    owners
        Its owner references as they came: a patch of them has to keep those of others.
    generation
        Counts the changes of ``spec``; status tells which one it speaks of.
    deleting
        Whether it is on its way out, so that nothing may be made for it.
    """

    ref: Ref
    generation: int
    created: datetime
    deleting: bool
    metadata: Metadata
    owners: tuple[Manifest, ...]

    @classmethod
    def read(cls, manifest: Manifest, kind: str) -> Head:
        """From the whole manifest, whose kind has to be the expected one."""
        fields = Fields(manifest)
        if fields.text_or_none("kind") not in (kind, None):
            raise InvalidResource("kind", f"must be {kind}, not {fields.text_or_none('kind')}")
        metadata = fields.inner("metadata")
        metadata.text("name")
        for name in ("namespace", "uid", "resourceVersion"):
            metadata.text_or_none(name)
        for owner in metadata.objects("ownerReferences"):
            owner.text("uid")
        return cls(
            ref=Ref.to(manifest, kind),
            generation=metadata.count("generation", 0),
            created=metadata.moment("creationTimestamp"),
            deleting=metadata.has("deletionTimestamp"),
            metadata=Metadata.read(metadata),
            owners=tuple(manifest["metadata"].get("ownerReferences") or ()),
        )

    @property
    def controller(self) -> str | None:
        """The uid of what controls this resource, or None."""
        found = controller_of(self.owners)
        return None if found is None else found["uid"]

    def owner(self) -> dict[str, object]:
        """The owner reference that ties what is made for this resource to it."""
        return owner_reference(self.ref, names.API_VERSION)
