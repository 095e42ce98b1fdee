"""DaskAutoscaler and ``spec.idleTimeout`` with real workers, from kubectl and from Python."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest
import yaml
from distributed import Client, get_worker

from dask_k8s import InvalidResource, KubeCluster
from tests.node.conftest import EXAMPLES, Json, Kubectl
from tests.node.test_kubecluster import OPERATORS, make
from tests.node.test_seed import apply, forwarded, gone, table

WINDOW = 5


def example(name: str) -> Json:
    content: Json = yaml.safe_load((EXAMPLES / name).read_text())
    return content


def replicas(kubectl: Kubectl) -> int:
    """What the default group asks for."""
    count: int = kubectl.json("get", "daskworkergroup", "simple-default")["spec"]["worker"]["replicas"]
    return count


def runs(client: Client) -> Counter[int]:
    """How often each task has run."""
    return Counter(number for _, number in client.get_events("ran"))


def test_the_seeds_autoscaler(kubectl: Kubectl, deployed: None) -> None:
    """A burst of work: up to the maximum, back to the minimum, no task twice; deleted, the count stays."""

    def work(number: int) -> int:
        get_worker().log_event("ran", number)
        time.sleep(0.5)
        return number

    apply(kubectl, "cluster.yaml")
    autoscaler = example("autoscaler.yaml")
    autoscaler["spec"] |= {"maximum": 4, "scaleDown": {"stabilizationSeconds": WINDOW}}
    created = kubectl("apply", "-f", "-", stdin=yaml.safe_dump(autoscaler))
    assert created == "daskautoscaler.kubernetes.dask.org/simple created\n"
    with forwarded(kubectl, ":8786") as port, Client(f"localhost:{port}") as client:
        kubectl.until(lambda: replicas(kubectl) == 1, "the minimum")
        count = 100 * sum(client.nthreads().values())  # a target counts workers by their threads
        futures = client.map(work, range(count), pure=False)
        kubectl.until(lambda: replicas(kubectl) == 4, "the maximum")
        header, (row,) = table(kubectl("get", "daskautoscalers"))
        assert row[: header.index("AGE")][:4] == ["simple", "simple", "1", "4"]
        assert client.gather(futures) == list(range(count))
        assert set(runs(client).values()) == {1}
        del futures
        kubectl.until(lambda: replicas(kubectl) == 1, "the minimum again")
        kubectl.until(lambda: len(client.scheduler_info(n_workers=-1)["workers"]) == 1, "one worker")
    kubectl("scale", "--replicas=3", "daskworkergroup", "simple-default")
    kubectl.until(lambda: replicas(kubectl) == 1, "the autoscaler's count")
    deleted = kubectl("delete", "daskautoscaler", "simple")
    assert deleted.startswith('daskautoscaler.kubernetes.dask.org "simple" deleted')
    kubectl("scale", "--replicas=2", "daskworkergroup", "simple-default")
    time.sleep(3)
    assert replicas(kubectl) == 2


def test_another_group_is_neither_counted_nor_touched(kubectl: Kubectl, deployed: None) -> None:
    """The seed's note; and the autoscaler is deleted with its cluster."""
    apply(kubectl, "cluster.yaml")
    group = example("highmemworkers.yaml")
    (container,) = group["spec"]["worker"]["spec"]["containers"]
    del container["resources"]
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump(group))
    autoscaler = example("autoscaler.yaml")
    autoscaler["spec"]["scaleDown"] = {"stabilizationSeconds": 1}
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump(autoscaler))
    kubectl.until(lambda: replicas(kubectl) == 1, "the minimum of the default group")
    kubectl.until(lambda: len(kubectl.pods("dask.org/workergroup-name=simple-highmem")) == 2, "the other group")
    kubectl("delete", "-f", str(EXAMPLES / "cluster.yaml"))
    kubectl.until(lambda: not kubectl("get", "daskautoscalers", "-o", "name").strip(), "no autoscaler left")
    gone(kubectl)


TIMEOUT = 20
LONG_TASK = 60


