"""DaskJob on a real API server: one runner, one end, and nothing that outlives it."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from dask_k8s.errors import Invalid, Missing
from dask_k8s.kube.client import Client
from dask_k8s.kube.resources import DASK_CLUSTER, DASK_JOB, EVENT, POD
from dask_k8s.metadata import MUST_STAY
from tests.api.conftest import ApiServer
from tests.api.operator.conftest import Json, Serve, World, seed_job
from tests.faults.proxy import Faults, only
from tests.faults.proxy import says as kube_says


async def status_of(world: World) -> Json:
    """The job's status; empty before the first pass."""
    return dict((await world.job()).get("status") or {})


async def says(world: World, word: str) -> Json:
    """Wait for a word of the job's; its whole status."""

    async def said() -> Json | None:
        status = await status_of(world)
        return status if status.get("jobStatus") == word else None

    found: Json = await world.until(said, f"jobStatus {word}")
    return found


async def test_the_seeds_job_runs_to_its_end(world: World, serve: Serve) -> None:
    """Cluster and runner come together; exit 0 leaves the runner and takes the cluster away."""
    async with serve():
        await world.make(seed_job())
        runner = await world.runner()
        cluster = await world.cluster("simple-job")
        assert cluster["metadata"]["ownerReferences"][0]["kind"] == "DaskJob"
        assert runner["spec"]["restartPolicy"] == "OnFailure"
        await says(world, "ClusterCreated")
        await world.runs(runner)
        status = await says(world, "Running")
        assert (status["jobRunnerPodName"], status["clusterName"]) == ("simple-job-runner", "simple-job")
        await world.ends(runner, code=0)
        status = await says(world, "Successful")
        assert status["startTime"] <= status["endTime"]
        await world.is_gone(DASK_CLUSTER, "simple-job")
        await world.told(world.job, "Complete", "True", "RunnerSucceeded")
        await world.told(world.job, "Progressing", "False", "Finished")
        assert (await world.runner())["metadata"]["uid"] == runner["metadata"]["uid"]


async def test_a_failure_under_never_is_the_jobs(world: World, serve: Serve) -> None:
    """The runner and its log stay, the cluster goes, and the reason is told."""
    async with serve():
        await world.make(seed_job(restartPolicy="Never"))
        runner = await world.runner()
        await world.runs(runner)
        await world.ends(runner, code=3)
        await says(world, "Failed")
        told = await world.told(world.job, "Failed", "True", "RunnerFailed")
        assert "exit code 3" in told["message"]
        await world.is_gone(DASK_CLUSTER, "simple-job")
        assert (await world.runner())["metadata"]["uid"] == runner["metadata"]["uid"]


async def test_a_runner_that_was_deleted_is_made_again(world: World, serve: Serve) -> None:
    """It is not taken for one that succeeded."""
    async with serve():
        await world.make(seed_job())
        first = await world.runner()
        await world.runs(first)
        await says(world, "Running")
        await world.removed(first)

        async def another() -> Json | None:
            found = await world.runner()
            return found if found["metadata"]["uid"] != first["metadata"]["uid"] else None

        second = await world.until(another, "another runner")
        await world.told(world.job, "RunnerReplaced", "True", "RunnerLost")
        assert (await status_of(world))["jobStatus"] == "Running"
        await world.runs(second)
        await world.ends(second, code=0)
        await says(world, "Successful")


async def test_each_loss_is_counted_once(world: World, serve: Serve, faults: Faults, through: Client) -> None:
    """What the status says of a runner goes with it: else its loss would be counted, and written, in each pass."""
    async with serve(client=through):
        await world.make(seed_job())
        for _ in range(2):
            runner = await world.runner()
            await world.until(partial(is_known, world, runner["metadata"]["uid"]), "the runner is known")
            await world.removed(runner)
        assert (await world.until(lambda: lost(world, 2), "two losses")).keys() == {"early", "lost"}
        before = status_patches(faults)
        await asyncio.sleep(3.0)
        assert await lost(world, 2)
        assert status_patches(faults) - before <= 2
        assert await world.pods("job-runner") == [], "the third one has to wait"


async def lost(world: World, times: int) -> Json | None:
    """What the status says of runners once so many were lost, and none is there."""
    runner: Json = (await status_of(world)).get("runner", {})
    return runner if runner.get("early") == times and "uid" not in runner else None


async def is_known(world: World, uid: str) -> bool:
    return bool((await status_of(world)).get("runner", {}).get("uid") == uid)


def status_patches(faults: Faults) -> int:
    """How often the operator has written the job's status."""
    return sum(met.method == "PATCH" and met.path.endswith("/simple-job/status") for met in faults.requests)


