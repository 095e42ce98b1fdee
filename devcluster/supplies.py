"""What is built before a cluster of a kind can start."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from devcluster.build import binaries
from devcluster.image import Image, dask_image, pause_image
from devcluster.instances import Kind
from devcluster.packages import Tools, tools


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSupplies:
    """What a node needs beside the binaries."""

    tools: Tools
    pause: Image
    dask: Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Supplies:
    """What has been built for a cluster."""

    bin: Path
    node: NodeSupplies | None = None
    """None where there is no node."""

    @property
    def tags(self) -> tuple[str, ...]:
        """The names of the image that Pods can have."""
        return self.node.dask.tags if self.node else ()


def supply(kind: Kind) -> Supplies:
    """Build what a cluster of this kind needs; the image is made while Go compiles."""
    if kind == "api":
        return Supplies(bin=binaries(kind))
    with ThreadPoolExecutor(1) as beside:
        unpacked = beside.submit(tools)
        dask = beside.submit(lambda: dask_image(unpacked.result()))
        folder = binaries(kind)
    pause = pause_image(folder / "pause")
    return Supplies(bin=folder, node=NodeSupplies(tools=unpacked.result(), pause=pause, dask=dask.result()))
