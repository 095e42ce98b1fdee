"""The image of Dask and of the operator, made from the lock without a builder, given to containerd as an OCI archive.

It has two layers. The first holds the environment, and is made again when the lock changes. The second holds the
package alone: a changed source costs kilobytes. Client and Pods have the same versions by construction.
"""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import IO

from devcluster import layers
from devcluster.console import Refused
from devcluster.contents import ENVIRONMENT, environment_layer, package_layer
from devcluster.layers import Layer, Writer
from devcluster.packages import Tools

PAUSE = "dask-k8s.dev/pause:1"
"""The image of the process that holds a Pod's namespaces open."""

TYPE = "application/vnd.oci.image"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image under all of its tags."""

    tags: tuple[str, ...]
    layers: tuple[Layer, ...]
    config: Mapping[str, object]

    @property
    def key(self) -> str:
        """Changes with anything in the image."""
        told = [*self.tags, *(layer.digest for layer in self.layers), json.dumps(self.config, sort_keys=True)]
        return hashlib.sha256("\n".join(told).encode()).hexdigest()


def dask_image(tools: Tools) -> Image:
    """The image that KubeCluster chooses by default, and that the operator's Pod runs."""
    variables = [f"PATH=/{ENVIRONMENT}/bin:/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8"]
    return Image(
        tags=tags(),
        layers=(environment_layer(tools), package_layer()),
        config={"Entrypoint": ["tini", "-g", "--"], "Cmd": ["python"], "Env": variables, "WorkingDir": "/tmp"},
    )


def pause_image(binary: Path) -> Image:
    """The image of ``pause``."""
    content = binary.read_bytes()
    key = hashlib.sha256(content).hexdigest()[:16]
    layer = layers.layer("pause", key, partial(Writer.file, name="pause", content=content, mode=0o755))
    return Image(tags=(PAUSE,), layers=(layer,), config={"Entrypoint": ["/pause"]})


def tags() -> tuple[str, ...]:
    """The names of the Dask image: the seed's, the one that KubeCluster chooses, the operator's."""
    python = f"py{sys.version_info.major}.{sys.version_info.minor}"
    dask = "ghcr.io/dask/dask"
    return (f"{dask}:latest", f"{dask}:{version('dask')}-{python}", f"{dask}-k8s-operator:{version('dask-k8s')}")


def import_image(image: Image, tools: Tools, socket: Path, *, held: Layer | None = None) -> None:
    """Give an image to containerd; a layer that it holds already is not sent again."""
    command = [tools.find("ctr"), f"--address={socket}", "--namespace=k8s.io", "images", "import", "-"]
    with subprocess.Popen(
        command,
        env=tools.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        try:
            archive(image, process.stdin, held)
            process.stdin.close()
        except BrokenPipeError:
            pass  # what ctr says below tells more
        said = process.stderr.read().decode()
    if process.returncode != 0:
        raise Refused(f"containerd does not take the image {image.tags[0]}: {said.strip()}")


def archive(image: Image, output: IO[bytes], held: Layer | None = None) -> None:
    """Write an image as an OCI archive, one entry of its index for each tag, but for the layer that is held."""
    with tarfile.open(fileobj=output, mode="w|") as tar:
        described = []
        for layer in image.layers:
            described.append(_descriptor(f"{TYPE}.layer.v1.tar", layer.digest, layer.path.stat().st_size))
            if held is None or layer.digest != held.digest:
                tar.add(layer.path, f"blobs/sha256/{layer.digest}", recursive=False)
        config = _blob(tar, f"{TYPE}.config.v1+json", _config(image))
        content = {"schemaVersion": 2, "mediaType": f"{TYPE}.manifest.v1+json", "config": config, "layers": described}
        manifest = _blob(tar, f"{TYPE}.manifest.v1+json", content)
        named = [{**manifest, "annotations": {"io.containerd.image.name": tag}} for tag in image.tags]
        _add(tar, "index.json", json.dumps({"schemaVersion": 2, "manifests": named}).encode())
        _add(tar, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')


def _config(image: Image) -> Mapping[str, object]:
    digests = [f"sha256:{layer.digest}" for layer in image.layers]
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    rootfs = {"type": "layers", "diff_ids": digests}
    return {"architecture": architecture, "os": "linux", "config": image.config, "rootfs": rootfs}


def _descriptor(media_type: str, digest: str, size: int) -> dict[str, object]:
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": size}


def _blob(tar: tarfile.TarFile, media_type: str, content: object) -> dict[str, object]:
    data = json.dumps(content, sort_keys=True).encode()
    digest = hashlib.sha256(data).hexdigest()
    _add(tar, f"blobs/sha256/{digest}", data)
    return _descriptor(media_type, digest, len(data))


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, BytesIO(data))