async def test_one_that_was_evicted_is_made_again(world: World, serve: Serve) -> None:
    """A failed Pod is not a failed program: the kubelet needed the room. Under Never too."""
    async with serve():
        await world.make(seed_job(restartPolicy="Never"))
        first = await world.runner()
        await world.runs(first)
        disrupted = [{"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"}]
        low = "The node was low on resource: memory."
        await world.ends(first, code=137, reason="Evicted", message=low, conditions=disrupted)

        async def another() -> Json | None:
            found = await world.runner()
            return found if found["metadata"]["uid"] != first["metadata"]["uid"] else None

        await world.until(another, "another runner")
        told = await world.told(world.job, "RunnerReplaced", "True", "RunnerLost")
        assert "low on resource: memory" in told["message"]


async def test_an_end_is_final(world: World, serve: Serve) -> None:
    """The runner deleted after it, an operator that begins anew: nothing is made again, the word stays."""
    async with serve():
        await world.make(seed_job())
        runner = await world.runner()
        await world.ends(runner, code=0)
        await says(world, "Successful")
        await world.is_gone(DASK_CLUSTER, "simple-job")
    await world.removed(runner)
    async with serve():
        await asyncio.sleep(1.0)
        assert await world.pods("job-runner") == []
        with pytest.raises(Missing):
            await world.cluster("simple-job")
        assert (await status_of(world))["jobStatus"] == "Successful"


async def test_the_end_is_written_before_the_cluster_goes(apiserver: ApiServer, world: World, serve: Serve) -> None:
    """While the API server does not take the word, nothing is taken away; then both happen."""
    async with Faults(await apiserver.log_in()) as faults, Client(faults.credentials()) as client, serve(client=client):
        await world.make(seed_job())
        runner = await world.runner()
        await world.runs(runner)
        await says(world, "Running")
        faults.trouble = only(lambda request: request.path.endswith("simple-job/status"), kube_says(500, times=10_000))
        await world.ends(runner, code=0)
        await asyncio.sleep(2.0)
        there = (await world.client.list(DASK_CLUSTER, world.namespace))["items"]
        assert [each["metadata"].get("deletionTimestamp") for each in there] == [None], "nothing is taken away yet"
        assert (await status_of(world))["jobStatus"] == "Running"
        faults.trouble = None
        await says(world, "Successful")
        await world.is_gone(DASK_CLUSTER, "simple-job")


async def test_a_runner_that_cannot_be_made_is_told(world: World, serve: Serve) -> None:
    """The API server's sentence, one Event, no hot loop."""
    bad = [{"name": "job", "image": "x", "imagePullPolicy": "Sometimes"}]
    async with serve() as operator:
        await world.make(seed_job(containers=bad))
        told = await world.told(world.job, "Degraded", "True", "Invalid")
        assert "imagePullPolicy" in told["message"]
        await asyncio.sleep(1.0)  # its cluster has come to rest meanwhile
        passes = operator.loop.passes
        await asyncio.sleep(1.5)
        assert operator.loop.passes - passes < 12
        events = await world.client.list(EVENT, world.namespace, fields="reason=Invalid")
        assert [item.get("series") for item in events["items"]] == [None]


async def test_a_taken_runner_name_is_told_and_left_alone(world: World, serve: Serve) -> None:
    """Somebody else's Pod of that name."""
    theirs = await world.make(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "simple-job-runner"},
            "spec": {"containers": [{"name": "x", "image": "x"}]},
        }
    )
    async with serve():
        await world.make(seed_job())
        told = await world.told(world.job, "Degraded", "True", "NameTaken")
        assert "simple-job-runner" in told["message"]
        now = await world.client.get(POD, world.namespace, "simple-job-runner")
        assert now["metadata"]["resourceVersion"] == theirs["metadata"]["resourceVersion"]


async def test_no_program_works_in_a_cluster_of_somebody_else(world: World, serve: Serve) -> None:
    """A DaskCluster of the job's name that is not the job's: told, kept, and no runner is made."""
    foreign = seed_job()["spec"]["cluster"]["spec"]
    theirs = await world.make(
        {
            "apiVersion": "kubernetes.dask.org/v1",
            "kind": "DaskCluster",
            "metadata": {"name": "simple-job"},
            "spec": foreign,
        }
    )
    async with serve():
        await world.make(seed_job())
        told = await world.told(world.job, "Degraded", "True", "NameTaken")
        assert "DaskCluster" in told["message"]
        await asyncio.sleep(0.5)
        assert await world.pods("job-runner") == []
    assert (await world.cluster("simple-job"))["metadata"]["uid"] == theirs["metadata"]["uid"]


