"""A cache that follows the API server: a list, a watch from its version on, and a list again where that breaks.

Whatever goes wrong between here and the API server ends in a pause and another attempt; ``trouble`` says what it was.
After a gap the list is compared with the cache, so that what went meanwhile is told as gone.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Collection, Hashable, Mapping
from typing import NoReturn, TypeAlias

from dask_k8s.errors import ApiError, NoCredentials, Unreachable
from dask_k8s.kinds.value import Manifest
from dask_k8s.kube import backoff, replies
from dask_k8s.kube.about import about
from dask_k8s.kube.client import Client
from dask_k8s.kube.resources import Resource
from dask_k8s.kube.store import Change, Index, Store

Handler = Callable[[Manifest | None, Manifest | None], None]

CHUNK = 500
IDLE = 75.0
"""Seconds of silence that end a watch; the API server's bookmarks come each minute."""

WATCH_SECONDS = 300.0
"""How long a watch is asked to last, times 1 to 2: so that those which began together do not end together."""

RELIST = 600.0
"""Seconds after which it lists again though nothing broke, times 1 to 1.5: an event may have got lost on its way."""

_TOO_SHORT = 1.0
_STEADY = 5.0
_WORTH_A_WARNING = 3
_STILL_GOOD = (429, 503)
"""What an API server under load answers: the version stays good, and a list would add to the load."""

logger = logging.getLogger(__name__)

_Failure: TypeAlias = ApiError | Unreachable | NoCredentials


def whole(manifest: Manifest) -> Manifest:
    """Keeps an object as it came."""
    return manifest


