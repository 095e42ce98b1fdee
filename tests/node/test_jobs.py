"""DaskJob with a real kubelet: the seed's chapter line by line, and the ways in which a job ends."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from devcluster import Cluster
from tests.node.conftest import EXAMPLES, Json, Kubectl, own_namespace
from tests.node.test_seed import apply, table

IMAGE = "ghcr.io/dask/dask:latest"
NOWHERE = "ghcr.io/dask/dask:no-such-tag"
SHORT = "import time; time.sleep(5)"
LONG = "import time; time.sleep(600)"
ONCE_MORE = """
import pathlib, sys
seen = pathlib.Path("/data/seen")
seen.write_text(seen.read_text() + "x" if seen.exists() else "x")
sys.exit("not yet" if len(seen.read_text()) < 3 else 0)
"""
CONNECTS = "from dask.distributed import Client; print(Client().submit(sum, [1, 2], pure=False))"
COMPUTES = """
from dask.distributed import Client
client = Client()
print("sum", client.submit(sum, range(10)).result())
"""
SCRATCH: Json = {"volumes": [{"name": "data", "emptyDir": {"sizeLimit": "1Mi"}}]}
MOUNTED: Json = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}


def job(name: str, program: str, *, workers: int = 0, container: Json | None = None, **pod: Any) -> Json:
    """The seed's job with another program; keywords lie over the runner's spec."""
    manifest: Json = yaml.safe_load((EXAMPLES / "job.yaml").read_text())
    manifest["metadata"] = {"name": name}
    runner = manifest["spec"]["job"]["spec"]
    runner["containers"][0] |= {"args": ["python", "-c", program], **(container or {})}
    runner |= pod
    cluster = manifest["spec"]["cluster"]["spec"]
    cluster["worker"]["replicas"] = workers
    cluster["scheduler"]["service"]["selector"]["dask.org/cluster-name"] = name
    return manifest


def create(kubectl: Kubectl, *manifests: Json) -> None:
    kubectl("create", "-f", "-", stdin=yaml.safe_dump_all(manifests))


def status_of(kubectl: Kubectl, name: str) -> Json:
    """A job's status; empty before its first pass."""
    found: Json = kubectl.json("get", "daskjob", name).get("status", {})
    return found


def condition(kubectl: Kubectl, name: str, kind: str) -> Json | None:
    """One condition of a job that holds."""
    conditions = status_of(kubectl, name).get("conditions", [])
    return next((each for each in conditions if each["type"] == kind and each["status"] == "True"), None)


def ends(kubectl: Kubectl, name: str, word: str, within: float = 120) -> Json:
    """Wait for a job's end, and for that of its cluster; the status."""

    def ended() -> Json | None:
        status = status_of(kubectl, name)
        return status if status.get("jobStatus") in ("Successful", "Failed") else None

    status: Json = kubectl.until(ended, f"the end of {name}", within)
    assert status["jobStatus"] == word, status
    kubectl.until(lambda: not exists(kubectl, "daskcluster", name), f"the cluster of {name} is gone")
    return status


def exists(kubectl: Kubectl, kind: str, name: str) -> bool:
    return bool(kubectl("get", kind, "--field-selector", f"metadata.name={name}", "-o", "name").strip())


def runner_of(kubectl: Kubectl, name: str) -> Json | None:
    """A job's runner, once it runs."""
    pods = [pod for pod in kubectl.pods("dask.org/component=job-runner") if pod["metadata"]["name"] == f"{name}-runner"]
    return pods[0] if pods and pods[0]["status"]["phase"] == "Running" else None


def test_the_seeds_job(kubectl: Kubectl, deployed: None) -> None:
    """Apply, look, wait, look, delete: the document's chapter, in the namespace that its manifest names."""
    default = Kubectl(kubectl.environment, "default")
    try:
        assert apply(default, "job.yaml") == "daskjob.kubernetes.dask.org/simple-job created\n"
        default.until(lambda: len(default.pods("dask.org/cluster-name=simple-job")) == 4, "four Pods")
        _, rows = table(default("get", "pods", "-l", "dask.org/cluster-name=simple-job"))
        names = sorted(row[0] for row in rows)
        assert [name.rpartition("-")[0] for name in names[:2]] == ["simple-job-default-worker"] * 2
        assert names[2:] == ["simple-job-runner", "simple-job-scheduler"]
        ends(default, "simple-job", "Successful")
        listed = ("get", "pods", "-l", "dask.org/cluster-name=simple-job")
        default.until(lambda: len(table(default(*listed))[1]) == 1, "only the runner")
        _, (row,) = table(default(*listed))
        assert row[:3] == ["simple-job-runner", "0/1", "Completed"]
        header, _ = table(default("get", "daskjobs"))
        assert {"NAME", "STATUS", "AGE"} <= set(header)
    finally:
        deleted = default("delete", "-f", str(EXAMPLES / "job.yaml"))
    assert deleted.startswith('daskjob.kubernetes.dask.org "simple-job" deleted')
    default.until(lambda: not default.pods("dask.org/cluster-name=simple-job"), "nothing left")


