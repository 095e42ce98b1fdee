"""Worker groups from Python, with real workers: nothing is lost on the way down, and who waits is told why."""

from __future__ import annotations

from typing import Any

import nbformat
import pytest
from distributed import Client
from nbclient import NotebookClient

from dask_k8s import KubeCluster, NotFound, WorkersMissing
from tests.node.conftest import Kubectl
from tests.node.test_kubecluster import OPERATORS, make
from tests.node.test_seed import gone

NUMBERS = list(range(200))


def workers(client: Client, part: str = "") -> list[str]:
    """The addresses of the workers whose name has a part."""
    there = client.scheduler_info(n_workers=-1)["workers"]
    return [address for address, worker in there.items() if part in worker["name"]]


@pytest.mark.parametrize("operator", OPERATORS)
def test_nothing_is_lost_on_the_way_down(kubectl: Kubectl, deployed: None, operator: str) -> None:
    """Scattered keys cannot be computed again: they outlive their group, scaled to 0 or deleted, and the scale to 1."""
    with make(kubectl, operator, n_workers=1) as cluster, Client(cluster) as client:
        cluster.add_worker_group("more", n_workers=2, env={"KIND": "more"})
        cluster.wait_for_workers(3, timeout=150)
        assert f"workers={3}" in repr(cluster)
        more = workers(client, "-more-worker-")
        kept = client.scatter(NUMBERS, workers=more)
        assert client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)) == len(NUMBERS)
        cluster.scale(0, worker_group="more")
        kubectl.until(lambda: not workers(client, "-more-worker-"), "the group's workers have left")
        cluster.scale(3)
        cluster.wait_for_workers(3, timeout=150)
        client.rebalance()
        cluster.scale(1)
        kubectl.until(lambda: len(workers(client)) == 1, "one worker")
        assert client.gather(kept) == NUMBERS
        cluster.scale(1, worker_group="more")
        cluster.wait_for_workers(2, timeout=150)
        kept = client.scatter(NUMBERS, workers=workers(client, "-more-worker-"))
        cluster.delete_worker_group("more")
        assert client.gather(kept) == NUMBERS
        assert "more" not in kubectl("get", "daskworkergroups", "-o", "name")
        with pytest.raises(NotFound, match="It has: default"):
            cluster.scale(1, worker_group="more")
    gone(kubectl)


async def test_asynchronously(kubectl: Kubectl, deployed: None) -> None:
    """Each of them can be awaited, and what is written begins also where nobody does."""
    options: dict[str, Any] = {"namespace": kubectl.namespace, "quiet": True, "n_workers": 0, "asynchronous": True}
    async with KubeCluster(operator="deployed", **options) as cluster:
        cluster.add_worker_group("more", n_workers=1)
        await cluster.wait_for_workers(1, timeout=150)
        await cluster.scale(0, worker_group="more")
        await cluster.delete_worker_group("more")
        with pytest.raises(NotFound):
            await cluster.delete_worker_group("more")


def test_workers_that_do_not_come(kubectl: Kubectl, deployed: None, caplog: pytest.LogCaptureFixture) -> None:
    """At the end of the time: how many joined and why not the others; at once what cannot mend itself."""
    with make(kubectl, "deployed", n_workers=0) as cluster, Client(cluster) as client:
        with pytest.raises(WorkersMissing, match=r"0 of 2 workers have joined after 3 s\.") as few:
            client.wait_for_workers(2, timeout=3)
        assert "ask for 0 workers, and 2 are waited for" in str(few.value)
        assert caplog.text.count("The wait goes on") == 1
        cluster.add_worker_group("huge", n_workers=1, resources={"requests": {"memory": "900Gi"}})
        with pytest.raises(TimeoutError, match="Insufficient memory"):
            cluster.wait_for_workers(1, timeout=5)
        cluster.delete_worker_group("huge")
        cluster.add_worker_group("wrong", n_workers=1, image="ghcr.io/dask/dask:no-such-tag")
        with pytest.raises(WorkersMissing, match="the others cannot come") as failure:
            cluster.wait_for_workers(1)
        assert "no-such-tag" in str(failure.value)
        assert (failure.value.joined, failure.value.wanted) == (0, 1)


def test_a_quota_is_named(kubectl: Kubectl, deployed: None) -> None:
    """It is no Pod's trouble: there is none."""
    with make(kubectl, "deployed", n_workers=0) as cluster:
        kubectl("create", "quota", "small", "--hard=pods=1")
        cluster.scale(1)
        with pytest.raises(WorkersMissing, match="exceeded quota: small"):
            cluster.wait_for_workers(1, timeout=8)


CELLS = (
    "from dask_k8s import KubeCluster\ncluster = KubeCluster(n_workers=1, namespace={namespace!r}, quiet=True)",
    """
import subprocess, time
cluster.wait_for_workers(1)
before, end = cluster.scheduler_info["id"], time.monotonic() + 90
delete = ["kubectl", "-n", cluster.namespace, "delete", "pod", f"{{cluster.name}}-scheduler", "--wait=false"]
subprocess.run(delete, check=True, capture_output=True)
while time.monotonic() < end and (cluster.scheduler_info["id"] == before or not cluster.scheduler_info["workers"]):
    time.sleep(0.2)
time.sleep(2)
""",
    "with cluster.get_client() as client:\n    print(client.submit(sum, [1, 2]).result(timeout=120))",
    "cluster.close()",
)


def test_a_scheduler_that_began_anew_is_told_once(kubectl: Kubectl, deployed: None) -> None:
    """In a notebook that configures no logging, under the cell that runs then; and the object goes on."""
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(text.format(namespace=kubectl.namespace)) for text in CELLS]
    NotebookClient(notebook, timeout=150, kernel_name="python3").execute()
    made, restarted, used, closed = ("".join(output.text for output in cell.outputs) for cell in notebook.cells)
    assert (made, used, closed) == ("", "3\n", "")
    assert restarted.count("\n") == 1
    assert "began anew" in restarted
    assert "Submit again what you still need." in restarted
