"""Who may write when: the order in which the API server took renewals of a Lease, held against all other writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from dask_k8s.kube import calls
from tests.faults.proxy import Met

LEASES = "leases"
QUESTIONS = "selfsubjectaccessreviews"
"""What is POSTed and writes nothing."""


@dataclass(frozen=True)
class Tenure:
    """From when on a candidate, or nobody, held the Lease: the moment in which its claim was passed on."""

    since: float
    holder: str


class Referee:
    """Sees the writes of all candidates, and judges them in the order in which they were passed on.

    Attributes
    ----------
    writes
        How many there were, but for those of the Lease.
    """

    def __init__(self) -> None:
        self._tenures: list[Tenure] = []
        self._written: list[tuple[Met, str]] = []

    @property
    def writes(self) -> int:
        return len(self._written)

    def of(self, candidate: str) -> Callable[[Met, bytes, int], None]:
        """What sees the writes of this candidate."""

        def passed(met: Met, body: bytes, status: int) -> None:
            resource = calls.of(met.method, met.path).resource
            if resource == LEASES and status < 300:
                self._renewed(candidate if json.loads(body)["spec"]["holderIdentity"] else "", met.at)
            elif resource not in (LEASES, QUESTIONS):
                self._written.append((met, candidate))  # one that was refused, too: it should not have been tried

        return passed

    @property
    def leader(self) -> str:
        """Which candidate holds the Lease; empty where none does."""
        return self._tenures[-1].holder if self._tenures else ""

    def first_write_after(self, moment: float, candidate: str) -> float | None:
        """When a candidate first wrote after a moment of the monotonic clock."""
        return min((met.at for met, who in self._written if who == candidate and met.at > moment), default=None)

    def fouls(self) -> list[str]:
        """Writes that were passed on while somebody else held the Lease, as sentences: once all are answered."""
        found = []
        for met, candidate in self._written:
            holder = next((tenure.holder for tenure in reversed(self._tenures) if tenure.since <= met.at), "")
            if holder != candidate:
                found.append(f"{candidate} wrote {met.method} {met.path} while {holder or 'nobody'} held the Lease")
        return found

    def _renewed(self, holder: str, at: float) -> None:
        if holder != self.leader:
            self._tenures.append(Tenure(since=at, holder=holder))
