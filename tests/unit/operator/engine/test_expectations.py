"""What was written and not yet seen: it never expires by itself, and only a later list says that it is not there."""

from __future__ import annotations

import pytest

from dask_k8s.operator.engine.election import WRITE_LIMIT
from dask_k8s.operator.engine.expectations import OLD, Expectations
from dask_k8s.operator.engine.queue import Key

GROUP, OTHER = Key("DaskWorkerGroup", "n", "g"), Key("DaskWorkerGroup", "n", "other")


class Clock:
    """A time that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The time of one test."""
    return Clock()


@pytest.fixture
def expectations(clock: Clock) -> Expectations:
    """None yet."""
    return Expectations(clock)


def names(expectations: Expectations, key: Key = GROUP, kind: str = "Pod") -> list[str]:
    """What a key waits for."""
    return [each.name for each in expectations.creations(key, kind)]


def test_a_creation_is_expected_from_before_its_request(expectations: Expectations) -> None:
    """Its event may be faster than its answer; each key has its own."""
    expectations.creating(GROUP, "Pod", "w")
    (creation,) = expectations.creations(GROUP, "Pod")
    assert (creation.name, creation.in_doubt, creation.decided) == ("w", False, None)
    assert names(expectations, OTHER) == names(expectations, kind="Service") == []


def test_an_answer_keeps_it_until_it_is_seen(expectations: Expectations) -> None:
    """The next pass must not make another one, however long the cache takes."""
    expectations.creating(GROUP, "Pod", "w")
    expectations.created(GROUP, "Pod", "w")
    (creation,) = expectations.creations(GROUP, "Pod")
    assert (creation.in_doubt, creation.decided) == (False, 100.0)
    expectations.seen(GROUP, "Pod", "w")
    assert names(expectations) == []


def test_an_event_before_the_answer_settles_it(expectations: Expectations) -> None:
    """The answer that comes after it expects nothing anew."""
    expectations.creating(GROUP, "Pod", "w")
    expectations.seen(GROUP, "Pod", "w")
    expectations.created(GROUP, "Pod", "w")
    assert names(expectations) == []


def test_without_an_answer_it_is_in_doubt(expectations: Expectations) -> None:
    """Asked for again under the same name, and then on its way once more."""
    expectations.creating(GROUP, "Pod", "w")
    expectations.doubted(GROUP, "Pod", "w")
    (creation,) = expectations.creations(GROUP, "Pod")
    assert creation.in_doubt
    expectations.creating(GROUP, "Pod", "w")
    (creation,) = expectations.creations(GROUP, "Pod")
    assert not creation.in_doubt


@pytest.mark.parametrize(("began", "gone"), [(100.0, False), (100.0 + WRITE_LIMIT, False), (100.1 + WRITE_LIMIT, True)])
def test_what_is_in_doubt_is_not_there_where_a_list_does_not_show_it_after_it_must_have_arrived(
    expectations: Expectations, clock: Clock, began: float, gone: bool
) -> None:
    """Else it would be asked for again hours later, when another operator has long made others in its place."""
    expectations.creating(GROUP, "Pod", "w")
    expectations.doubted(GROUP, "Pod", "w")
    expectations.listed_all(began, None)
    assert names(expectations) == ([] if gone else ["w"])
    clock.now += WRITE_LIMIT + OLD + 0.1
    assert expectations.old() == ({} if gone else {("Pod", "n"): 100.0 + WRITE_LIMIT})


def test_a_refusal_expects_nothing(expectations: Expectations) -> None:
    """The API server said no, or was not asked at all: it is not there."""
    expectations.creating(GROUP, "Pod", "w")
    expectations.not_created(GROUP, "Pod", "w")
    assert names(expectations) == []


def test_a_refusal_says_nothing_of_an_earlier_request(expectations: Expectations, clock: Clock) -> None:
    """That one may have been carried out, though its answer was lost: a quota refuses also what is there already."""
    expectations.creating(GROUP, "Pod", "w")
    expectations.doubted(GROUP, "Pod", "w")
    for _ in range(2):
        clock.now += 1
        expectations.creating(GROUP, "Pod", "w")
        expectations.not_created(GROUP, "Pod", "w")
        (creation,) = expectations.creations(GROUP, "Pod")
        assert (creation.in_doubt, creation.decided) == (True, 100.0 + WRITE_LIMIT)


def test_a_name_that_is_another_objects_is_not_waited_for(expectations: Expectations) -> None:
    """Whoever has it, no earlier request of ours has made it, or what it made is going."""
    expectations.creating(GROUP, "Pod", "w")
    expectations.doubted(GROUP, "Pod", "w")
    expectations.creating(GROUP, "Pod", "w")
    expectations.taken(GROUP, "Pod", "w")
    assert names(expectations) == []


