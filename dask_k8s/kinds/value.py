"""What every value of this package is made of: frozen classes, JSON as it came, references to objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")

Manifest = Mapping[str, Any]
"""A Kubernetes object as JSON; never written into."""


@dataclass_transform(frozen_default=True, kw_only_default=True)
def value(cls: type[T]) -> type[T]:
    """A frozen class with slots whose fields are given by name."""
    return dataclass(frozen=True, slots=True, kw_only=True)(cls)


@value
class Ref:
    """One object of the API server.

    Parameters
    ----------
    uid
        Tells this object from a later one of the same name; None where the object is not made yet.
    version
        The ``resourceVersion`` that was read, where a write has to depend on it.
    """

    kind: str
    namespace: str
    name: str
    uid: str | None = None
    version: str | None = None

    @classmethod
    def to(cls, manifest: Manifest, kind: str | None = None) -> Ref:
        """A reference to an object that was read; lists leave the kind out, so it can be given."""
        metadata = manifest["metadata"]
        return cls(
            kind=kind or manifest["kind"],
            namespace=metadata.get("namespace", ""),
            name=metadata["name"],
            uid=metadata.get("uid"),
            version=metadata.get("resourceVersion"),
        )
