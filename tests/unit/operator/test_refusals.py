"""What the API server refused: tried less and less often, until it succeeds or the resource changes."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from dask_k8s.kinds.value import Ref
from dask_k8s.operator.actions import Action, Create, Delete, Patch, Retire
from dask_k8s.operator.engine.queue import Key
from dask_k8s.operator.observed import LONGEST_RETRY
from dask_k8s.operator.refusals import Refusals, deed
from tests.unit.given import CLUSTER, NOW, later, pod

GROUP, OTHER = Key("DaskWorkerGroup", "n", "g"), Key("DaskWorkerGroup", "n", "other")


def creation(name: str, kind: str = "Pod") -> Create:
    return Create(manifest={"kind": kind, "metadata": {"name": name}})


class Clock:
    """A time that stands until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def test_retries_grow_apart() -> None:
    """2, 4, 8 … seconds, and a minute at most: a quota that is used up costs little."""
    clock = Clock()
    refusals, delays = Refusals(clock), []
    for number in range(8):
        refusals.refused(GROUP, creation(f"w{number}"), "Forbidden", "exceeded quota")
        (refusal,) = refusals.of(GROUP)
        delays.append((refusal.retry_at - clock.now).total_seconds())
        clock.now = refusal.retry_at
    assert delays == [2, 4, 8, 16, 32, *[LONGEST_RETRY.total_seconds()] * 3]


def test_a_clock_that_is_set_back_holds_nothing_up() -> None:
    """An hour back, and the time to wait would be an hour and two seconds."""
    clock = Clock()
    refusals = Refusals(clock)
    refusals.refused(GROUP, creation("w"), "Forbidden", "exceeded quota")
    assert refusals.waits(GROUP, creation("w"))
    clock.now -= timedelta(hours=1)
    assert not refusals.waits(GROUP, creation("w"))
    (refusal,) = refusals.of(GROUP)
    assert not refusal.hinders("Pod", clock.now)


def test_the_api_servers_words_are_kept() -> None:
    """For the condition; each key has its own."""
    refusals = Refusals(Clock())
    refusals.refused(GROUP, creation("w"), "Forbidden", "exceeded quota")
    (refusal,) = refusals.of(GROUP)
    assert (refusal.reason, refusal.message, refusal.action) == ("Forbidden", "exceeded quota", creation("w"))
    assert refusals.of(OTHER) == ()


def test_a_success_of_the_same_deed_forgets_it() -> None:
    """Another new Pod is the same deed; another kind, or another deed on a Pod, is not."""
    refusals = Refusals(Clock())
    refusals.refused(GROUP, creation("one"), "Forbidden", "no")
    for action in (creation("svc", "Service"), Delete(target=pod("one")), Patch(target=pod("one"), patch={})):
        refusals.succeeded(GROUP, action)
    refusals.succeeded(OTHER, creation("two"))
    assert len(refusals.of(GROUP)) == 1
    refusals.succeeded(GROUP, creation("two"))
    assert refusals.of(GROUP) == ()


def test_after_a_success_the_next_refusal_is_the_first() -> None:
    """The delay begins anew."""
    refusals = Refusals(Clock())
    for _ in range(5):
        refusals.refused(GROUP, creation("w"), "Forbidden", "no")
    refusals.succeeded(GROUP, creation("w"))
    refusals.refused(GROUP, creation("w"), "Forbidden", "no")
    (refusal,) = refusals.of(GROUP)
    assert refusal.retry_at == later(2)


@pytest.mark.parametrize(
    ("uid", "generation", "kept"),
    [("u", 1, True), ("u", 2, False), ("another", 1, False)],
    ids=["same", "new", "other"],
)
def test_a_resource_that_changed_begins_anew(uid: str, generation: int, kept: bool) -> None:
    """What was refused before may be right now: whoever mends a spec need not wait a minute."""
    refusals = Refusals(Clock())
    refusals.at_generation(GROUP, "u", 1)
    refusals.refused(GROUP, creation("w"), "Invalid", "no")
    refusals.at_generation(GROUP, uid, generation)
    assert bool(refusals.of(GROUP)) is kept


def test_a_resource_that_is_gone_is_forgotten() -> None:
    """Also its generation: the next of its name is seen for the first time."""
    refusals = Refusals(Clock())
    refusals.at_generation(GROUP, "u", 1)
    refusals.refused(GROUP, creation("w"), "Invalid", "no")
    refusals.forget(GROUP)
    assert refusals.of(GROUP) == ()


def test_a_refusal_hinders_its_own_kind_until_its_time() -> None:
    """Making a Service does not wait for a Pod's quota."""
    refusals = Refusals(Clock())
    refusals.refused(GROUP, creation("w"), "Forbidden", "no")
    (refusal,) = refusals.of(GROUP)
    assert refusal.hinders("Pod", NOW)
    assert refusal.hinders("Pod", refusal.retry_at - timedelta(milliseconds=1))
    assert not refusal.hinders("Pod", refusal.retry_at)
    assert not refusal.hinders("Service", NOW)


POD_A, POD_B = Delete(target=pod("a")), Delete(target=pod("b"))


@pytest.mark.parametrize(
    ("refused", "planned", "after", "kept"),
    [
        (creation("w"), [], 1.9, True),
        (creation("w"), [creation("v")], 2, True),
        (creation("w"), [creation("w", "Service")], 2, False),
        (creation("w"), [], 2, False),
        (creation("w"), [], -3600, False),
        (POD_A, [POD_A], 0, True),
        (POD_A, [POD_B], 0, False),
    ],
    ids=["waits", "made now", "another kind", "not wanted", "clock set back", "wanted", "another Pod"],
)
def test_what_nobody_wants_any_more_is_forgotten(
    refused: Action, planned: list[Action], after: float, kept: bool
) -> None:
    """A Pod that came after all, or that is not asked for now, is not missed; one that has to wait is not planned."""
    refusals = Refusals(Clock())
    refusals.refused(GROUP, refused, "Forbidden", "exceeded quota")
    refusals.only(GROUP, planned, later(after))
    assert bool(refusals.of(GROUP)) is kept


ELSEWHERE = Ref(kind="DaskCluster", namespace="n", name="elsewhere")
DEEDS: list[Action] = [
    creation("a"),
    creation("a", "Service"),
    Patch(target=pod("a"), patch={}),
    Patch(target=pod("b"), patch={}),
    Delete(target=pod("a")),
    Delete(target=pod("b")),
    Retire(cluster=CLUSTER, workers=frozenset(), timeout=60, final=False),
    Retire(cluster=ELSEWHERE, workers=frozenset(), timeout=60, final=False),
]


def test_different_deeds_are_told_apart() -> None:
    """What succeeds in one place says nothing about another."""
    assert len({deed(action) for action in DEEDS}) == len(DEEDS)
