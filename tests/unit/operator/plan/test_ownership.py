"""Who serves a cluster: for each who may ask, each way a cluster can be marked, and each state of the Lease."""

from __future__ import annotations

import pytest

from dask_k8s.kinds.value import Ref
from dask_k8s.names import DEPLOYED
from dask_k8s.operator.actions import Patch
from dask_k8s.operator.plan.ownership import LeaseSeen, Verdict, judge, take_over
from tests.unit.given import NOW, later

ME = "embedded-1"
MINE = f"dask.org/{ME}"
OTHER = "dask.org/embedded-2"
FOREIGN = "example.org/controller"
REF = Ref(kind="Lease", namespace="default", name=f"dask-{ME}", uid="u", version="5")
SERVE, LEAVE, TAKE_OVER = Verdict.SERVE, Verdict.LEAVE, Verdict.TAKE_OVER


def lease(holder: str = ME, expires: float = 10) -> LeaseSeen:
    return LeaseSeen(ref=REF, holder=holder, expires=later(expires))


EMBEDDED = [
    ("its own cluster", MINE, lease(), SERVE),
    ("its own, though its Lease is not seen yet", MINE, None, SERVE),
    ("another's", OTHER, lease(), LEAVE),
    ("the deployed operator's", None, None, LEAVE),
    ("a foreign controller's", FOREIGN, None, LEAVE),
]


@pytest.mark.parametrize(("_fact", "managed_by", "seen", "verdict"), EMBEDDED, ids=[row[0] for row in EMBEDDED])
def test_an_embedded_operator(_fact: str, managed_by: str | None, seen: LeaseSeen | None, verdict: Verdict) -> None:
    """It serves what names it, and nothing else; its fence, not this, keeps it from writing without its Lease."""
    assert judge(managed_by, seen, ME, NOW, missing_until=NOW) is verdict


DEPLOYED_ROWS = [
    ("a cluster that names nobody", None, None, 0, SERVE),
    ("a foreign controller's", FOREIGN, None, 0, LEAVE),
    ("one whose Lease lives", MINE, lease(expires=1), 0, LEAVE),
    ("one whose Lease has run out", MINE, lease(expires=0), 0, TAKE_OVER),
    ("one whose Lease was given back", MINE, lease(holder=""), 0, TAKE_OVER),
    ("one that it took over", MINE, lease(holder=DEPLOYED, expires=-100), 0, SERVE),
    ("one whose Lease may still come", MINE, None, 5, LEAVE),
    ("one whose Lease is gone", MINE, None, 0, SERVE),
]


@pytest.mark.parametrize(
    ("_fact", "managed_by", "seen", "missing", "verdict"), DEPLOYED_ROWS, ids=[row[0] for row in DEPLOYED_ROWS]
)
def test_the_deployed_operator(
    _fact: str, managed_by: str | None, seen: LeaseSeen | None, missing: float, verdict: Verdict
) -> None:
    """It serves what names nobody, and embedded operators' clusters once their Lease has run out."""
    assert judge(managed_by, seen, DEPLOYED, NOW, missing_until=later(missing)) is verdict


@pytest.mark.parametrize("managed_by", [None, MINE, OTHER, FOREIGN])
@pytest.mark.parametrize("holder", [ME, "embedded-2", DEPLOYED, ""])
@pytest.mark.parametrize("expires", [-1, 1])
def test_no_cluster_is_served_by_two(managed_by: str | None, holder: str, expires: float) -> None:
    """While the embedded operator's Lease is its own and lives, the deployed one leaves its cluster alone."""
    seen = lease(holder, expires)
    verdicts = [judge(managed_by, seen, me, NOW, missing_until=NOW) for me in (ME, "embedded-2", DEPLOYED)]
    assert verdicts[:2].count(SERVE) <= 1
    if holder not in ("", DEPLOYED) and expires > 0:
        assert verdicts.count(SERVE) + verdicts.count(TAKE_OVER) <= 1


def test_taking_over_has_a_precondition() -> None:
    """It fails where the embedded operator renewed in the meantime; the time is a MicroTime."""
    patch = take_over(lease(), NOW)
    assert patch == Patch(
        target=REF, patch={"spec": {"holderIdentity": "deployed", "renewTime": "2026-01-31T12:00:00.000000Z"}}
    )
    assert REF.version == "5"
