"""The seed's text for DaskCluster, DaskWorkerGroup and labels: its kubectl lines, and what they print, in substance."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import yaml
from distributed import Client

from tests.node.conftest import EXAMPLES, Kubectl


def table(text: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows of what ``kubectl get`` prints: it prints neither where nothing is found."""
    lines = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    return (lines[0], lines[1:]) if lines else ([], [])


def apply(kubectl: Kubectl, example: str) -> str:
    return kubectl("apply", "-f", str(EXAMPLES / example))


def running(kubectl: Kubectl, count: int) -> list[list[str]]:
    """Wait until so many Pods of the cluster run; their rows."""

    def rows() -> list[list[str]] | None:
        _, found = table(kubectl("get", "po", "-l", "dask.org/cluster-name=simple"))
        return found if len(found) == count and all(row[2] == "Running" for row in found) else None

    found: list[list[str]] = kubectl.until(rows, f"{count} running Pods")
    return found


@contextmanager
def forwarded(kubectl: Kubectl, ports: str) -> Iterator[int]:
    """``kubectl port-forward svc/simple``; the local port. kubectl gives up where nobody listens in the Pod yet."""
    kubectl("wait", "--for=condition=SchedulerReady", "daskcluster/simple", "--timeout=90s")
    argv = ["kubectl", "-n", kubectl.namespace, "port-forward", "svc/simple", ports]
    with subprocess.Popen(argv, env=kubectl.environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("Forwarding from 127.0.0.1:"), line
            yield int(line.split(":")[1].split(" ")[0])
        finally:
            process.terminate()


def test_a_cluster_from_kubectl(kubectl: Kubectl, deployed: None) -> None:
    """Apply, list, connect, scale, delete: the document's first chapter, line by line."""
    assert apply(kubectl, "cluster.yaml") == "daskcluster.kubernetes.dask.org/simple created\n"
    header, rows = table(kubectl("get", "daskclusters"))
    assert {"NAME", "AGE"} <= set(header)
    assert [row[0] for row in rows] == ["simple"]
    before = running(kubectl, 3)
    header, (service,) = table(kubectl("get", "svc", "-l", "dask.org/cluster-name=simple"))
    assert service[0] == "simple"
    assert service[1] == "NodePort"
    assert re.fullmatch(r"8786:\d+/TCP,8787:\d+/TCP", service[header.index("PORT(S)")])
    with forwarded(kubectl, ":8786") as port, Client(f"localhost:{port}") as client:
        client.wait_for_workers(2, timeout=60)
        assert "processes=2" in repr(client)
        assert client.submit(sum, [1, 2]).result() == 3
    scaled = kubectl("scale", "--replicas=5", "daskworkergroup", "simple-default")
    assert scaled.startswith("daskworkergroup.kubernetes.dask.org/simple-default")
    after = running(kubectl, 6)
    assert {row[0] for row in before} < {row[0] for row in after}
    names = sorted(row[0] for row in after)
    assert names[-1] == "simple-scheduler"
    assert all(re.fullmatch(r"simple-default-worker-[0-9a-f]{10}", name) for name in names[:-1])
    deleted = kubectl("delete", "-f", str(EXAMPLES / "cluster.yaml"))
    assert deleted.startswith('daskcluster.kubernetes.dask.org "simple" deleted')
    gone(kubectl)


def test_a_cluster_is_deleted_by_its_name(kubectl: Kubectl, deployed: None) -> None:
    """The document's other way to delete; Pods, Service and group go with it."""
    apply(kubectl, "cluster.yaml")
    running(kubectl, 3)
    assert kubectl("delete", "daskcluster", "simple").startswith('daskcluster.kubernetes.dask.org "simple" deleted')
    gone(kubectl)


def gone(kubectl: Kubectl) -> None:
    """Wait until nothing of the cluster is left."""
    kinds = "pods,services,daskclusters,daskworkergroups"
    kubectl.until(lambda: not kubectl("get", kinds, "-o", "name").strip(), "nothing left")


def test_another_group_joins(kubectl: Kubectl, deployed: None) -> None:
    """The document's second chapter; with less memory than the seed's, so that its Pods fit on this node."""
    apply(kubectl, "cluster.yaml")
    group = yaml.safe_load((EXAMPLES / "highmemworkers.yaml").read_text())
    (container,) = group["spec"]["worker"]["spec"]["containers"]
    container["resources"] = {"requests": {"memory": "256Mi"}, "limits": {"memory": "1Gi"}}
    created = kubectl("apply", "-f", "-", stdin=yaml.safe_dump(group))
    assert created == "daskworkergroup.kubernetes.dask.org/simple-highmem created\n"
    header, _ = table(kubectl("get", "daskworkergroups"))
    assert {"NAME", "AGE"} <= set(header)
    kubectl.until(lambda: len(table(kubectl("get", "daskworkergroups"))[1]) == 2, "two groups")
    running(kubectl, 5)
    with forwarded(kubectl, ":8786") as port, Client(f"localhost:{port}") as client:
        client.wait_for_workers(4, timeout=60)
        somewhere = client.submit(lambda: 1, resources={"MEMORY": 10e9}, pure=False)
        assert somewhere.result(timeout=30) == 1
    kubectl("scale", "--replicas=1", "daskworkergroup", "simple-highmem")
    running(kubectl, 4)
    kubectl("delete", "daskcluster", "simple")
    gone(kubectl)


def test_the_seeds_own_group_says_that_it_fits_nowhere(kubectl: Kubectl, deployed: None) -> None:
    """Unchanged it asks for 32 Gi twice: Kubernetes' own sentence stands in the condition."""
    apply(kubectl, "cluster.yaml")
    apply(kubectl, "highmemworkers.yaml")

    def told() -> bool:
        group = kubectl.json("get", "daskworkergroup", "simple-highmem")
        conditions = {each["type"]: each for each in group.get("status", {}).get("conditions", [])}
        return bool(conditions.get("Degraded", {}).get("reason") == "Unschedulable")

    kubectl.until(told, "the condition")
    assert "Insufficient memory" in kubectl("describe", "daskworkergroup", "simple-highmem")


def test_labels_and_annotations(kubectl: Kubectl, deployed: None) -> None:
    """The document's example, and its rule: top level, then the subresource's, then the reserved ones."""
    cluster = yaml.safe_load((EXAMPLES / "cluster.yaml").read_text())
    cluster["metadata"] = {
        "name": "example",
        "annotations": {"hello": "world"},
        "labels": {"foo": "bar", "dask.org/component": "superworker"},
    }
    cluster["spec"]["worker"]["metadata"] = {"annotations": {"foo": "bar"}, "labels": {"foo": "baz"}}
    cluster["spec"]["scheduler"]["metadata"] = {"annotations": {"fizz": "buzz"}}
    cluster["spec"]["scheduler"]["service"]["selector"]["dask.org/cluster-name"] = "example"
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump(cluster))
    kubectl.until(lambda: len(kubectl.pods("dask.org/cluster-name=example")) == 3, "three Pods")
    scheduler = kubectl.json("get", "pod", "example-scheduler")["metadata"]
    assert {"fizz": "buzz", "hello": "world"}.items() <= scheduler["annotations"].items()
    assert "foo" not in scheduler["annotations"]
    assert not any("kubectl.kubernetes.io" in key for key in scheduler["annotations"])
    service = kubectl.json("get", "svc", "example")["metadata"]
    assert {"fizz": "buzz", "hello": "world"}.items() <= service["annotations"].items()
    for pod in kubectl.pods("dask.org/component=worker"):
        assert pod["metadata"]["labels"]["foo"] == "baz"
        assert {"foo": "bar", "hello": "world"}.items() <= pod["metadata"]["annotations"].items()
    assert len(kubectl.pods("dask.org/component=worker")) == 2


def test_what_is_lost_comes_back(kubectl: Kubectl, deployed: None) -> None:
    """Scheduler Pod, Service and a worker: each is made again, and the workers join the new scheduler."""
    apply(kubectl, "cluster.yaml")
    running(kubectl, 3)
    kubectl("delete", "pod", "simple-scheduler", "--wait=false")
    kubectl("delete", "svc", "simple")
    kubectl.until(lambda: kubectl("get", "svc", "-o", "name").strip(), "the Service")
    running(kubectl, 3)
    with forwarded(kubectl, ":8786") as port, Client(f"localhost:{port}") as client:
        client.wait_for_workers(2, timeout=60)
    kubectl("wait", "--for=condition=SchedulerStateLost", "daskcluster/simple", "--timeout=30s")
