"""PURE: a cache of objects with indexes. Lists and events go in, and what they changed comes out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping

from dask_k8s.kinds.value import Manifest, value

Key = tuple[str, str]
"""Namespace, empty for what has none, and name."""

Index = Callable[[Manifest], Iterable[Hashable]]
"""Under which values an object is to be found; always the same for the same object."""


@value
class Change:
    """What became of one object: ``old`` is None for a new one, ``new`` is None for one that went."""

    old: Manifest | None
    new: Manifest | None


class Store:
    """The objects of one kind, as far as they were told.

    The changes that it tells add up: the ``old`` of each is the ``new`` of the one before under that name, and an
    object that was replaced by another of its name goes before the other comes.
    """

    def __init__(self, indexes: Mapping[str, Index] | None = None) -> None:
        self._objects: dict[Key, Manifest] = {}
        self._indexes = dict(indexes or {})
        self._found: dict[str, dict[Hashable, dict[Key, Manifest]]] = {name: {} for name in self._indexes}

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, namespace: str, name: str) -> Manifest | None:
        """One object, or None."""
        return self._objects.get((namespace, name))

    def by(self, index: str, sought: Hashable) -> Collection[Manifest]:
        """The objects that an index has under a value: a view, not to be kept across an ``await``."""
        return self._found[index].get(sought, {}).values()

    def values(self) -> Collection[Manifest]:
        """All objects: a view, not to be kept across an ``await``."""
        return self._objects.values()

    def replace(self, manifests: Iterable[Manifest]) -> tuple[Change, ...]:
        """Takes in a whole list: what it does not hold is gone, though nobody told of its end."""
        listed = {key_of(manifest): manifest for manifest in manifests}
        gone = [key for key in self._objects if key not in listed]
        return (
            *(change for key in gone for change in self._remove(key)),
            *(change for manifest in listed.values() for change in self.put(manifest)),
        )

    def put(self, manifest: Manifest) -> tuple[Change, ...]:
        """Takes in an object as it is now; one of the same version changes nothing."""
        key = key_of(manifest)
        old = self._objects.get(key)
        if old is None:
            self._set(key, None, manifest)
            return (Change(old=None, new=manifest),)
        if _uid(old) != _uid(manifest):
            return (*self._remove(key), *self.put(manifest))
        if _version(old) == _version(manifest):
            return ()
        self._set(key, old, manifest)
        return (Change(old=old, new=manifest),)

    def remove(self, manifest: Manifest) -> tuple[Change, ...]:
        """Takes in the end of an object; that of an earlier one of its name changes nothing."""
        key = key_of(manifest)
        old = self._objects.get(key)
        return self._remove(key) if old is not None and _uid(old) == _uid(manifest) else ()

    def _remove(self, key: Key) -> tuple[Change, ...]:
        old = self._objects[key]
        self._set(key, old, None)
        return (Change(old=old, new=None),)

    def _set(self, key: Key, old: Manifest | None, new: Manifest | None) -> None:
        for index, sought in self._places(old):
            entries = self._found[index][sought]
            del entries[key]
            if not entries:
                del self._found[index][sought]
        if new is None:
            del self._objects[key]
        else:
            self._objects[key] = new
        for index, sought in self._places(new):
            self._found[index].setdefault(sought, {})[key] = new or {}

    def _places(self, manifest: Manifest | None) -> Iterator[tuple[str, Hashable]]:
        if manifest is None:
            return
        for name, values_of in self._indexes.items():
            for sought in set(values_of(manifest)):
                yield name, sought


def key_of(manifest: Manifest) -> Key:
    """Under which key an object is kept."""
    metadata = manifest["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _uid(manifest: Manifest) -> object:
    return manifest["metadata"]["uid"]


def _version(manifest: Manifest) -> object:
    return manifest["metadata"]["resourceVersion"]
