"""The image as containerd is given it."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from devcluster import layers
from devcluster.image import Image, archive, tags
from devcluster.layers import Layer, Writer


def layer(folder: Path, name: str, content: bytes) -> Layer:
    path = folder / f"{name}.tar"
    path.write_bytes(content)
    return Layer(path=path, digest=hashlib.sha256(content).hexdigest())


@pytest.fixture
def image(tmp_path: Path) -> Image:
    two = (layer(tmp_path, "large", b"large"), layer(tmp_path, "small", b"small"))
    return Image(tags=("a/b:1", "a/b:latest"), layers=two, config={"Entrypoint": ["tini", "-g", "--"]})


def unpacked(image: Image, held: frozenset[str] = frozenset()) -> dict[str, bytes]:
    output = io.BytesIO()
    archive(image, output, held)
    with tarfile.open(fileobj=io.BytesIO(output.getvalue())) as tar:
        files = {member.name: tar.extractfile(member) for member in tar}
        return {name: file.read() for name, file in files.items() if file is not None}


def blob(files: dict[str, bytes], descriptor: dict[str, Any]) -> Any:
    return json.loads(files["blobs/" + descriptor["digest"].replace(":", "/")])


def test_every_tag_names_the_same_manifest(image: Image) -> None:
    """One image under several names, not several images."""
    manifests = json.loads(unpacked(image)["index.json"])["manifests"]
    assert [each["annotations"]["io.containerd.image.name"] for each in manifests] == ["a/b:1", "a/b:latest"]
    assert len({each["digest"] for each in manifests}) == 1


def test_every_blob_is_named_by_its_content(image: Image) -> None:
    """As the OCI layout asks."""
    blobs = {name: content for name, content in unpacked(image).items() if name.startswith("blobs/")}
    assert len(blobs) == 4
    assert all(name == f"blobs/sha256/{hashlib.sha256(content).hexdigest()}" for name, content in blobs.items())


def test_the_layers_and_the_command_are_in_the_manifest_in_order(image: Image) -> None:
    """The large layer first: it is the one that stays."""
    files = unpacked(image)
    manifest = blob(files, json.loads(files["index.json"])["manifests"][0])
    config = blob(files, manifest["config"])
    assert [each["size"] for each in manifest["layers"]] == [5, 5]
    assert config["rootfs"]["diff_ids"] == [each["digest"] for each in manifest["layers"]]
    assert config["config"]["Entrypoint"] == ["tini", "-g", "--"]


def test_a_layer_that_is_held_is_named_but_not_sent(image: Image) -> None:
    """A changed source costs the package's layer only."""
    held = image.layers[0].digest
    sent = unpacked(image, frozenset({held}))
    assert f"blobs/sha256/{held}" not in sent
    assert set(unpacked(image)) - set(sent) == {f"blobs/sha256/{held}"}


def test_the_key_changes_with_a_layer_and_with_a_tag(image: Image, tmp_path: Path) -> None:
    """What has the same key is not imported again."""
    others = [
        Image(tags=("a/b:2",), layers=image.layers, config=image.config),
        Image(tags=image.tags, layers=(layer(tmp_path, "other", b"other"),), config=image.config),
        Image(tags=image.tags, layers=image.layers, config={}),
    ]
    assert len({image.key, *(other.key for other in others)}) == 4


def test_a_layer_is_made_once_and_older_ones_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache keeps the few that branches and clones use in turn."""
    monkeypatch.setattr(layers, "folder", lambda: tmp_path)
    made: list[str] = []

    def fill(writer: Writer) -> None:
        writer.file("name", str(made).encode())
        made.append("once more")

    first = layers.layer("kind", "1", fill)
    assert layers.layer("kind", "1", fill) == first
    assert len(made) == 1
    assert first.digest == hashlib.sha256(first.path.read_bytes()).hexdigest()
    for key in "2345":
        layers.layer("kind", key, fill)
    assert {path.name for path in tmp_path.glob("*.tar")} == {"kind-3.tar", "kind-4.tar", "kind-5.tar"}


def test_a_layer_that_was_interrupted_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a layer is never taken for one."""
    monkeypatch.setattr(layers, "folder", lambda: tmp_path)

    def interrupted(writer: Writer) -> None:
        writer.file("name", b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        layers.layer("kind", "1", interrupted)
    whole = layers.layer("kind", "1", lambda writer: writer.file("name", b"whole"))
    with tarfile.open(whole.path) as tar:
        content = tar.extractfile("name")
        assert content is not None
        assert content.read() == b"whole"


def test_everyone_can_read_what_root_owns(tmp_path: Path) -> None:
    """Pods run as other users than root."""
    source = tmp_path / "source"
    (source / "folder").mkdir(parents=True, mode=0o700)
    for name, mode in (("plain", 0o600), ("program", 0o700)):
        (source / "folder" / name).touch(mode)
    (source / "link").symlink_to("folder/plain")
    (source / "tests").mkdir()
    output = io.BytesIO()
    writer = Writer(output)
    writer.tree(source, "opt", without=frozenset({"tests"}))
    writer.close()
    with tarfile.open(fileobj=io.BytesIO(output.getvalue())) as tar:
        members = {member.name: member for member in tar}
    assert {name: oct(member.mode) for name, member in members.items() if not member.issym()} == {
        "opt/folder": "0o755",
        "opt/folder/plain": "0o644",
        "opt/folder/program": "0o755",
    }
    assert members["opt/link"].linkname == "folder/plain"
    assert {(member.uid, member.gid) for member in members.values()} == {(0, 0)}


def test_the_tags_are_the_seeds_the_clients_and_the_operators() -> None:
    """The versioned one is what KubeCluster asks for by default."""
    from dask_k8s.cluster.spec import default_image

    latest, versioned, operator = tags()
    assert latest == "ghcr.io/dask/dask:latest"
    assert versioned == default_image()
    assert operator.startswith("ghcr.io/dask/dask-k8s-operator:")
