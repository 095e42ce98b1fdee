"""The operator's Events, as the real API server takes them and kubectl shows them."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from dask_k8s import names
from dask_k8s.kinds.value import Ref
from dask_k8s.kube.resources import DASK_CLUSTER, EVENT, RECORDED_EVENT
from dask_k8s.operator.engine.recorder import Recorder, Sentence
from tests.api.conftest import ApiServer
from tests.api.operator.conftest import Json, Serve, World, seed_cluster

LONG = "n" * 253


def sentence(world: World, note: str, *, name: str = LONG) -> Sentence:
    """About a cluster, whether there is one or not: the API server does not look."""
    about = Ref(kind=names.CLUSTER, namespace=world.namespace, name=name, uid="7")
    return Sentence(
        about=about, api_version=names.API_VERSION, action="Reconcile", reason="Told", note=note, warning=True
    )


async def told(world: World, count: int) -> list[Json]:
    """Wait until there are so many Events; as they were written."""

    async def there() -> list[Json] | None:
        found = (await world.client.list(RECORDED_EVENT, world.namespace))["items"]
        return found if len(found) == count else None

    found: list[Json] = await world.until(there, f"{count} Events")
    return found


async def test_the_api_server_takes_what_is_long_and_what_goes_on(world: World) -> None:
    """The longest name of an object, more than the longest note; told again, it is a series that both groups show."""
    recorder = Recorder(world.client, controller=names.REPORTING_CONTROLLER, instance="i" * 200, limit=lambda: 5.0)
    writing = asyncio.create_task(recorder.run())
    try:
        recorder.tell(sentence(world, "é" * 2000))
        await told(world, 1)
        recorder.tell(sentence(world, "é" * 2000))

        async def again() -> bool:
            (event,) = (await world.client.list(EVENT, world.namespace, fields="reason=Told"))["items"]
            return bool(event.get("series"))

        await world.until(again, "a series")
    finally:
        writing.cancel()
        await asyncio.wait([writing])
    (event,) = (await world.client.list(EVENT, world.namespace))["items"]
    assert event["series"]["count"] == 2
    assert (event["source"], event["reportingComponent"]) == ({}, names.REPORTING_CONTROLLER)
    assert event["involvedObject"]["name"] == LONG
    assert (recorder.written, recorder.failed, recorder.dropped) == (2, 0, 0)


async def test_kubectl_shows_them(world: World, serve: Serve, apiserver: ApiServer) -> None:
    """``describe`` with reason, sentence and who said it; ``get events`` with an age."""
    if apiserver.bin is None:
        pytest.skip("kubectl is the user's own here")
    async with serve():
        await world.make(seed_cluster())
        await world.condition("Progressing", status="True", reason="SchedulerStarting")
        events = await world.until(lambda: about_the_cluster(world), "an Event")
    assert {event["reportingInstance"] for event in events} == {socket.gethostname()}
    described = await kubectl(apiserver, world, "describe", str(DASK_CLUSTER), "simple")
    listed = await kubectl(apiserver, world, "get", "events")
    for event in events:
        (line,) = [each for each in described.partition("Events:")[2].splitlines() if event["note"] in each]
        assert line.split()[:2] == [event["type"], event["reason"]]
        assert names.REPORTING_CONTROLLER in line
        assert "<unknown>" not in line
    assert "<unknown>" not in listed


async def about_the_cluster(world: World) -> list[Json]:
    """The Events that tell of it."""
    found = (await world.client.list(RECORDED_EVENT, world.namespace))["items"]
    return [event for event in found if event["regarding"]["kind"] == names.CLUSTER]


async def kubectl(apiserver: ApiServer, world: World, *arguments: str) -> str:
    """What it says."""
    assert apiserver.bin is not None
    process = await asyncio.create_subprocess_exec(
        str(Path(apiserver.bin, "kubectl")),
        f"--kubeconfig={apiserver.kubeconfig}",
        f"--namespace={world.namespace}",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()
    assert process.returncode == 0, error.decode()
    return out.decode()
