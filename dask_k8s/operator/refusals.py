"""Deeds that the API server refused: remembered until the same deed succeeds or the resource changes.

So that the next pass can say why in a condition, and so that a refused deed is tried less and less often.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

from dask_k8s.kinds.value import value
from dask_k8s.operator.actions import Action, Clear, Create, Delete, Patch, Retire
from dask_k8s.operator.engine.queue import Key
from dask_k8s.operator.observed import LONGEST_RETRY, Refusal

FIRST_RETRY = 2.0
Deed = tuple[str, ...]


@value
class _Refused:
    refusal: Refusal
    times: int


class Refusals:
    """What was refused, by the key that wanted it."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._by_key: dict[Key, dict[Deed, _Refused]] = {}
        self._generations: dict[Key, tuple[str | None, int]] = {}

    def __len__(self) -> int:
        """How many deeds are refused."""
        return sum(map(len, self._by_key.values()))

    def of(self, key: Key) -> tuple[Refusal, ...]:
        """What a plan gets to see."""
        return tuple(refused.refusal for refused in self._by_key.get(key, {}).values())

    def refused(self, key: Key, action: Action, reason: str, message: str) -> None:
        """The API server said no."""
        deeds = self._by_key.setdefault(key, {})
        times = deeds[deed(action)].times + 1 if deed(action) in deeds else 1
        delay = min(LONGEST_RETRY.total_seconds(), FIRST_RETRY * 2 ** min(times - 1, 10))
        retry_at = self._clock() + timedelta(seconds=delay)
        refusal = Refusal(action=action, reason=reason, message=message, retry_at=retry_at)
        deeds[deed(action)] = _Refused(refusal=refusal, times=times)

    def succeeded(self, key: Key, action: Action) -> None:
        """The same deed, or another of its kind, went through."""
        deeds = self._by_key.get(key)
        if deeds is not None:
            deeds.pop(deed(action), None)
            if not deeds:
                del self._by_key[key]

    def waits(self, key: Key, action: Action) -> bool:
        """Whether this deed was refused, and it is too early to ask again."""
        refused = self._by_key.get(key, {}).get(deed(action))
        return refused is not None and refused.refusal.waits(self._clock())

    def only(self, key: Key, actions: Iterable[Action], now: datetime) -> None:
        """Forget what nobody wants any more.

        Objects that are to be made are not planned while they have to wait: that nobody wants one is known when its
        time has come, by the clock of the plan, and it is not among the deeds.
        """
        wanted = {deed(action) for action in actions}
        for each, refused in tuple(self._by_key.get(key, {}).items()):
            waits = isinstance(refused.refusal.action, Create) and refused.refusal.waits(now)
            if each not in wanted and not waits:
                del self._by_key[key][each]

    def at_generation(self, key: Key, uid: str | None, generation: int) -> None:
        """A resource that changed begins anew: what was refused before may be right now."""
        if self._generations.get(key) != (uid, generation):
            self._generations[key] = (uid, generation)
            self._by_key.pop(key, None)

    def forget(self, key: Key) -> None:
        """The key's object is gone."""
        self._by_key.pop(key, None)
        self._generations.pop(key, None)


def deed(action: Action) -> Deed:
    """What makes two actions the same deed: new Pods differ in their random names and are one deed."""
    match action:
        case Create(manifest=manifest):
            return ("create", manifest["kind"])
        case Patch(target=target):
            return ("patch", target.kind, target.name)
        case Delete(target=target):
            return ("delete", target.kind, target.name)
        case Retire(cluster=cluster):
            return ("retire", cluster.name)
        case Clear(owner=owner):
            return ("clear", owner.kind, owner.name)
