"""A real Kubernetes on this machine: no Docker, no image registry, nothing installed.

``up("api")`` is an API server alone, without root, in seconds; ``up("node")`` is one node that runs Pods, and
``up("nodes")`` has two; ``up("scale")`` adds nodes that exist in the API only. Each clone of the project has its own.
``python -m devcluster`` is the same from a shell.
"""

from __future__ import annotations

from devcluster.cluster import Cluster
from devcluster.console import Refused, exit_code
from devcluster.down import down
from devcluster.instances import Kind
from devcluster.up import up

__all__ = ["Cluster", "Kind", "Refused", "down", "exit_code", "up"]