class Informer:
    """Keeps the objects of one kind, and tells of each change.

    Between two awaits the cache is always a state that was: a list is taken in as a whole.

    Attributes
    ----------
    synced
        Set once the first list is in the cache.
    trouble
        Why the cache is not in step, as a sentence; None while it is.
    last_heard
        When the API server last answered or told something, by the clock.
    relists
        How many lists were taken in.

    Parameters
    ----------
    namespace
        None for all.
    labels, fields
        Selectors; what no longer matches is gone.
    slim
        Cuts an object down on arrival. Name, namespace, uid and resourceVersion have to stay.
    indexes
        Further ways to find objects, by name.
    idle
        Seconds of silence that end a watch.
    relist
        Seconds after which it lists again, though nothing broke.
    longest_pause
        The most seconds between two attempts.
    clock
        Seconds that only grow, for ``last_heard`` and ``listed_since``.
    draw
        Between 0 and 1, for what has to differ from informer to informer.
    """

    def __init__(
        self,
        client: Client,
        resource: Resource,
        namespace: str | None = None,
        *,
        labels: str | None = None,
        fields: str | None = None,
        slim: Callable[[Manifest], Manifest] = whole,
        indexes: Mapping[str, Index] | None = None,
        idle: float = IDLE,
        relist: float = RELIST,
        longest_pause: float = backoff.LONGEST,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.resource = resource
        self.namespace = namespace
        self.synced = asyncio.Event()
        self.trouble: str | None = "has not been listed yet"
        self.last_heard = clock()
        self.relists = 0
        self._client = client
        self._labels = labels
        self._fields = fields
        self._slim = slim
        self._store = Store(indexes)
        self._handlers: list[Handler] = []
        self._recovered: list[Callable[[], None]] = []
        self._idle = idle
        self._relist = relist
        self._longest_pause = longest_pause
        self._clock = clock
        self._draw = draw
        self._failures = 0
        self._lists_failed = 0
        self._version: str | None = None
        self._heard = self._opened = False
        self._asked = float("-inf")
        self._list_began = float("-inf")
        self._due = float("-inf")
        self._listed = asyncio.Event()
        self._cut: asyncio.Timeout | None = None

    def on(self, handler: Handler) -> None:
        """Calls this for each change, with what was and what is, once the cache holds it. Its errors end ``run``."""
        self._handlers.append(handler)

    def on_recovery(self, handler: Callable[[], None]) -> None:
        """Calls this whenever it is in step again after it was not."""
        self._recovered.append(handler)

    def get(self, namespace: str, name: str) -> Manifest | None:
        """One object, or None; the namespace is empty for what has none."""
        return self._store.get(namespace, name)

    def by(self, index: str, sought: Hashable) -> Collection[Manifest]:
        """The objects that an index has under a value: a view, not to be kept across an ``await``."""
        return self._store.by(index, sought)

    def values(self) -> Collection[Manifest]:
        """All objects: a view, not to be kept across an ``await``."""
        return self._store.values()

    def relist(self) -> None:
        """Asks for a list as soon as may be; a watch that is open is left for it."""
        self._ask(self._clock())

    async def listed_since(self, moment: float) -> None:
        """Returns once a list that began at this moment of the clock, or later, is in the cache, and asks for it."""
        if self._list_began < moment:
            self._ask(moment)
        while self._list_began < moment:
            await self._listed.wait()

    async def run(self) -> NoReturn:
        """Follows for ever. Only a bug leaves it, one in a handler included."""
        while True:
            try:
                await self._follow()
            except (ApiError, Unreachable, NoCredentials) as error:
                await asyncio.sleep(self._failed(error))

    def _ask(self, moment: float) -> None:
        self._asked = max(self._asked, moment)
        if self._cut is not None and not self._cut.expired():
            self._cut.reschedule(0.0)

    async def _follow(self) -> None:
        """Lists, where there is no version to go on from, or it is due; then watches until something ends that.

        Where a list fails that the watch can do without, the watch goes on from where it was until that is tried again.
        """
        put_off: _Failure | None = None
        again = 0.0
        try:
            while self._version is None or self._list_began < self._asked or self._clock() >= self._due:
                await self._list()
        except (ApiError, Unreachable, NoCredentials) as error:
            if self._version is None:
                raise
            put_off, again = error, self._put_off(error)
        began, self._heard, self._opened = self._clock(), False, False
        cut = self._cut = asyncio.timeout(again or None)
        try:
            async with cut:
                await self._watch(self._version, at_least=again)
        except TimeoutError:
            if not cut.expired():
                raise
            if put_off is not None and not self._opened:
                self._failed(put_off)
            return
        except (ApiError, Unreachable, NoCredentials) as error:
            if _version_lost(error, heard=self._heard):
                self._version = None
            raise
        finally:
            self._cut = None
            lasted = self._clock() - began
            if lasted >= _STEADY:
                self._failures = 0
        if lasted < _TOO_SHORT:
            raise Unreachable("the watch ended as soon as it began")

    async def _list(self) -> None:
        began, token, manifests = self._clock(), None, []
        while True:
            listing = await self._client.list(
                self.resource,
                self.namespace,
                labels=self._labels,
                fields=self._fields,
                limit=CHUNK,
                continue_=token,
            )
            self.last_heard = self._clock()
            items, version, token = self._read(listing)
            manifests += [self._slim(self._complete(item)) for item in items]
            if token is None:
                break
        self._tell(self._store.replace(manifests))
        self._version, self._list_began = version, began
        self._due = self._clock() + self._relist * (1 + self._draw() / 2)
        self.relists += 1
        self._lists_failed = 0
        self.synced.set()
        self._listed.set()
        self._listed = asyncio.Event()

    async def _watch(self, version: str, *, at_least: float) -> None:
        stream = self._client.watch(
            self.resource,
            self.namespace,
            version=version,
            labels=self._labels,
            fields=self._fields,
            seconds=max(2 * _TOO_SHORT, at_least, min(WATCH_SECONDS * (1 + self._draw()), self._due - self._clock())),
            idle=self._idle,
        )
        async with stream as events:
            self._opened = True
            self._in_step()
            async for kind, manifest in events:
                self.last_heard, self._heard = self._clock(), True
                self._version = manifest["metadata"]["resourceVersion"]
                self._take_in(kind, manifest)

    def _take_in(self, kind: str, manifest: Manifest) -> None:
        match kind:
            case "BOOKMARK":
                pass
            case "DELETED":
                self._tell(self._store.remove(manifest))
            case _:
                self._tell(self._store.put(self._slim(manifest)))

    def _tell(self, changes: tuple[Change, ...]) -> None:
        for change in changes:
            for handler in self._handlers:
                handler(change.old, change.new)

    def _read(self, listing: Manifest) -> tuple[list[Manifest], str, str | None]:
        try:
            return replies.read_items(listing)
        except replies.Unreadable as problem:
            raise Unreachable(str(problem)) from problem

    def _complete(self, item: Manifest) -> Manifest:
        """With its kind, which lists of Kubernetes' own kinds leave out: an object is the same however it came."""
        return {**item, "apiVersion": self.resource.api_version, "kind": self.resource.kind}

    def _in_step(self) -> None:
        self.last_heard = self._clock()
        if self._failures >= _WORTH_A_WARNING:
            logger.info("In step again with %s.", self._what(), extra=about(self.resource.kind, self.namespace))
        recovers, self.trouble = self.trouble is not None, None
        for handler in self._recovered if recovers else ():
            handler()

    def _failed(self, error: _Failure) -> float:
        """Notes what went wrong; how long to wait after it."""
        self._failures += 1
        self.trouble = f"{self._what()}: {_sentence(error)}"
        level = logging.WARNING if self._failures == _WORTH_A_WARNING else logging.DEBUG
        logger.log(level, "Not in step with %s", self.trouble, extra=about(self.resource.kind, self.namespace))
        return backoff.pause(self._failures, error, self._draw(), self._longest_pause)

    def _put_off(self, error: _Failure) -> float:
        """Notes why a list that nothing had required has failed; how long to wait until it is tried again."""
        self._lists_failed += 1
        level = logging.WARNING if self._lists_failed == _WORTH_A_WARNING else logging.DEBUG
        what = (self._what(), _sentence(error))
        logger.log(level, "Not listed anew, %s: %s", *what, extra=about(self.resource.kind, self.namespace))
        return backoff.pause(self._lists_failed, error, self._draw(), self._longest_pause)

    def _what(self) -> str:
        return f"{self.resource} in {self.namespace}" if self.namespace else str(self.resource)


def _version_lost(error: Exception, *, heard: bool) -> bool:
    """Whether a list has to come before the next watch.

    A watch that broke before it said a word is not trusted either: its version may be what it broke at.
    """
    if isinstance(error, ApiError):
        return error.status not in _STILL_GOOD
    return not heard


def _sentence(error: _Failure) -> str:
    if isinstance(error, ApiError) and error.status == 404:
        return f"the API server does not serve this kind; is its CRD installed? ({error})"
    return str(error)
