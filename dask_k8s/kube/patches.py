"""JSON merge patches (RFC 7396), which is how most of what exists is changed: PURE."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dask_k8s.kinds.value import Manifest


def replacing(before: Manifest, after: Manifest) -> dict[str, Any]:
    """The merge patch that makes the one the other, however deep what is not there any more was.

    Objects are merged, so what a patch leaves out stays: it has to be named with null. Lists are replaced whole.
    """
    removed = dict.fromkeys(before.keys() - after.keys())
    return {**{key: _replacing(before.get(key), value) for key, value in after.items()}, **removed}


def _replacing(before: object, after: object) -> object:
    return replacing(before, after) if isinstance(before, Mapping) and isinstance(after, Mapping) else after