def test_a_cluster_without_work_goes(kubectl: Kubectl, deployed: None) -> None:
    """Not while a task runs, not for a client that is connected, and through a restart of the operator."""
    cluster = example("cluster.yaml")
    cluster["spec"]["idleTimeout"] = TIMEOUT
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump(cluster))
    with forwarded(kubectl, ":8786") as port, Client(f"localhost:{port}") as client:
        client.submit(time.sleep, LONG_TASK).result(timeout=60 + LONG_TASK)

        def since() -> str | None:
            found: str | None = kubectl.json("get", "daskcluster", "simple")["status"].get("idleSince")
            return found

        first = kubectl.until(since, "idleSince")
        time.sleep(TIMEOUT / 2)
        operator = Kubectl(kubectl.environment, "dask-operator")
        operator("delete", "pod", "-l", "app.kubernetes.io/name=dask-operator", "--wait=false")
        operator("rollout", "status", "deployment/dask-operator", "--timeout=60s")
        kubectl.until(lambda: not kubectl("get", "daskclusters", "-o", "name").strip(), "the end", within=60)
    told = kubectl("get", "events", "-o", "custom-columns=R:.reason,M:.message", "--no-headers")
    assert "IdleTimeoutSoon" in told
    # The rest that ended it is the one that the process before had begun to count.
    assert f"Without work since {first}: deleted after {TIMEOUT} s" in told
    gone(kubectl)


@pytest.mark.parametrize("operator", OPERATORS)
def test_adapt(kubectl: Kubectl, deployed: None, operator: str) -> None:
    """It makes and changes the autoscaler, whoever serves it; ``scale`` ends it; repr and widget tell which holds."""
    with make(kubectl, operator, n_workers=1) as cluster, Client(cluster) as client:
        assert "adaptive" not in repr(cluster)
        adaptive = cluster.adapt(minimum=2, maximum=4)
        assert (adaptive.minimum, adaptive.maximum) == (2, 4)
        client.wait_for_workers(2, timeout=60)
        kubectl.until(lambda: "adaptive, 2 to 4" in repr(cluster), "the repr")
        assert "adaptive, 2 to 4" in cluster._repr_html_()
        assert "adaptive, 2 to 4" in cluster._scaling_status()
        cluster.adapt(minimum=3)
        client.wait_for_workers(3, timeout=60)
        spec = kubectl.json("get", "daskautoscaler", cluster.name)["spec"]
        assert (spec["minimum"], spec.get("maximum")) == (3, None)
        cluster.scale(1)
        kubectl.until(lambda: "adaptive" not in repr(cluster), "the repr")
        assert not kubectl("get", "daskautoscalers", "-o", "name").strip()
        kubectl.until(lambda: len(client.scheduler_info(n_workers=-1)["workers"]) == 1, "one worker")
        with pytest.raises(InvalidResource, match="maximum"):
            cluster.adapt(minimum=3, maximum=2)
    gone(kubectl)


async def test_adapt_as_jupyterlab_calls_it(kubectl: Kubectl, deployed: None) -> None:
    """It does not wait for what ``adapt`` returns, and reads its limits at once."""
    options: dict[str, Any] = {"namespace": kubectl.namespace, "quiet": True, "n_workers": 0}
    async with KubeCluster(asynchronous=True, **options) as cluster:
        adaptive = cluster.adapt(minimum=1, maximum=2)
        assert (adaptive.minimum, adaptive.maximum) == (1, 2)
        async with Client(cluster, asynchronous=True) as client:
            await client.wait_for_workers(1, timeout=60)
        assert (await cluster.adapt(minimum=0)).maximum is None


def test_idle_timeout_from_python(kubectl: Kubectl, deployed: None, caplog: pytest.LogCaptureFixture) -> None:
    """The cluster goes, and the object says so and closes."""
    with make(kubectl, "embedded", n_workers=1, idle_timeout="6 s") as cluster:
        kubectl.until(lambda: cluster.status.name == "closed", "the end", within=60)
    assert "was deleted" in caplog.text
    gone(kubectl)
