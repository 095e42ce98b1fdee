"""The names that are derived from others: valid for whatever they name, and never the same for two things."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dask_k8s import names

DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
good_names = st.from_regex(r"[a-z]([-a-z0-9]{0,51}[a-z0-9])?", fullmatch=True)
any_text = st.text(st.characters(codec=None))


@given(any_text)
@example("")
@example("-")
@example("0")
@example("\udc80")
@example("x" * 45 + "-" * 20)
@example("Ünïcode Üser")
def test_any_wish_becomes_a_valid_cluster_name(wish: str) -> None:
    """Total: whoever logs in under whatever name gets a cluster whose Service Kubernetes accepts."""
    name = names.valid_cluster_name(wish)
    assert names.problem_of_cluster_name(name) is None
    assert DNS_LABEL.fullmatch(name)


@given(any_text)
def test_a_made_valid_name_stays(wish: str) -> None:
    """Idempotent."""
    once = names.valid_cluster_name(wish)
    assert names.valid_cluster_name(once) == once


@given(good_names)
def test_a_good_wish_is_the_name(wish: str) -> None:
    """What is valid is not changed."""
    assert names.valid_cluster_name(wish) == wish


@given(any_text, any_text)
def test_wishes_that_had_to_be_changed_stay_apart(one: str, other: str) -> None:
    """``Ann.Lee`` and ``ann-lee`` are two users with two clusters."""
    if one != other and names.problem_of_cluster_name(one) and names.problem_of_cluster_name(other):
        assert names.valid_cluster_name(one) != names.valid_cluster_name(other)


@pytest.mark.parametrize(
    ("wish", "name"),
    [
        ("dask-ann-0123456789", "dask-ann-0123456789"),
        ("dask-Ann.Lee@example.org-0123456789", "dask-ann-lee-example-org-0123456789-e342d286"),
        ("7up", "dask-7up-be39b1e7"),
        ("", "dask-e3b0c442"),
    ],
)
def test_names_are_stable(wish: str, name: str) -> None:
    """Frozen values: the same wish finds the same cluster with every release."""
    assert names.valid_cluster_name(wish) == name


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("a", None),
        ("a" * 53, None),
        ("a" * 54, "has 54 characters; at most 53"),
        ("", "must begin with a letter"),
        ("1a", "must begin with a letter"),
        ("a-", "must begin with a letter"),
        ("Simple", "must begin with a letter"),
        ("a.b", "must begin with a letter"),
        ("a\n", "must begin with a letter"),
    ],
)
def test_what_is_wrong_with_a_cluster_name(name: str, problem: str | None) -> None:
    """A bad name is told with the reason, a good one is not."""
    told = names.problem_of_cluster_name(name)
    assert told is None if problem is None else told is not None and problem in told


@given(good_names)
def test_what_is_named_after_a_cluster_fits(cluster: str) -> None:
    """Services and label values have at most 63 characters, and a Service begins with a letter."""
    for name in (names.scheduler_service(cluster), names.scheduler_pod(cluster), names.default_group(cluster)):
        assert DNS_LABEL.fullmatch(name)
    assert names.problem_of_worker_group_name(names.default_group(cluster)) is None


@given(st.sets(st.tuples(st.text(), st.integers(0, 10_000)), min_size=2))
def test_worker_names_are_distinct(draws: set[tuple[str, int]]) -> None:
    """Another draw or another index is another Pod."""
    assert len({names.worker("group", draw, index) for draw, index in draws}) == len(draws)


def test_a_pass_that_makes_thousands_names_each_its_own() -> None:
    """40 bits of hex are enough for one pass of 10,000 workers."""
    assert len({names.worker("group", "draw", index) for index in range(10_000)}) == 10_000


def test_a_worker_is_named_as_the_seed_says() -> None:
    """``<group>-worker-<10 hex>``; it is no label's value and may be longer than 63 characters."""
    assert re.fullmatch(r"simple-default-worker-[0-9a-f]{10}", names.worker("simple-default", "draw", 0))
    assert len(names.worker("a" * 63, "draw", 0)) <= 253


@pytest.mark.parametrize(
    ("managed_by", "identity"),
    [
        (None, None),
        ("", None),
        ("dask.org/embedded-0123456789", "embedded-0123456789"),
        ("dask.org/other", None),
        ("example.org/embedded-0123456789", None),
        ("embedded-0123456789", None),
    ],
)
def test_only_our_own_embedded_operators_are_read_from_managed_by(managed_by: str | None, identity: str | None) -> None:
    """Anything else names a controller that is not ours."""
    assert names.embedded_identity(managed_by) == identity


def test_managed_by_leads_back_to_the_identity_that_it_was_made_from() -> None:
    """The field and the Lease that it names come from the same id."""
    assert names.embedded_identity(names.managed_by("embedded-0123456789")) == "embedded-0123456789"
    assert names.embedded_lease("embedded-0123456789") == "dask-embedded-0123456789"


def test_the_schedulers_address_needs_no_cluster_domain() -> None:
    """Each Pod's resolver adds its own."""
    assert names.scheduler_address("simple", "lab") == "tcp://simple.lab.svc:8786"


@pytest.mark.parametrize("made", [names.scheduler_pod, names.scheduler_service, names.default_group, names.job_runner])
def test_a_name_tells_whose_it_may_be(made: Callable[[str], str]) -> None:
    """A cluster or a job that waits for a name is found by it, since labels may say anything."""
    assert "my-cluster" in names.may_be_of(made("my-cluster"))
    assert names.may_be_of("other") == {"other"}
