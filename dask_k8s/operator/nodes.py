"""Which nodes are about to go, from the taints that clouds and autoscalers set before they take one: PURE.

A cordon alone is none of them: it keeps new Pods away, and whoever drains the node evicts the others, who hand over.
"""

from __future__ import annotations

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


def leaves(node: Manifest | None) -> str:
    """Why a node is about to go, as a sentence; empty where it is not, or nobody knows."""
    if node is None:
        return ""
    for taint in node["spec"]["taints"]:
        if taint.get("effect") in _PRESENT and (why := TAINTS.get(taint.get("key", ""))):
            return f"Node {node['metadata']['name']} is about to go: {why} (taint {taint['key']})."
    return ""