def test_labels_and_annotations_of_a_job(kubectl: Kubectl, deployed: None) -> None:
    """From the job to the runner's Pod and the DaskCluster, and on to the cluster's Pods; reserved ones win."""
    manifest = job("labelled", LONG, workers=1)
    manifest["metadata"] |= {"labels": {"foo": "bar", "dask.org/component": "boss"}, "annotations": {"hello": "world"}}
    manifest["spec"]["job"]["metadata"] = {"labels": {"foo": "baz"}, "annotations": {"fizz": "buzz"}}
    create(kubectl, manifest)
    selector = "dask.org/cluster-name=labelled"
    kubectl.until(lambda: len(kubectl.pods(selector)) == 3, "three Pods")
    found = {pod["metadata"]["labels"]["dask.org/component"]: pod["metadata"] for pod in kubectl.pods(selector)}
    assert set(found) == {"job-runner", "scheduler", "worker"}
    cluster = kubectl.json("get", "daskcluster", "labelled")["metadata"]
    assert {name: each["labels"]["foo"] for name, each in found.items()} == {
        "job-runner": "baz",
        "scheduler": "bar",
        "worker": "bar",
    }
    assert {each["annotations"]["hello"] for each in (cluster, *found.values())} == {"world"}
    assert ("fizz" in found["job-runner"]["annotations"], "fizz" in cluster["annotations"]) == (True, False)
    assert "dask.org/component" not in cluster["labels"]


SLOW = 25


@pytest.fixture(scope="module")
def jobs(node: Cluster, deployed: None) -> Iterator[Kubectl]:
    """All kinds of jobs at once, in one namespace: most of their time they wait."""
    with own_namespace(node) as kubectl:
        proxy: Json = {"name": "proxy", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "args": ["sleep", "600"]}
        beside = job("sidecar", "print('done')")
        beside["spec"]["job"]["spec"]["containers"].append(proxy)
        slow = job("slow-scheduler", COMPUTES, workers=1)
        (scheduler,) = slow["spec"]["cluster"]["spec"]["scheduler"]["spec"]["containers"]
        scheduler["args"] = ["sh", "-c", f"sleep {SLOW}; exec dask scheduler"]
        del scheduler["livenessProbe"]
        unstartable = job("no-scheduler", CONNECTS)
        unstartable["spec"]["cluster"]["spec"]["scheduler"]["spec"]["containers"][0]["image"] = NOWHERE
        create(
            kubectl,
            job("succeeds", "print('hello from the job')"),
            job("fails", "import sys; print('its last words'); sys.exit(3)", restartPolicy="Never"),
            job("fails-twice", ONCE_MORE, container=MOUNTED, **SCRATCH),
            job(
                "too-large",
                "b'x' * (1 << 30)",
                restartPolicy="Never",
                container={"resources": {"limits": {"memory": "64Mi"}}},
            ),
            job("too-late", LONG, restartPolicy="Never", activeDeadlineSeconds=5),
            job(
                "too-much",
                "open('/data/x', 'wb').write(b'x' * 5_000_000);" + LONG,
                restartPolicy="Never",
                container=MOUNTED,
                **SCRATCH,
            ),
            job("native-sidecar", "print('done')", initContainers=[{**proxy, "restartPolicy": "Always"}]),
            job("no-image", "pass", container={"image": NOWHERE}),
            job("no-node", "pass", container={"resources": {"requests": {"memory": "900Gi"}}}),
            job("cancelled", LONG),
            beside,
            slow,
            unstartable,
        )
        yield kubectl


def test_exit_zero_is_success(jobs: Kubectl) -> None:
    """The runner is Completed, with its log."""
    status = ends(jobs, "succeeds", "Successful")
    assert status["startTime"] <= status["endTime"]
    assert jobs("logs", "succeeds-runner") == "hello from the job\n"
    assert jobs.json("get", "pod", "succeeds-runner")["status"]["phase"] == "Succeeded"


def test_another_exit_code_is_failure_under_never(jobs: Kubectl) -> None:
    """The runner stays, with its log."""
    ends(jobs, "fails", "Failed")
    told = condition(jobs, "fails", "Failed")
    assert told is not None
    assert "Container job ended with exit code 3" in told["message"]
    assert jobs("logs", "fails-runner") == "its last words\n"


def test_under_on_failure_it_is_started_again_until_it_succeeds(jobs: Kubectl) -> None:
    """And the status says how often, and why."""
    ends(jobs, "fails-twice", "Successful")
    told = condition(jobs, "fails-twice", "RunnerRestarted")
    assert told is not None
    assert "2 times so far. Container job ended with exit code 1" in told["message"]


@pytest.mark.parametrize(
    ("name", "words"),
    [("too-large", "OOMKilled"), ("too-late", "DeadlineExceeded"), ("too-much", "Evicted: ")],
)
def test_what_a_program_does_to_itself_is_its_failure(jobs: Kubectl, name: str, words: str) -> None:
    """Beyond its memory, its time, its disk."""
    ends(jobs, name, "Failed")
    told = condition(jobs, name, "Failed")
    assert told is not None
    assert words in told["message"]


