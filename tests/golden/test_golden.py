"""Whole objects as they are sent, kept in files: a change of a builder shows in a review as a user would see it.

``pytest tests/golden --regenerate-golden`` writes them anew; the difference is then read, and committed.
"""

from __future__ import annotations

import difflib
import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from dask_k8s import make_cluster_spec
from dask_k8s.kinds.cluster import Cluster
from dask_k8s.kinds.job import Job
from dask_k8s.kinds.value import Manifest
from dask_k8s.kinds.worker_group import WorkerGroup
from dask_k8s.manifests.job import job_cluster, runner_pod
from dask_k8s.manifests.scheduler import scheduler_pod
from dask_k8s.manifests.service import scheduler_service
from dask_k8s.manifests.worker import worker_pod
from dask_k8s.manifests.worker_group import default_group
from tests.unit.given import ROOT, example, read_back

HERE = Path(__file__).parent

SEED = {
    "cluster.yaml": "b863a1045b0775ce6788218503b98f035df8191e1aaab53a99bd0b73d9b64214",
    "highmemworkers.yaml": "116c3a55f9a60990b9899ef7b2609a1f591caaf79f122dabe1851f70ebf3902c",
    "job.yaml": "354cec0ac45e4ae0e4aa80b7dcd3e54e611f1b0162c91f3eaf08f6751fe056d9",
    "autoscaler.yaml": "22114a55474c27503be6a63fa32c4c705de3bada24d316c2a176f22bc91f63db",
}


IMAGE = "ghcr.io/dask/dask:latest"  # the default one changes with the Dask and the Python of whoever asks


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as such, and no anchors: the files are for reading."""

    def ignore_aliases(self, data: Any) -> bool:
        """Everything is written out."""
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _objects_of_a_cluster(folder: str, manifest: Manifest) -> dict[str, Manifest]:
    """Everything that is made for one DaskCluster."""
    cluster = Cluster.from_manifest(read_back(manifest, uid="uid-of-the-cluster"))
    group = default_group(cluster)
    return {
        f"{folder}/scheduler-pod": scheduler_pod(cluster),
        f"{folder}/scheduler-service": scheduler_service(cluster),
        f"{folder}/default-group": group,
        f"{folder}/worker-pod": _worker_pod(group),
    }


def _worker_pod(group: Manifest) -> Manifest:
    name = f"{group['metadata']['name']}-worker-0123456789"
    return worker_pod(WorkerGroup.from_manifest(read_back(group, uid="uid-of-the-group")), name)


def _without_nanny() -> Manifest:
    """The defaults but for ``--no-nanny``: the hand-over is another one then."""
    manifest = make_cluster_spec("no-nanny", IMAGE, worker_command=["dask", "worker", "--no-nanny"])
    return default_group(Cluster.from_manifest(read_back(manifest, uid="uid-of-the-cluster")))


def _objects_of_a_job(folder: str, manifest: Manifest) -> dict[str, Manifest]:
    """What is made for one DaskJob; the rest is its cluster's."""
    job = Job.from_manifest(read_back(manifest, uid="uid-of-the-job"))
    return {f"{folder}/runner-pod": runner_pod(job), f"{folder}/cluster": job_cluster(job)}


OBJECTS = {
    **_objects_of_a_cluster("seed-cluster", example("cluster.yaml")),
    "seed-highmemworkers/worker-pod": _worker_pod(example("highmemworkers.yaml")),
    **_objects_of_a_job("seed-job", example("job.yaml")),
    "defaults/cluster": make_cluster_spec("simple", IMAGE),
    **_objects_of_a_cluster("defaults", make_cluster_spec("simple", IMAGE)),
    "no-nanny/worker-pod": _worker_pod(_without_nanny()),
}


@pytest.mark.parametrize("name", OBJECTS)
def test_what_is_sent_is_what_was_agreed(name: str, request: pytest.FixtureRequest) -> None:
    """The object is the one in the file, key for key and in the same order."""
    path = HERE / f"{name}.yaml"
    made = yaml.dump(OBJECTS[name], Dumper=_Dumper, sort_keys=False, width=120)
    if request.config.getoption("--regenerate-golden"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(made)
    agreed = path.read_text() if path.exists() else ""
    difference = difflib.unified_diff(agreed.splitlines(), made.splitlines(), str(path), "made now", lineterm="")
    assert agreed == made, "\n".join(difference)


def test_no_file_is_left_over() -> None:
    """Each file in this folder is compared with something."""
    assert {str(path.relative_to(HERE).with_suffix("")) for path in HERE.glob("*/*.yaml")} == set(OBJECTS)


@pytest.mark.parametrize(("name", "digest"), SEED.items())
def test_the_seeds_manifests_are_the_seeds(name: str, digest: str) -> None:
    """``examples/`` holds them byte for byte: what runs in the tests is what the seed's readers apply."""
    assert hashlib.sha256((ROOT / "examples" / name).read_bytes()).hexdigest() == digest
