"""What a line of the log is about, for machines.

The operator's logs are formatted by kopf, whose JSON has it as ``object``. The sentence names the object as well, for
people, and for processes whose logs look otherwise.
"""

from __future__ import annotations

from typing import Any

from dask_k8s.kinds.value import Ref
from dask_k8s.kube.resources import KNOWN

_VERSIONS = {resource.kind: resource.api_version for resource in KNOWN}


def about(kind: str, namespace: str | None = None, name: str | None = None, uid: str | None = None) -> dict[str, Any]:
    """The ``extra`` of a line about one object, or about a kind of them; what is not known is left out."""
    told = {"apiVersion": _VERSIONS.get(kind), "kind": kind, "namespace": namespace, "name": name, "uid": uid}
    return {"k8s_ref": {field: text for field, text in told.items() if text}}


def about_object(ref: Ref) -> dict[str, Any]:
    """The same for an object that was read."""
    return about(ref.kind, ref.namespace, ref.name, ref.uid)