async def test_its_clusters_trouble_is_the_jobs(world: World, serve: Serve) -> None:
    """What the scheduler's Pod suffers from is told where the user looks."""
    manifest = seed_job()
    manifest["spec"]["cluster"]["spec"]["scheduler"]["spec"]["containers"][0]["imagePullPolicy"] = "Sometimes"
    async with serve():
        await world.make(manifest)
        await world.told(world.job, "Degraded", "True", "Invalid")


async def test_nothing_is_made_for_a_job_that_goes(world: World, serve: Serve) -> None:
    """While a finalizer of somebody else holds it."""
    manifest = seed_job()
    manifest["metadata"]["finalizers"] = ["example.org/keep"]
    async with serve():
        await world.make(manifest)
        runner = await world.runner()
        await world.client.delete(DASK_JOB, world.namespace, "simple-job")
        await world.client.delete(DASK_CLUSTER, world.namespace, "simple-job")
        await world.removed(runner)
        await asyncio.sleep(1.0)
        assert await world.pods("job-runner") == []
    await world.client.patch(DASK_JOB, world.namespace, "simple-job", {"metadata": {"finalizers": None}})


async def test_labels_and_annotations_go_down(world: World, serve: Serve) -> None:
    """From the job to its runner and its cluster, and on to the cluster's children; reserved ones win."""
    manifest = seed_job()
    manifest["metadata"] |= {
        "labels": {"team": "blue", "dask.org/component": "boss"},
        "annotations": {"hello": "world"},
    }
    manifest["spec"]["job"]["metadata"] = {"labels": {"team": "red"}, "annotations": {"only": "runner"}}
    manifest["spec"]["cluster"]["metadata"] = {"labels": {"only": "cluster"}}
    async with serve():
        await world.make(manifest)
        runner = (await world.runner())["metadata"]
        cluster = (await world.cluster("simple-job"))["metadata"]
        for worker in await world.workers(2):
            assert {"team": "blue", "only": "cluster"}.items() <= worker["metadata"]["labels"].items()
            assert worker["metadata"]["annotations"]["hello"] == "world"
    assert runner["labels"] == {
        "team": "red",
        "dask.org/cluster-name": "simple-job",
        "dask.org/component": "job-runner",
    }
    assert runner["annotations"] == {"hello": "world", "only": "runner", **MUST_STAY}
    assert cluster["labels"] == {"team": "blue", "only": "cluster"}


async def test_a_job_of_another_controller_is_left_alone(world: World, serve: Serve) -> None:
    """``spec.managedBy``, as in a Job of Kubernetes' own."""
    manifest = seed_job()
    manifest["spec"]["managedBy"] = "example.org/queue"
    async with serve():
        await world.make(manifest)
        await asyncio.sleep(0.7)
    assert "status" not in await world.job()
    assert await world.pods("job-runner") == []


async def test_edits_of_a_job_that_has_begun_are_refused(world: World, serve: Serve) -> None:
    """Each with a sentence that says what to do; in Kubernetes' own fields too."""
    async with serve():
        await world.make(seed_job())
        await says(world, "ClusterCreated")
    image = {"spec": {"job": {"spec": {"containers": [{"name": "job", "image": "other"}]}}}}
    with pytest.raises(Invalid, match="delete the job and make another one"):
        await world.client.patch(DASK_JOB, world.namespace, "simple-job", image)
    replicas = {"spec": {"cluster": {"spec": {"worker": {"replicas": 9}}}}}
    with pytest.raises(Invalid, match="scale its workers with kubectl scale daskcluster"):
        await world.client.patch(DASK_JOB, world.namespace, "simple-job", replicas)


async def test_an_edit_that_is_overlooked_is_told(world: World, serve: Serve) -> None:
    """An API server that compares open objects by the number of their fields lets one be exchanged for another."""
    async with serve():
        await world.make(seed_job())
        runner = await world.runner()
        await says(world, "ClusterCreated")
        (container,) = (await world.job())["spec"]["job"]["spec"]["containers"]
        other = {**{key: each for key, each in container.items() if key != "args"}, "command": ["true"]}
        patch = {"spec": {"job": {"spec": {"containers": [other]}}}}
        await world.client.patch(DASK_JOB, world.namespace, "simple-job", patch)
        await world.told(world.job, "Degraded", "True", "SpecChanged")
        await world.removed(runner)
        await asyncio.sleep(1.0)
        assert await world.pods("job-runner") == []
