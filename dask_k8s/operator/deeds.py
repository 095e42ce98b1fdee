"""Deeds that went through: all of them in numbers, and those of a pass in words for the one line that tells of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import assert_never

from dask_k8s.kinds.value import Ref
from dask_k8s.operator.actions import Action, Clear, Create, Delete, Patch, Retire
from dask_k8s.operator.engine.queue import Key

DEEDS = {"create": "created", "patch": "changed", "delete": "deleted", "drain": "began to drain"}
"""What may be done, and how a line of the log says that it was."""


class Deeds:
    """What was done.

    Attributes
    ----------
    totals
        How often, by what was done and the kind of what it was done to; a drain counts once a worker.
    """

    def __init__(self) -> None:
        self.totals: Counter[tuple[str, ...]] = Counter()
        self._of_pass: dict[Key, dict[str, dict[str, list[str]]]] = {}

    def done(self, key: Key, action: Action) -> None:
        """One more."""
        deed, objects = _deed(action)
        for each in objects:
            self.totals[deed, each.kind] += 1
            kinds = self._of_pass.setdefault(key, {}).setdefault(deed, {})
            kinds.setdefault(each.kind, []).append(each.name)

    def told(self, key: Key) -> str:
        """What was done for a key since this was asked last, as a sentence; empty where nothing was."""
        done = self._of_pass.pop(key, {})
        parts = "; ".join(f"{DEEDS[deed]} {_what(kinds)}" for deed, kinds in done.items())
        return f"{parts[0].upper()}{parts[1:]}." if parts else ""


def _deed(action: Action) -> tuple[str, list[Ref]]:
    match action:
        case Create(manifest=manifest):
            return "create", [Ref.to(manifest)]
        case Patch(target=target):
            return "patch", [target]
        case Delete(target=target):
            return "delete", [target]
        case Retire(workers=workers):
            return "drain", list(workers)
        case Clear(left=left):
            return "delete", list(left)
        case _:
            assert_never(action)


def _what(kinds: Mapping[str, list[str]]) -> str:
    """One by its name, more of a kind by their number: a thousand Pods are one line."""
    return ", ".join(
        f"{kind} {names[0]}" if len(names) == 1 else f"{len(names)} {kind}s" for kind, names in kinds.items()
    )
