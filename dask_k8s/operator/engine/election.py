"""A Lease that is held by at most one, and a fence that its holder keeps for itself.

The holder trusts its Lease from before the renewal was sent, by a clock that goes on while the machine sleeps, and
for less time than others have to wait: so it stops by itself before anybody else may begin. No write starts without
asking the fence.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, NoReturn

from dask_k8s.errors import AlreadyExists, ApiError, Conflict, LeadershipLost, Missing, NoCredentials, Unreachable
from dask_k8s.kinds.value import value
from dask_k8s.kube.about import about
from dask_k8s.kube.client import Client
from dask_k8s.kube.resources import LEASE

logger = logging.getLogger(__name__)

WRITE_LIMIT = 5.0
"""Seconds that one write may take at most."""

SOON = (0.25, 0.35)
"""The part of a renewal's time after which a candidate looks again, or a holder whose renewal failed tries again."""


def boottime() -> float:
    """Seconds since the machine started, those included in which it slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@value
class Terms:
    """How long a Lease holds.

    Parameters
    ----------
    duration
        Seconds after its last renewal during which nobody else may take it.
    trust
        Seconds that its holder relies on it: shorter by more than a write may take.
    renewal
        Seconds between two renewals.
    """

    duration: float = 15.0
    trust: float = 9.0
    renewal: float = 3.0

    @classmethod
    def lasting(cls, duration: float) -> Terms:
        """Terms for a Lease of so many seconds."""
        return cls(duration=duration, trust=duration * 0.6, renewal=duration * 0.2)


class Fence:
    """Says whether writing is allowed now."""

    def __init__(self) -> None:
        self._until = float("-inf")
        self._closed = False

    def extend(self, until: float) -> None:
        """The Lease was renewed."""
        self._until = until

    def drop(self) -> None:
        """Nothing may be written any more."""
        self._until = float("-inf")

    def close(self) -> None:
        """Whoever ends begins no write any more, and keeps the Lease until what is on its way has arrived."""
        self._closed = True

    @property
    def holds(self) -> bool:
        """Whether the Lease can be trusted."""
        return boottime() < self._until

    def time_for_a_write(self) -> float:
        """Seconds that a write which starts now may take.

        Raises
        ------
        LeadershipLost
            When the Lease can no longer be trusted.
        """
        self.check()
        return min(WRITE_LIMIT, self._until - boottime())

    def check(self) -> None:
        """Asked in the moment in which a write leaves.

        Raises
        ------
        LeadershipLost
            When the Lease can no longer be trusted.
        """
        if self._closed:
            raise LeadershipLost("The operator ends: it begins no write any more.")
        if not self.holds:
            raise LeadershipLost("The Lease was not renewed in time: nothing is written until it is acquired again.")


class _Seen(NamedTuple):
    """What another candidate's Lease was when we last looked.

    Parameters
    ----------
    state
        Its holder and when that says to have renewed it.
    lasts
        Seconds after its renewal.
    until
        When it ends by our clock, if it is not renewed.
    """

    state: tuple[str, str | None] = ("", None)
    lasts: float = 0.0
    until: float = float("-inf")


class Election:
    """One candidate for one Lease.

    Parameters
    ----------
    client
        One of its own, so that no queue of other calls holds a renewal up.
    identity
        Who holds it, unique to this process.
    labels, annotations
        What the Lease is marked with.
    final
        A holder that keeps the Lease for good without renewing it.

    Attributes
    ----------
    about
        What its lines in the log are about.
    """

    def __init__(
        self,
        client: Client,
        *,
        namespace: str,
        name: str,
        identity: str,
        terms: Terms | None = None,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        final: str | None = None,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._final = final
        self._terms = terms or Terms()
        self._metadata = {"labels": dict(labels or {}), "annotations": dict(annotations or {})}
        self._seen = _Seen()
        self._silent = False
        self.about = about("Lease", namespace, name)
        self.fence = Fence()

    @property
    def client(self) -> Client:
        """By which it asks for the Lease."""
        return self._client

    async def acquire(self) -> None:
        """Wait until the Lease is ours."""
        while not await self.attempt():
            await asyncio.sleep(self._terms.renewal * random.uniform(*SOON))

    async def attempt(self) -> bool:
        """Try once to acquire the Lease; whether it is ours now."""
        ours = await self._tried()
        if ours:
            logger.info("Holding the Lease %s/%s", self._namespace, self._name, extra=self.about)
        return ours

    async def keep(self) -> NoReturn:
        """Renew the Lease until that fails.

        Raises
        ------
        LeadershipLost
            When it could not be renewed in time, or somebody else holds it. Also where this process was stopped for
            longer, whoever holds the Lease by then: others may have held it meanwhile, and have written.
        """
        renewed = True
        while True:
            await asyncio.sleep(self._terms.renewal * (random.uniform(0.9, 1.1) if renewed else random.uniform(*SOON)))
            held = self.fence.holds
            renewed = held and await self._tried(renews=True)
            if not renewed and not self.fence.holds:
                raise LeadershipLost(f"The Lease {self._namespace}/{self._name} was lost.")

    async def release(self) -> None:
        """Give the Lease back, so that another need not wait for its end."""
        held = self.fence.holds
        self.fence.drop()
        if held:
            with contextlib.suppress(ApiError, Unreachable, NoCredentials):
                try:
                    await self._give_back()
                except Conflict:  # with a renewal of our own, that was on its way
                    await self._give_back()

    async def _give_back(self) -> None:
        lease = await self._client.get(LEASE, self._namespace, self._name, timeout=2)
        if lease["spec"].get("holderIdentity") == self._identity:
            lease["spec"] = {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
            await self._client.replace(lease, timeout=2)

    async def _tried(self, *, renews: bool = False) -> bool:
        """One attempt to acquire, or only to renew; whether the Lease is ours now."""
        began = boottime()
        try:
            async with asyncio.timeout(self._terms.renewal):
                ours = await self._write(began, renews=renews)
        except (AlreadyExists, Conflict):
            return False
        except (ApiError, Unreachable, NoCredentials, TimeoutError) as error:
            self._missed(error)
            return False
        self._silent = False
        if ours:
            self.fence.extend(began + self._terms.trust)
        else:
            self.fence.drop()
        return ours

    def _missed(self, error: Exception) -> None:
        """Tells the first of a row alone: an API server may be away for hours."""
        level = logging.DEBUG if self._silent else logging.WARNING
        self._silent = True
        what = str(error) or f"no answer within {self._terms.renewal:g} s"
        logger.log(level, "The Lease %s/%s: %s", self._namespace, self._name, what, extra=self.about)

    async def _write(self, began: float, *, renews: bool) -> bool:
        try:
            lease = await self._client.get(LEASE, self._namespace, self._name)
        except Missing:
            if not renews and self._was_deleted_under_another(began):
                return False
            await self._client.create(self._manifest({"leaseTransitions": 0, "acquireTime": _now()}))
            return True
        spec = lease.get("spec") or {}
        mine = spec.get("holderIdentity") == self._identity
        if not mine and (renews or self._held_by_another(spec, began)):
            return False
        taken = {} if mine else {"acquireTime": _now(), "leaseTransitions": spec.get("leaseTransitions", 0) + 1}
        renewed = self._manifest({**spec, **taken})
        renewed["metadata"] = {**lease["metadata"], **_added(lease["metadata"], self._metadata)}
        await self._client.replace(renewed)
        return True

    def _held_by_another(self, spec: Mapping[str, Any], began: float) -> bool:
        """Whether another one's Lease may still run, by when *we* saw it change: clocks of machines differ."""
        holder = spec.get("holderIdentity") or ""
        state = (holder, spec.get("renewTime"))
        if state != self._seen.state:
            lasts: float = spec.get("leaseDurationSeconds", self._terms.duration)
            self._seen = _Seen(state, lasts if holder else 0.0, until=began + lasts if holder else began)
        return holder == self._final or began < self._seen.until

    def _was_deleted_under_another(self, began: float) -> bool:
        """Whether the Lease of another one was deleted, who has not noticed yet: as if it was renewed just then."""
        if self._seen.lasts:
            self._seen = _Seen(until=began + self._seen.lasts)
        return began < self._seen.until

    def _manifest(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace, **self._metadata},
            "spec": {
                **spec,
                "holderIdentity": self._identity,
                "leaseDurationSeconds": math.ceil(self._terms.duration),
                "renewTime": _now(),
            },
        }


def _added(metadata: Mapping[str, Any], ours: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    return {part: {**(metadata.get(part) or {}), **texts} for part, texts in ours.items()}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
