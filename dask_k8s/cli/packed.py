"""The CRDs that came with this package: inside the wheel, or beside the package in a checkout."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import yaml

from dask_k8s.kinds.value import Manifest


def crds() -> list[Manifest]:
    """The definitions of our kinds, in the order of their names."""
    packed = files("dask_k8s") / "crds"
    folder = packed if packed.is_dir() else Path(str(files("dask_k8s"))).parent / "crds"
    texts = {file.name: file.read_text() for file in folder.iterdir() if file.name.endswith(".yaml")}
    return [yaml.safe_load(texts[name]) for name in sorted(texts)]
