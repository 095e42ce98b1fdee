"""Which nodes are about to go, from the taints that clouds and autoscalers set before they take one: PURE.

A cordon alone is none of them: it keeps new Pods away, and whoever drains the node evicts the others, who hand over.
"""

from __future__ import annotations

from collections.abc import Iterable

from dask_k8s.kinds.value import Manifest

TAINTS = {
    "ToBeDeletedByClusterAutoscaler": "the cluster autoscaler takes it away",
    "karpenter.sh/disrupted": "Karpenter takes it away",
    "karpenter.sh/disruption": "Karpenter takes it away",
    "cloud.google.com/impending-node-termination": "its cloud takes it back",
    "aws-node-termination-handler/spot-itn": "its cloud takes it back",
    "aws-node-termination-handler/rebalance-recommendation": "its cloud is likely to take it back",
    "aws-node-termination-handler/scheduled-maintenance": "its cloud maintains it",
    "aws-node-termination-handler/asg-lifecycle-termination": "its cloud takes it away",
    "node.cloudprovider.kubernetes.io/shutdown": "it was shut down",
    "node.kubernetes.io/out-of-service": "it is out of service",
}
"""What each says of its node. Who sets them documents them; Karpenter's second one is that of its releases before 1."""

_PRESENT = ("NoSchedule", "NoExecute")
"""Effects that say that something is so; PreferNoSchedule only says that it may be soon."""


def leaves(node: Manifest | None, tolerations: Iterable[Manifest] = ()) -> str:
    """Why a Pod's node is about to go, as a sentence; empty where it is not, or nobody knows.

    A Pod that tolerates the taint stays: another one in its place might come to the same node.
    """
    if node is None:
        return ""
    tolerated = tuple(tolerations)
    for taint in node["spec"]["taints"]:
        why = TAINTS.get(taint.get("key", "")) if taint.get("effect") in _PRESENT else None
        if why and not any(_tolerates(each, taint) for each in tolerated):
            return f"Node {node['metadata']['name']} is about to go: {why} (taint {taint['key']})."
    return ""


def _tolerates(toleration: Manifest, taint: Manifest) -> bool:
    """Kubernetes' own rule: an absent key or effect matches all, and ``Exists`` any value."""
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("key") not in (None, "", taint["key"]):
        return False
    return toleration.get("operator") == "Exists" or toleration.get("value", "") == taint.get("value", "")
