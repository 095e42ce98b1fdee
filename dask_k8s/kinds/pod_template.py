"""A Pod template as users write it: a ``metadata`` beside a ``spec`` that is Kubernetes' own and left open."""

from __future__ import annotations

from dask_k8s.errors import InvalidResource
from dask_k8s.kinds.fields import Fields
from dask_k8s.kinds.value import Manifest, value
from dask_k8s.metadata import Metadata


@value
class PodTemplate:
    """What the Pods of one kind are made from.

    Parameters
    ----------
    metadata
        Labels and annotations for these Pods alone.
    spec
        A PodSpec as it was written; only what we rely on has been looked at.
    """

    metadata: Metadata
    spec: Manifest

    @classmethod
    def read(cls, fields: Fields) -> PodTemplate:
        """From the object that holds ``metadata`` and ``spec``.

        Raises
        ------
        InvalidResource
            Without a list of containers that all have a name.
        """
        spec = fields.inner("spec")
        containers = spec.objects("containers")
        if not containers:
            raise InvalidResource(spec.path("containers"), "needs at least one container")
        for container in containers:
            container.text("name")
        return cls(metadata=Metadata.read(fields.inner_or_empty("metadata")), spec=fields.mapping("spec"))
