"""Merge patches: what was there and is not wanted any more goes, at every depth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_k8s.kube.patches import replacing

LEAVES = st.integers(0, 2) | st.sampled_from(["a", ""]) | st.booleans()
KEYS = st.sampled_from("abc")
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=3)


def merged(target: object, patch: object) -> Any:
    """What an API server makes of it, as RFC 7396 has it in its section 2."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


@given(before=OBJECTS, after=OBJECTS)
def test_the_one_becomes_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Whatever they are."""
    assert merged(before, replacing(before, after)) == after


@pytest.mark.parametrize(
    ("before", "after", "patch"),
    [
        ({}, {"a": 1}, {"a": 1}),
        ({"a": 1}, {}, {"a": None}),
        ({"runner": {"uid": "u", "early": 1}}, {"runner": {"early": 2}}, {"runner": {"uid": None, "early": 2}}),
        ({"runner": {"uid": "u"}}, {"runner": {}}, {"runner": {"uid": None}}),
        ({"runner": {"uid": "u"}}, {}, {"runner": None}),
        ({"a": {"b": {"c": 1, "d": 1}}}, {"a": {"b": {"d": 1}}}, {"a": {"b": {"c": None, "d": 1}}}),
        ({"a": [{"b": 1}]}, {"a": [{"c": 1}]}, {"a": [{"c": 1}]}),
        ({"a": [1]}, {"a": {"b": 1}}, {"a": {"b": 1}}),
    ],
    ids=["new", "gone", "gone within", "emptied", "gone whole", "deeper", "list", "another type"],
)
def test_what_is_sent(before: dict[str, Any], after: dict[str, Any], patch: dict[str, Any]) -> None:
    """Null for what goes, and everything that stays: a status is written whole."""
    assert replacing(before, after) == patch
