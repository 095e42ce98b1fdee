"""DaskAutoscaler: a cluster's default group follows what its scheduler could use."""

from __future__ import annotations

from dask_k8s import names
from dask_k8s.errors import InvalidResource
from dask_k8s.kinds.fields import Fields
from dask_k8s.kinds.resource import Head
from dask_k8s.kinds.value import Manifest, value

DEFAULT_INTERVAL = 1
DEFAULT_STABILIZATION = 30
LONGEST_STABILIZATION = 3600
"""Seconds; that of a HorizontalPodAutoscaler."""


def seniority(manifest: Manifest) -> tuple[str, str]:
    """What autoscalers of one cluster are sorted by: the oldest one serves it, and of two as old the first by name."""
    meta = manifest["metadata"]
    return meta["creationTimestamp"], meta["name"]


@value
class Autoscaler:
    """A DaskAutoscaler.

    Parameters
    ----------
    cluster
        The name of the cluster in the same namespace.
    minimum, maximum
        Between which the number of workers stays; a maximum of None is the operator's own.
    interval
        Seconds between two questions to the scheduler.
    stabilization
        Seconds whose highest target counts when workers are taken away.
    """

    head: Head
    cluster: str
    minimum: int
    maximum: int | None
    interval: int
    stabilization: int
    status: Manifest

    @classmethod
    def from_manifest(cls, manifest: Manifest) -> Autoscaler:
        """Read from the API server's JSON.

        Raises
        ------
        InvalidResource
            Naming the field that is wrong.
        """
        fields = Fields(manifest)
        spec = fields.inner("spec")
        minimum = spec.count("minimum", 0)
        maximum = spec.count("maximum", 0) if spec.has("maximum") else None
        if maximum is not None and maximum < minimum:
            raise InvalidResource(spec.path("maximum"), f"must be at least spec.minimum, which is {minimum}")
        return cls(
            head=Head.read(manifest, names.AUTOSCALER),
            cluster=spec.text("cluster"),
            minimum=minimum,
            maximum=maximum,
            interval=max(1, spec.count("interval", DEFAULT_INTERVAL)),
            stabilization=min(
                LONGEST_STABILIZATION,
                spec.inner_or_empty("scaleDown").count("stabilizationSeconds", DEFAULT_STABILIZATION),
            ),
            status=fields.mapping_or_empty("status"),
        )
