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
    """Sees the writes of all candidates.

    Attributes
    ----------
    fouls
        Writes that were passed on while somebody else held the Lease, as sentences.
    writes
        How many there were, but for those of the Lease.
    """

    def __init__(self) -> None:
        self.fouls: list[str] = []
        self.writes = 0
        self._tenures: list[Tenure] = []
        self._firsts: dict[str, list[float]] = {}

    def of(self, candidate: str) -> Callable[[Met, bytes, int], None]:
        """What sees the writes of this candidate."""

        def passed(met: Met, body: bytes, status: int) -> None:
            resource = calls.of(met.method, met.path).resource
            if resource == LEASES and status < 300:
                self._renewed(candidate if json.loads(body)["spec"]["holderIdentity"] else "", met.at)
            elif resource not in (LEASES, QUESTIONS):
                self._written(candidate, met)  # one that was refused, too: it should not have been tried

        return passed

    @property
    def leader(self) -> str:
        """Which candidate holds the Lease; empty where none does."""
        return self._tenures[-1].holder if self._tenures else ""

    def first_write_after(self, moment: float, candidate: str) -> float | None:
        """When a candidate first wrote after a moment of the monotonic clock."""
        return next((at for at in self._firsts.get(candidate, ()) if at > moment), None)

    def _renewed(self, holder: str, at: float) -> None:
        if holder != self.leader:
            self._tenures.append(Tenure(since=at, holder=holder))

    def _written(self, candidate: str, met: Met) -> None:
        self.writes += 1
        self._firsts.setdefault(candidate, []).append(met.at)
        holder = next((tenure.holder for tenure in reversed(self._tenures) if tenure.since <= met.at), "")
        if holder != candidate:
            self.fouls.append(f"{candidate} wrote {met.method} {met.path} while {holder or 'nobody'} held the Lease")
