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
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from devcluster import layers
from devcluster.console import Refused, told
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
        content = [*self.tags, *(layer.digest for layer in self.layers), json.dumps(self.config, sort_keys=True)]
        return hashlib.sha256("\n".join(content).encode()).hexdigest()


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """The images that a containerd has been given, remembered in a file."""

    marks: Path
    socket: Path
    tools: Tools

    def give(self, image: Image) -> None:
        """Give it an image, but for the layers that it has; nothing if it has all of it."""
        given: dict[str, Any] = json.loads(self.marks.read_text()) if self.marks.exists() else {}
        before = given.get(image.tags[0], {"key": None, "layers": []})
        if before["key"] == image.key:
            return
        with told("image", f"importing {', '.join(image.tags)}"):
            try:
                self._send(image, held=frozenset(before["layers"]))
            except Refused:
                if before["key"] is None:
                    raise
                self._send(image, held=frozenset())  # someone has removed there what it was given
        given[image.tags[0]] = {"key": image.key, "layers": [layer.digest for layer in image.layers]}
        self.marks.write_text(json.dumps(given))

    def _send(self, image: Image, held: frozenset[str]) -> None:
        arguments = [f"--address={self.socket}", "--namespace=k8s.io", "images", "import", "-"]
        with subprocess.Popen(
            [self.tools.find("ctr"), *arguments],
            env=self.tools.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdin is not None
            assert process.stderr is not None
            # Where ctr hangs up, what it says tells more than the broken pipe.
            with suppress(BrokenPipeError):
                archive(image, process.stdin, held)
                process.stdin.close()
            said = process.stderr.read().decode()
        if process.returncode != 0:
            raise Refused(f"containerd does not take the image {image.tags[0]}: {said.strip()}")


def archive(image: Image, output: IO[bytes], held: frozenset[str] = frozenset()) -> None:
    """Write an image as an OCI archive, one entry of its index for each tag, without layers of these digests."""
    with tarfile.open(fileobj=output, mode="w|") as tar:
        described = []
        for layer in image.layers:
            described.append(_descriptor(f"{TYPE}.layer.v1.tar", layer.digest, layer.path.stat().st_size))
            if layer.digest not in held:
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
