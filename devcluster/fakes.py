"""The nodes that KWOK plays: they exist in the API only, and Pods on them turn Running by themselves."""

from __future__ import annotations

from urllib.error import HTTPError

from devcluster import api
from devcluster.components import FAKE_NODES, Site
from devcluster.processes import wait_for

NODES = 10
PODS_A_NODE = 1100
"""10 nodes of 1,100 Pods: 10,000 workers, their schedulers, and room."""


def add(site: Site) -> None:
    """Make the nodes that are missing, and wait until all of them are ready."""
    for number in range(NODES):
        try:
            api.request(site.pki, f"{site.server}/api/v1/nodes", method="POST", body=manifest(f"kwok-{number}"))
        except HTTPError as error:
            if error.code != 409:
                raise
    wait_for(lambda: all_ready(site), 30, "KWOK does not play its nodes")


def all_ready(site: Site) -> bool:
    """Whether each node says that it is ready."""
    nodes = api.request(site.pki, f"{site.server}/api/v1/nodes?labelSelector=type%3Dkwok")["items"]
    conditions = [one for node in nodes for one in node["status"].get("conditions", ())]
    return [one["status"] for one in conditions if one["type"] == "Ready"] == ["True"] * NODES


def remove(site: Site) -> None:
    """Remove them, with the Pods that they hold."""
    api.request(site.pki, f"{site.server}/api/v1/nodes?labelSelector=type%3Dkwok", method="DELETE")


def manifest(name: str) -> dict[str, object]:
    """One node. A taint keeps away every Pod that does not ask for it."""
    key, _, value = FAKE_NODES.partition("=")
    room = {"cpu": "10000", "memory": "100Ti", "pods": str(PODS_A_NODE)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {key: value, "node.alpha.kubernetes.io/ttl": "0"},
            "labels": {"type": "kwok", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
        },
        "spec": {"taints": [{"key": key, "value": value, "effect": "NoSchedule"}]},
        "status": {"allocatable": room, "capacity": room},
    }