def test_a_deleted_object_is_leaving_until_that_is_seen(expectations: Expectations) -> None:
    """By its uid: a later object of its name is another."""
    expectations.deleted(GROUP, "Pod", "uid")
    assert expectations.leaving(GROUP, "uid")
    assert not expectations.leaving(GROUP, "another")
    assert not expectations.leaving(OTHER, "uid")
    expectations.seen_leaving(GROUP, "uid")
    assert not expectations.leaving(GROUP, "uid")


@pytest.mark.parametrize(("began", "gone"), [(99.0, False), (100.0, False), (100.5, True)])
def test_only_a_list_that_began_later_says_that_it_is_not_there(
    expectations: Expectations, began: float, gone: bool
) -> None:
    """An earlier list may have been answered before the write."""
    expectations.creating(GROUP, "Pod", "w")
    expectations.created(GROUP, "Pod", "w")
    expectations.deleted(GROUP, "Pod", "uid")
    expectations.listed("Pod", began, None)
    assert names(expectations) == ([] if gone else ["w"])
    assert expectations.leaving(GROUP, "uid") is not gone


def test_a_list_says_nothing_about_what_is_on_its_way_or_is_of_another_kind(
    expectations: Expectations, clock: Clock
) -> None:
    """It may still arrive; a list of Services shows no Pod."""
    expectations.creating(GROUP, "Pod", "in flight")
    expectations.listed("Pod", clock.now + 1000, None)
    expectations.creating(GROUP, "Pod", "answered")
    expectations.created(GROUP, "Pod", "answered")
    expectations.listed("Service", clock.now + 1000, None)
    assert names(expectations) == ["in flight", "answered"]


def test_a_list_of_one_namespace_says_nothing_about_another(expectations: Expectations, clock: Clock) -> None:
    """Each namespace that is served has lists of its own."""
    elsewhere = Key("DaskWorkerGroup", "elsewhere", "g")
    for key in (GROUP, elsewhere):
        expectations.creating(key, "Pod", "w")
        expectations.created(key, "Pod", "w")
        expectations.deleted(key, "Pod", f"uid {key.namespace}")
        expectations.marked(key, "u", "noon")
    expectations.listed_all(clock.now + 1, "elsewhere")
    assert (names(expectations), names(expectations, elsewhere)) == (["w"], [])
    assert (expectations.leaving(GROUP, "uid n"), expectations.leaving(elsewhere, "uid elsewhere")) == (True, False)
    assert (expectations.mark(GROUP, "u", None), expectations.mark(elsewhere, "u", None)) == ("noon", None)


def test_what_is_old_asks_for_a_list_and_stays(expectations: Expectations, clock: Clock) -> None:
    """An expectation is never simply forgotten: beside a watch that fell silent that would make twice as many Pods."""
    expectations.creating(GROUP, "Pod", "w")
    expectations.created(GROUP, "Pod", "w")
    clock.now += OLD
    assert expectations.old() == {}
    expectations.deleted(OTHER, "Pod", "uid")
    clock.now += 0.1
    assert expectations.old() == {("Pod", "n"): 100.0}
    clock.now += OLD
    assert expectations.old() == {("Pod", "n"): 100.0 + OLD}
    assert names(expectations) == ["w"]


def test_a_resource_that_is_gone_expects_nothing(expectations: Expectations) -> None:
    """Its children go with it."""
    expectations.creating(GROUP, "Pod", "w")
    expectations.deleted(GROUP, "Pod", "uid")
    expectations.creating(OTHER, "Pod", "v")
    expectations.forget(GROUP)
    assert names(expectations) == []
    assert not expectations.leaving(GROUP, "uid")
    assert names(expectations, OTHER) == ["v"]


def test_a_mark_lies_over_a_cache_until_that_shows_it(expectations: Expectations) -> None:
    """Also one that was taken back; after that, whatever the cache shows is so."""
    assert expectations.mark(GROUP, "u", None) is None
    expectations.marked(GROUP, "u", "noon")
    assert expectations.mark(GROUP, "u", None) == "noon"
    expectations.marked(GROUP, "u", None)
    assert expectations.mark(GROUP, "u", "noon") is None
    assert expectations.mark(GROUP, "u", None) is None
    assert expectations.mark(GROUP, "u", "by hand") == "by hand"
    assert expectations.mark(OTHER, "u", None) is None


def test_a_mark_that_no_event_confirms_is_settled_by_a_list(expectations: Expectations, clock: Clock) -> None:
    """Somebody else may have written since: what a later list shows is so."""
    expectations.marked(GROUP, "u", "noon")
    clock.now += OLD + 1
    assert expectations.old() == {("Pod", "n"): 100.0}
    expectations.listed_all(100.0, None)
    assert expectations.mark(GROUP, "u", "evening") == "noon"
    expectations.listed_all(clock.now, None)
    assert expectations.mark(GROUP, "u", "evening") == "evening"
    assert expectations.old() == {}