def test_a_runner_that_was_deleted_is_made_again(jobs: Kubectl) -> None:
    """Killed before its end: no success."""
    create(jobs, job("deleted", SHORT))
    first = jobs.until(lambda: runner_of(jobs, "deleted"), "the runner")
    jobs("delete", "pod", "deleted-runner", "--grace-period=1")
    jobs.until(lambda: condition(jobs, "deleted", "RunnerReplaced"), "the condition")
    ends(jobs, "deleted", "Successful")
    assert jobs.json("get", "pod", "deleted-runner")["metadata"]["uid"] != first["metadata"]["uid"]


def test_a_runner_that_was_evicted_is_made_again(jobs: Kubectl) -> None:
    """By the Eviction API, as ``kubectl drain`` does it; under Never too."""
    create(jobs, job("evicted", SHORT, restartPolicy="Never"))
    jobs.until(lambda: runner_of(jobs, "evicted"), "the runner")
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": "evicted-runner", "namespace": jobs.namespace},
        "deleteOptions": {"gracePeriodSeconds": 1},
    }
    path = f"/api/v1/namespaces/{jobs.namespace}/pods/evicted-runner/eviction"
    jobs("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))
    jobs.until(lambda: condition(jobs, "evicted", "RunnerReplaced"), "the condition")
    ends(jobs, "evicted", "Successful")


def test_a_sidecar_of_kubernetes_own_kind_is_not_waited_for(jobs: Kubectl) -> None:
    """An init container that is always started again ends with the program."""
    ends(jobs, "native-sidecar", "Successful")


def test_a_container_beside_it_is_waited_for_and_told(jobs: Kubectl) -> None:
    """A Pod ends when all of its containers do."""

    def told() -> bool:
        found = condition(jobs, "sidecar", "Progressing")
        return found is not None and found["reason"] == "WaitingForSidecars" and "proxy still runs" in found["message"]

    jobs.until(told, "the condition")
    assert status_of(jobs, "sidecar")["jobStatus"] == "Running"


@pytest.mark.parametrize(
    ("name", "reason", "words"),
    [
        ("no-image", "ImageNotFound", NOWHERE),
        ("no-node", "Unschedulable", "Insufficient memory"),
        ("no-scheduler", "ImageNotFound", "no-scheduler-scheduler"),
    ],
)
def test_what_keeps_a_job_from_running_is_told(jobs: Kubectl, name: str, reason: str, words: str) -> None:
    """In the kubelet's or the scheduler's words, of the runner and of the cluster; deleting it takes everything."""

    def told() -> bool:
        found = condition(jobs, name, "Degraded")
        return found is not None and found["reason"] == reason and words in found["message"]

    jobs.until(told, f"Degraded ({reason})")
    is_deleted(jobs, name)


def test_a_job_is_deleted_while_it_runs(jobs: Kubectl) -> None:
    """Runner, cluster, Pods, Service."""
    jobs.until(lambda: runner_of(jobs, "cancelled"), "the runner")
    is_deleted(jobs, "cancelled")


@pytest.mark.parametrize("seconds", [0.0, 0.5, 2.0])
def test_a_job_is_deleted_while_it_begins(kubectl: Kubectl, deployed: None, seconds: float) -> None:
    """Before its first pass, in it, and while its Pods start."""
    create(kubectl, job("early", LONG, workers=1))
    time.sleep(seconds)
    is_deleted(kubectl, "early")


def is_deleted(kubectl: Kubectl, name: str) -> None:
    """Delete a job, and wait until nothing of it is left."""
    kubectl("delete", "daskjob", name)
    selector = f"dask.org/cluster-name={name}"
    kinds = "daskclusters,daskworkergroups,services,pods"
    kubectl.until(lambda: not kubectl("get", kinds, "-l", selector, "-o", "name").strip(), f"nothing of {name} left")


def test_a_bare_client_waits_for_a_slow_scheduler(jobs: Kubectl) -> None:
    """The runner begins before it, and connects when it comes."""
    ends(jobs, "slow-scheduler", "Successful", within=60 + 3 * SLOW)
    assert jobs("logs", "slow-scheduler-runner").splitlines()[-1] == "sum 45"
    assert jobs.json("get", "pod", "slow-scheduler-runner")["status"]["containerStatuses"][0]["restartCount"] == 0


def test_a_full_quota_is_told_and_waited_for(kubectl: Kubectl, deployed: None) -> None:
    """No runner fits beside the scheduler; when there is room, it comes."""
    name = f"quota-{secrets.token_hex(2)}"
    kubectl("create", "quota", "few", "--hard=pods=1")
    create(kubectl, job(name, "print('at last')"))

    def told() -> bool:
        found = condition(kubectl, name, "Degraded")
        return found is not None and "exceeded quota" in found["message"]

    kubectl.until(told, "the condition")
    kubectl("delete", "quota", "few")
    ends(kubectl, name, "Successful", within=180)
