"""Which nodes are about to go: by the taints that are set before one is taken."""

from __future__ import annotations

from typing import Any

import pytest

from dask_k8s.operator.nodes import TAINTS, leaves


def node(*taints: dict[str, Any]) -> dict[str, Any]:
    """A node as the cache has it."""
    return {"metadata": {"name": "n"}, "spec": {"taints": list(taints)}}


def taint(key: str, effect: str = "NoSchedule") -> dict[str, Any]:
    """A taint of a node."""
    return {"key": key, "effect": effect}


@pytest.mark.parametrize("key", TAINTS)
def test_a_node_that_is_about_to_go(key: str) -> None:
    """The reason names the node and its taint."""
    why = leaves(node(taint("dedicated"), taint(key)))
    assert why == f"Node n is about to go: {TAINTS[key]} (taint {key})."


@pytest.mark.parametrize(
    ("toleration", "stays"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "karpenter.sh/disrupted", "operator": "Exists"}, True),
        ({"key": "karpenter.sh/disrupted", "value": "v", "effect": "NoSchedule"}, True),
        ({"key": "karpenter.sh/disrupted", "operator": "Equal"}, False),
        ({"key": "karpenter.sh/disrupted", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "another", "operator": "Exists"}, False),
    ],
    ids=["all", "the key", "the value", "another value", "another effect", "another key"],
)
def test_who_tolerates_it_stays(toleration: dict[str, Any], stays: bool) -> None:
    """Another one in its place might come to the same node, and so on for ever."""
    going = node({**taint("karpenter.sh/disrupted"), "value": "v"})
    assert (leaves(going, [toleration]) == "") is stays


@pytest.mark.parametrize(
    "given",
    [
        None,
        node(),
        node(taint("node.kubernetes.io/unschedulable")),
        node(taint("node.kubernetes.io/unreachable", "NoExecute")),
        node(taint("DeletionCandidateOfClusterAutoscaler", "PreferNoSchedule")),
        node(taint("ToBeDeletedByClusterAutoscaler", "PreferNoSchedule")),
        node({}),
    ],
    ids=["unknown", "sound", "cordoned", "unreachable", "a candidate", "only maybe", "an empty taint"],
)
def test_a_node_that_stays(given: dict[str, Any] | None) -> None:
    """A cordon keeps Pods away and takes none; whom nobody hears may come back."""
    assert leaves(given) == ""
