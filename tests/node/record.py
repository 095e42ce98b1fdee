"""``python -m tests.node.record``: what a real node says of Pods that fail.

It makes Pods fail in every way that the diagnosis knows, and writes down what the node says, to
``tests/unit/recorded``; to be done again after an upgrade of Kubernetes or containerd.
"""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

from dask_k8s import diagnosis
from dask_k8s.cluster.spec import default_image
from dask_k8s.diagnosis import Diagnosis
from devcluster import up
from tests.node.conftest import Json, Kubectl

FOLDER = Path(__file__).parents[1] / "unit" / "recorded"
NAMESPACE = "recordings"


def container(**more: Any) -> Json:
    """The scheduler's container of a Pod that fails."""
    return {"name": "scheduler", "image": default_image(), **more}


def python(text: str) -> list[str]:
    return ["python", "-c", text]


SPECS: dict[str, Json] = {
    "ImageNotFound": {"containers": [container(image="ghcr.io/dask/dask:no-such-tag")]},
    "ImageRegistryUnreachable": {"containers": [container(image="registry.invalid/dask:1")]},
    "ImageNameInvalid": {"containers": [container(image="Not A Name")]},
    "Unschedulable": {"containers": [container(resources={"requests": {"memory": "900Gi"}})]},
    "ContainerCrashes": {"containers": [container(args=python("raise SystemExit('no such plug-in')"))]},
    "ContainerCrashes-memory": {
        "containers": [container(args=python("b' ' * 10**9"), resources={"limits": {"memory": "64Mi"}})]
    },
    "ContainerNotCreated": {"containers": [container(envFrom=[{"configMapRef": {"name": "missing"}}])]},
    "ContainerNotCreated-command": {"containers": [container(command=["/no/such/program"])]},
    "PodNotSetUp": {
        "containers": [container(volumeMounts=[{"name": "lost", "mountPath": "/lost"}])],
        "volumes": [{"name": "lost", "secret": {"secretName": "missing"}}],
    },
}


def main() -> None:
    """Make all of them at once, and write each down when its trouble is told."""
    kubectl = Kubectl({**os.environ, **up("node").environment()}, NAMESPACE)
    kubectl("create", "namespace", NAMESPACE)
    try:
        kubectl.until(lambda: "default" in kubectl("get", "serviceaccounts", "-o", "name"), "the service account")
        for name, spec in SPECS.items():
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name.lower()}, "spec": spec}
            kubectl("create", "-f", "-", stdin=json.dumps(pod))
        FOLDER.mkdir(exist_ok=True)
        for name in SPECS:
            finding: Diagnosis = kubectl.until(partial(told, kubectl, name), name)
            (FOLDER / f"{name}.json").write_text(json.dumps(seen(kubectl, name), indent=1, sort_keys=True) + "\n")
            print(f"{name}: {finding.sentence}", file=sys.stderr)
    finally:
        kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def told(kubectl: Kubectl, name: str) -> Diagnosis | None:
    """The diagnosis, once it is the last word: a crash only after Kubernetes has started it again in vain."""
    recording = seen(kubectl, name)
    finding = diagnosis.of_pod(recording["pod"], recording["events"])
    expected = name.partition("-")[0]
    if finding is None or finding.cause != expected:
        return None
    return finding if finding.final or not expected.startswith("ContainerCrashes") else None


def seen(kubectl: Kubectl, name: str) -> Json:
    """A Pod and the messages of its warnings, as the API server gives them, without the record of who wrote what."""
    pod = kubectl.json("get", "pod", name.lower())
    pod["metadata"].pop("managedFields", None)
    fields = f"involvedObject.name={name.lower()},type=Warning"
    events = kubectl.json("get", "events", "--field-selector", fields)["items"]
    return {"pod": pod, "events": diagnosis.messages(events)}


if __name__ == "__main__":
    main()
