"""The real nodes of a cluster: one, or two that stand on the same machine and in the same network.

A second kubelet needs a container runtime of its own: two of them would delete each other's Pods. It needs its own
folders, cgroup, ports and part of the Pods' addresses too. What it shares with the first are the namespaces, and so the
routes, the rules of kube-proxy, and the address: its kubelet is told apart by its port.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from devcluster.instances import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One real node."""

    name: str
    suffix: str
    """What its components, files and folders have behind the names of the first one's."""
    pods: str
    """Its part of the Pods' addresses."""
    bridge: str
    port: int
    health_port: int

    @property
    def containerd(self) -> Path:
        """Where its containerd listens, in the mount namespace of the nodes."""
        return self.runtime / "containerd.sock"

    @property
    def runtime(self) -> Path:
        """The folder of what containerd forgets when it ends."""
        return Path(f"/run/containerd{self.suffix}")


FIRST = Node(name="node", suffix="", pods="10.244.0.0/17", bridge="cni0", port=10250, health_port=10248)
SECOND = Node(name="node-2", suffix="-2", pods="10.244.128.0/17", bridge="cni1", port=10251, health_port=10258)


def nodes(kind: Kind) -> tuple[Node, ...]:
    """Those that a cluster of this kind has."""
    if kind == "api":
        return ()
    return (FIRST, SECOND) if kind == "nodes" else (FIRST,)
