"""What was written and not yet seen: laid over the caches, so that a pass right after a write does not write again.

An expectation never expires by itself. What is old asks for a list; only a list that began after the write's answer,
or after a write without one must have arrived, and does not show the object, says that the object is not there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from dask_k8s.operator.engine.election import WRITE_LIMIT
from dask_k8s.operator.engine.queue import Key

OLD = 10.0
"""Seconds after which a write that no event has confirmed makes the cache list again."""

T = TypeVar("T")


@dataclass(slots=True)
class Creation:
    """An object whose creation was asked for.

    Parameters
    ----------
    answered
        Monotonic time of the answer; None while none came.
    doubted
        When nobody waited for the answer any more: it may be there or not, and is asked for again under the same name.
    earlier
        When that was so of an earlier request for it, which may still arrive.
    """

    kind: str
    name: str
    asked: float
    answered: float | None = None
    doubted: float | None = None
    earlier: float | None = None

    @property
    def in_doubt(self) -> bool:
        """Whether nobody knows if it is there."""
        return self.answered is None and self.doubted is not None

    @property
    def decided(self) -> float | None:
        """The moment from which on a list says whether it is there; None while it is on its way."""
        if self.answered is not None or self.doubted is None:
            return self.answered
        return self.doubted + WRITE_LIMIT


@dataclass(slots=True)
class Mark:
    """A mark that was written or taken back.

    Parameters
    ----------
    since
        What was written; None where it was taken back.
    """

    since: str | None
    answered: float


@dataclass(slots=True)
class Deletion:
    """An object whose deletion was asked for and acknowledged."""

    kind: str
    uid: str
    answered: float


class Expectations:
    """Writes by the key that made them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._creations: dict[Key, dict[tuple[str, str], Creation]] = {}
        self._deletions: dict[Key, dict[str, Deletion]] = {}
        self._marks: dict[Key, dict[str, Mark]] = {}
        self._uids: dict[Key, str] = {}

    def are_of(self, key: Key, uid: str) -> None:
        """Whose they are: what was written for another resource that had its name is none of its."""
        if self._uids.get(key) not in (None, uid):
            self.forget(key)
        self._uids[key] = uid

    def creating(self, key: Key, kind: str, name: str) -> None:
        """Before the request goes out: its event may be faster than its answer."""
        creations = self._creations.setdefault(key, {})
        before = creations.get((kind, name))
        earlier = None if before is None else before.doubted or before.earlier
        creations[kind, name] = Creation(kind=kind, name=name, asked=self._clock(), earlier=earlier)

    def created(self, key: Key, kind: str, name: str) -> None:
        """The API server said yes."""
        if creation := self._creations.get(key, {}).get((kind, name)):
            creation.answered = self._clock()

    def doubted(self, key: Key, kind: str, name: str) -> None:
        """No answer came: it may be there or not."""
        if creation := self._creations.get(key, {}).get((kind, name)):
            creation.doubted = self._clock()

    def not_created(self, key: Key, kind: str, name: str) -> None:
        """A request made nothing: it was refused, or did not leave. That says nothing of an earlier one for it."""
        creation = self._creations.get(key, {}).get((kind, name))
        if creation is not None and creation.earlier is not None:
            creation.doubted = creation.earlier
        else:
            self._drop_creation(key, kind, name)

    def taken(self, key: Key, kind: str, name: str) -> None:
        """The API server was asked who has that name: it is not ours, or is going or gone."""
        self._drop_creation(key, kind, name)

    def deleted(self, key: Key, kind: str, uid: str) -> None:
        """The API server said that it is going, or gone."""
        self._deletions.setdefault(key, {})[uid] = Deletion(kind=kind, uid=uid, answered=self._clock())

    def seen(self, key: Key, kind: str, name: str) -> None:
        """A cache shows the object."""
        self._drop_creation(key, kind, name)

    def seen_leaving(self, key: Key, uid: str) -> None:
        """A cache shows that the object is going or gone."""
        self._marks.get(key, {}).pop(uid, None)
        if deletions := self._deletions.get(key):
            deletions.pop(uid, None)
            if not deletions:
                del self._deletions[key]

    def marked(self, key: Key, uid: str, since: str | None) -> None:
        """The API server took a mark, or took it back: an object was chosen to leave, or no longer is."""
        self._marks.setdefault(key, {})[uid] = Mark(since=since, answered=self._clock())

    def mark(self, key: Key, uid: str, shown: str | None) -> str | None:
        """Since when an object is marked, where a cache shows this, and may not show the last write yet."""
        mark = self._marks.get(key, {}).get(uid)
        if mark is None or mark.since == shown:
            self._marks.get(key, {}).pop(uid, None)
            return shown
        return mark.since

    def creations(self, key: Key, kind: str) -> Iterator[Creation]:
        """What this key has asked for and not seen."""
        return (each for each in tuple(self._creations.get(key, {}).values()) if each.kind == kind)

    def leaving(self, key: Key, uid: str) -> bool:
        """Whether this object was deleted, though a cache still shows it as staying."""
        return uid in self._deletions.get(key, {})

    def listed(self, kind: str, began: float, namespace: str | None) -> None:
        """A list that began at that time was taken in: what it did not show is not there any more.

        Parameters
        ----------
        namespace
            What was listed; None for all.
        """
        for key, creations in _in(namespace, self._creations):
            for creation in tuple(creations.values()):
                if creation.kind == kind and creation.decided is not None and creation.decided < began:
                    self._drop_creation(key, kind, creation.name)
        for _, marks in _in(namespace, self._marks) if kind == "Pod" else ():
            for uid in [uid for uid, mark in marks.items() if mark.answered < began]:
                del marks[uid]
        for key, deletions in _in(namespace, self._deletions):
            for deletion in tuple(deletions.values()):
                if deletion.kind == kind and deletion.answered < began:
                    self.seen_leaving(key, deletion.uid)

    def old(self) -> dict[tuple[str, str], float]:
        """What has to be listed again, as kind and namespace, with the time after which the list has to begin."""
        wanted: dict[tuple[str, str], float] = {}
        limit = self._clock() - OLD
        decided = [
            *((key, each.kind, each.decided) for key, all_ in self._creations.items() for each in all_.values()),
            *((key, each.kind, each.answered) for key, all_ in self._deletions.items() for each in all_.values()),
            *((key, "Pod", each.answered) for key, all_ in self._marks.items() for each in all_.values()),
        ]
        for key, kind, moment in decided:
            if moment is not None and moment < limit:
                where = (kind, key.namespace)
                wanted[where] = max(moment, wanted.get(where, moment))
        return wanted

    def pending(self) -> dict[str, int]:
        """How many there are, by what was written."""
        return {
            "creation": sum(map(len, self._creations.values())),
            "deletion": sum(map(len, self._deletions.values())),
            "mark": sum(map(len, self._marks.values())),
        }

    def listed_all(self, began: float, namespace: str | None) -> None:
        """Every cache of a namespace was listed anew, as on taking over: another one may have written since."""
        for kind in {"Pod", *(each.kind for group in self._creations.values() for each in group.values())}:
            self.listed(kind, began, namespace)

    def forget(self, key: Key) -> None:
        """The key's object is gone."""
        self._creations.pop(key, None)
        self._deletions.pop(key, None)
        self._marks.pop(key, None)
        self._uids.pop(key, None)

    def _drop_creation(self, key: Key, kind: str, name: str) -> None:
        if creations := self._creations.get(key):
            creations.pop((kind, name), None)
            if not creations:
                del self._creations[key]


def _in(namespace: str | None, by_key: Mapping[Key, T]) -> list[tuple[Key, T]]:
    """What is kept for the keys of a namespace, None standing for all: a list, since it may change meanwhile."""
    return [(key, kept) for key, kept in by_key.items() if namespace in (None, key.namespace)]
