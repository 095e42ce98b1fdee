"""Carries deeds out. Which conflicts are expected, and count as success, is decided here and nowhere else.

Objects are made in batches of 1, 2, 4 … 256, stopped by the first failure: a quota that is used up costs one request
and not a thousand. Every deed that is possible is tried before the first error is passed on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Protocol, assert_never

from dask_k8s import metadata, names
from dask_k8s.errors import AlreadyExists, ApiError, Conflict, LeadershipLost, Missing, Unavailable, Unreachable
from dask_k8s.kinds.value import Manifest, Ref
from dask_k8s.kube import resources
from dask_k8s.kube.client import Client
from dask_k8s.kube.patches import replacing
from dask_k8s.kube.slots import Slots
from dask_k8s.operator.actions import Action, Clear, Create, Delete, Patch, Retire
from dask_k8s.operator.deeds import Deeds
from dask_k8s.operator.engine.election import Fence
from dask_k8s.operator.engine.expectations import Expectations
from dask_k8s.operator.engine.queue import Key
from dask_k8s.operator.refusals import Refusals

LARGEST_BATCH = 256
AT_ONCE = 128
"""Deeds of all passes at a time, twice as many as the client has under way: each costs some 10 kB while it waits."""

OF_ONE_CLEAR = 64
"""Deletions of one deed that clears away what a resource left behind, at a time."""

TOO_MANY_REQUESTS = 429


class Drains(Protocol):
    """Where drains are begun."""

    def begin(self, key: Key, retire: Retire) -> frozenset[Ref]:
        """Begin drains and return at once whose have begun; the key is woken when there is news."""

    def give_up(self, cluster: Ref, pod: Ref) -> None:
        """Let a scheduler forget the workers of a Pod that was deleted with what it holds; return at once."""


class Hands:
    """The only place from which the operator changes the world.

    Parameters
    ----------
    fence
        Asked before every single write.
    progressed
        Called with the key whenever one of its deeds is done, or has failed.
    """

    def __init__(
        self,
        client: Client,
        *,
        fence: Fence,
        expectations: Expectations,
        refusals: Refusals,
        drains: Drains,
        deeds: Deeds,
        progressed: Callable[[Key], None],
    ) -> None:
        self._progressed = progressed
        self._places = Slots(AT_ONCE)
        self._client = client
        self._fence = fence
        self._expectations = expectations
        self._refusals = refusals
        self._drains = drains
        self._deeds = deeds

    async def carry_out(self, key: Key, actions: Sequence[Action]) -> None:
        """All deeds of one plan.

        Raises
        ------
        Unavailable, Unreachable, Conflict
            The first of what was met and may go away; the pass comes again.
        LeadershipLost
            When nothing may be written any more.
        """
        creations = [action for action in actions if isinstance(action, Create)]
        others = [action for action in actions if not isinstance(action, Create)]
        results = [
            *await self._all(key, others),
            *await self._in_batches(key, creations),
        ]
        errors = [result for result in results if isinstance(result, BaseException)]
        if errors:
            raise next((error for error in errors if isinstance(error, LeadershipLost)), errors[0])

    async def _in_batches(self, key: Key, creations: Sequence[Action]) -> list[bool | BaseException]:
        """Batches of 1, 2, 4 … until one of them meets an error or a refusal."""
        done, size = 0, 1
        while done < len(creations):
            results = await self._all(key, creations[done : done + size])
            if any(result is not True for result in results):
                return results
            done, size = done + size, min(size * 2, LARGEST_BATCH)
        return []

    async def _all(self, key: Key, actions: Iterable[Action]) -> list[bool | BaseException]:
        """Every deed is tried, whatever becomes of the others; each begins when there is a place for it."""
        begun = list[asyncio.Task[bool]]()
        try:
            for action in actions:
                await self._places.take()
                begun.append(asyncio.create_task(self._do(key, action)))
                begun[-1].add_done_callback(lambda _: self._places.give_back())
            return list(await asyncio.gather(*begun, return_exceptions=True))
        finally:
            for each in begun:
                each.cancel()
            await asyncio.gather(*begun, return_exceptions=True)

    async def write_status(self, resource: resources.Resource, target: Ref, before: Manifest, status: Manifest) -> None:
        """A whole new status, with the version as precondition."""
        preconditions = {"resourceVersion": target.version, "uid": target.uid}
        patch = {"metadata": preconditions, "status": replacing(before, status)}
        limit = self._fence.time_for_a_write()
        await self._client.patch(resource, target.namespace, target.name, patch, subresource="status", timeout=limit)

    async def _do(self, key: Key, action: Action) -> bool:
        """One deed; whether it went through. What the API server refuses for good is remembered, and does not raise."""
        if self._refusals.waits(key, action):
            return False
        done = True
        try:
            match action:
                case Create():
                    await self._create(key, action.manifest)
                case Patch():
                    done = await self._patch(key, action)
                case Delete():
                    done = await self._delete(key, action.target, action.grace)
                    if done and action.given_up_by is not None:
                        self._drains.give_up(action.given_up_by, action.target)
                case Retire():
                    action = replace(action, workers=self._drains.begin(key, action))
                    done = bool(action.workers)
                case Clear():
                    action = await self._clear(key, action)
                case _:
                    assert_never(action)
        except (Unavailable, Conflict):
            raise
        except ApiError as error:
            self._refusals.refused(key, action, error.reason or type(error).__name__, error.message)
            return False
        finally:
            self._progressed(key)
        self._refusals.succeeded(key, action)
        if done:
            self._deeds.done(key, action)
        return True

    async def _create(self, key: Key, manifest: Manifest) -> None:
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        limit = self._fence.time_for_a_write()
        self._expectations.creating(key, kind, name)
        try:
            await self._client.create(manifest, timeout=limit)
        except AlreadyExists:
            await self._settle(key, manifest)
        except Unavailable as error:
            if error.status == TOO_MANY_REQUESTS:
                self._expectations.not_created(key, kind, name)
            else:
                self._expectations.doubted(key, kind, name)
            raise
        except Unreachable:
            self._expectations.doubted(key, kind, name)
            raise
        except LeadershipLost:
            self._expectations.not_created(key, kind, name)  # the fence is asked before a byte leaves, and not later
            raise
        except ApiError:
            self._expectations.not_created(key, kind, name)
            raise
        except BaseException:
            self._expectations.doubted(key, kind, name)  # cancelled on its way: it may be there or not
            raise
        else:
            self._expectations.created(key, kind, name)

    async def _settle(self, key: Key, manifest: Manifest) -> None:
        """The name is taken: by our own earlier request, by what is still going, or by somebody else's object."""
        kind, meta = manifest["kind"], manifest["metadata"]
        try:
            there = await self._client.get(resources.of(manifest), meta["namespace"], meta["name"])
        except Missing:
            self._expectations.taken(key, kind, meta["name"])
            raise Conflict(409, "Gone", f"{kind} {meta['name']} went away while it was looked at") from None
        except BaseException:
            self._expectations.doubted(key, kind, meta["name"])  # whose it is, nobody knows yet
            raise
        ours = metadata.controller_uid(there) == metadata.controller_uid(manifest)
        going = "deletionTimestamp" in there["metadata"]
        if ours and not going:
            self._expectations.created(key, kind, meta["name"])
            return
        self._expectations.taken(key, kind, meta["name"])
        if going or _of_a_predecessor(there, manifest):
            raise Conflict(409, "Terminating", f"{kind} {meta['name']} is still being deleted")
        raise AlreadyExists(409, "NameTaken", _taken(there, kind))

    async def _patch(self, key: Key, action: Patch) -> bool:
        """Whether it was there, and so was who is to own it."""
        target, patch, owner = action.target, action.patch, action.owner
        if owner is not None and not await self._stays(owner):
            return False
        preconditions = {"uid": target.uid, **({"resourceVersion": target.version} if target.version else {})}
        body = {**patch, "metadata": {**patch.get("metadata", {}), **preconditions}}
        limit = self._fence.time_for_a_write()
        try:
            await self._client.patch(resources.named(target.kind), target.namespace, target.name, body, timeout=limit)
        except Missing:
            return False
        annotations = patch.get("metadata", {}).get("annotations") or {}
        if names.RETIRING_SINCE in annotations:
            self._expectations.marked(key, target.uid or "", annotations[names.RETIRING_SINCE])
        return True

    async def _delete(self, key: Key, target: Ref, grace: int | None) -> bool:
        """Whether it was there, as it was seen."""
        limit = self._fence.time_for_a_write()
        try:
            await self._client.delete(
                resources.named(target.kind),
                target.namespace,
                target.name,
                uid=target.uid,
                version=target.version,
                grace=grace,
                timeout=limit,
            )
        except (Missing, Conflict):
            return False
        self._expectations.deleted(key, target.kind, target.uid or "")
        return True

    async def _clear(self, key: Key, clear: Clear) -> Clear:
        """What went through; nothing where the owner is there after all."""
        owner = clear.owner
        if await self._found(owner) is not None:
            return Clear(owner=owner, left=())
        gone, refused = list[Ref](), list[ApiError]()
        for first in range(0, len(clear.left), OF_ONE_CLEAR):
            batch = clear.left[first : first + OF_ONE_CLEAR]
            results = await asyncio.gather(*(self._delete(key, ref, None) for ref in batch), return_exceptions=True)
            self._progressed(key)
            for error in (result for result in results if isinstance(result, BaseException)):
                if isinstance(error, Unavailable) or not isinstance(error, ApiError):
                    raise error
                refused.append(error)
            gone += [ref for ref, went in zip(batch, results, strict=True) if went is True]
        if refused:
            raise refused[0]
        return Clear(owner=owner, left=tuple(gone))

    async def _stays(self, owner: Ref) -> bool:
        found = await self._found(owner)
        return found is not None and "deletionTimestamp" not in found

    async def _found(self, owner: Ref) -> Manifest | None:
        """A resource's metadata now; None where it is gone, though a cache that is behind may show it."""
        try:
            there = await self._client.get(resources.named(owner.kind), owner.namespace, owner.name)
        except Missing:
            return None
        found: Manifest = there["metadata"]
        return found if found["uid"] == owner.uid else None


def _of_a_predecessor(there: Manifest, manifest: Manifest) -> bool:
    """Whether an object belongs to a resource of the same name that is gone: the garbage collector comes for it."""
    theirs, ours = (metadata.controller_of(one["metadata"].get("ownerReferences") or ()) for one in (there, manifest))
    if theirs is None or ours is None:
        return False
    return (theirs["kind"], theirs["name"]) == (ours["kind"], ours["name"])


def _taken(there: Manifest, kind: str) -> str:
    owners = there["metadata"].get("ownerReferences") or [{"kind": "nobody", "name": ""}]
    owner = f"{owners[0]['kind']} {owners[0]['name']}".strip()
    return f"The name {there['metadata']['name']} is taken by a {kind} that belongs to {owner}: rename or remove it."
