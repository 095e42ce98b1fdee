"""``python -m dask_k8s.operator`` as a process: what it says, what it answers, how it ends."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from dask_k8s import names
from dask_k8s.errors import Missing
from dask_k8s.kube.client import Client
from dask_k8s.kube.resources import LEASE
from dask_k8s.operator.__main__ import run as run_deployed
from dask_k8s.operator.deployed import Options, serve
from dask_k8s.operator.engine.election import Election
from tests.api.conftest import ApiServer
from tests.api.processes import ENDS_WITHIN, WITHIN, asked, free_port, operator, own_kubeconfig, proxied


async def lease(client: Client, namespace: str) -> dict[str, Any]:
    return await client.get(LEASE, namespace, names.OPERATOR)


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WITHIN):
        while not await holds():
            await asyncio.sleep(0.1)


@pytest.mark.usefixtures("crds")
async def test_it_serves_until_a_signal_and_gives_the_lease_back(
    apiserver: ApiServer, client: Client, namespace: str, tmp_path: Path
) -> None:
    """Probes are good, the Lease says whom it serves; SIGTERM ends it with code 0, and the Lease is free at once."""
    arguments = ["-n", namespace, "--log-format=json", *own_kubeconfig(apiserver)]
    async with operator(tmp_path, apiserver.kubeconfig, *arguments) as running:
        assert await running.answers("/readyz", 200) == "ok\n"
        assert await running.answers("/livez", 200) == "ok\n"
        await running.says("Serving")
        held = await lease(client, namespace)
        assert held["metadata"]["annotations"] == {names.SERVED_NAMESPACES: namespace}
        assert re.fullmatch(re.escape(socket.gethostname()) + "-[0-9a-f]{8}", held["spec"]["holderIdentity"])

        running.process.send_signal(signal.SIGTERM)
        assert await running.ends() == 0
        assert not (await lease(client, namespace))["spec"].get("holderIdentity")
        lines = [json.loads(line) for line in running.log.read_text().splitlines()]
        assert [line["severity"] for line in lines] == ["info"] * len(lines)
        assert [line["message"] for line in lines][-2:] == ["Serving", "Stopping"]


@pytest.mark.usefixtures("crds")
async def test_a_standby_is_ready_and_takes_over(apiserver: ApiServer, client: Client, namespace: str) -> None:
    """The second of two is ready without the Lease, and holds it as soon as the first has ended."""
    options = Options(namespaces=(namespace,), kubeconfig=apiserver.kubeconfig, context=apiserver.context)

    async def holder() -> str:
        return str((await lease(client, namespace))["spec"].get("holderIdentity") or "")

    async with deployed(options) as (_, end_first):
        await eventually(lambda: is_there(client, namespace))
        held_by = await holder()
        async with deployed(options) as (second, _):
            await eventually(lambda: is_ready(second))
            assert await holder() == held_by

            await end_first()

            async def taken_over() -> bool:
                return await holder() not in ("", held_by)

            await eventually(taken_over)


@pytest.mark.usefixtures("crds")
async def test_metrics_are_answered_beside_the_probes(apiserver: ApiServer, client: Client, namespace: str) -> None:
    """Who leads, how far the caches are, and what the API server was asked, as Prometheus parses it."""
    options = Options(namespaces=(namespace,), kubeconfig=apiserver.kubeconfig, context=apiserver.context)
    async with deployed(options) as (address, _):
        found: dict[tuple[str, ...], float] = {}

        async def serves() -> bool:
            found.update(await metrics(address))
            return found["dask_operator_serving", namespace] == 1

        await eventually(lambda: is_ready(address))
        await eventually(serves)
        assert found["dask_operator_leader",] == 1
        for kind in (names.CLUSTER, "Pod", "Lease", "Node"):
            place = "" if kind == "Node" else namespace
            assert found["dask_operator_watch_in_step", kind, place] == 1
            assert found["dask_operator_watch_age_seconds", kind, place] < WITHIN
            assert found["dask_operator_relists_total", kind, place] >= 1
        assert found["dask_operator_objects", "Lease"] == 0  # the operator's own is none that it watches
        for code, verb in (("200", "list"), ("200", "watch"), ("404", "get"), ("201", "create")):
            assert found["dask_operator_api_requests_total", code, verb] >= 1
        assert found["process_resident_memory_bytes",] > 1e7


async def metrics(address: str) -> dict[tuple[str, ...], float]:
    """What is exposed, by name and the values of the labels in the order of their names."""
    status, text = await asked(address + "/metrics")
    assert status == 200
    return {
        (sample.name, *(text for _, text in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@asynccontextmanager
async def deployed(options: Options) -> AsyncIterator[tuple[str, Callable[[], Awaitable[None]]]]:
    """An operator in this process: the address of its probes, and what ends it."""
    port, stop = free_port(), asyncio.Event()
    task = asyncio.create_task(serve(replace(options, probes_port=port), stop))

    async def end() -> None:
        stop.set()
        async with asyncio.timeout(ENDS_WITHIN):
            await task

    try:
        yield f"http://127.0.0.1:{port}", end
    finally:
        await end()


async def is_there(client: Client, namespace: str) -> bool:
    try:
        await lease(client, namespace)
    except Missing:
        return False
    return True


async def is_ready(probes: str) -> bool:
    return (await asked(probes + "/readyz"))[0] == 200


async def not_installed(request: web.Request) -> web.StreamResponse | None:
    """What an API server says to the kinds before their CRDs are there."""
    return web.Response(status=404, text="404 page not found") if names.GROUP in request.path else None


@pytest.mark.usefixtures("crds")
async def test_it_starts_before_the_kinds_are_there_and_goes_on_when_they_come(
    apiserver: ApiServer, client: Client, namespace: str, tmp_path: Path
) -> None:
    """It holds the Lease, lives, is not ready and says why; then it serves, in the same process.

    All requests are ours meanwhile: kopf's would carry its own name, and what they meet could end the process.
    """
    async with proxied(apiserver, tmp_path) as (faults, kubeconfig):
        faults.trouble = not_installed
        async with operator(tmp_path, kubeconfig, "-n", namespace) as running:
            text = await running.answers("/readyz", 503)
            await running.answers("/livez", 200)

            async def told() -> bool:
                return "is its CRD installed?" in (await running.ask("/readyz"))[1]

            await eventually(told)

            await running.says("Holding the Lease")
            assert "daskclusters.kubernetes.dask.org" in text
            assert "Serving" not in running.log.read_text()

            faults.trouble = None
            await running.answers("/readyz", 200)
            await running.says("Serving")
            running.process.send_signal(signal.SIGTERM)
            assert await running.ends() == 0
        assert {request.agent.partition("/")[0] for request in faults.requests} == {"dask-k8s"}


async def test_a_signal_ends_it_while_no_api_server_answers(tmp_path: Path) -> None:
    """It waits for the API server, alive and not ready, and needs none for its own end."""
    kubeconfig = tmp_path / "nowhere.kubeconfig"
    kubeconfig.write_text(
        "{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}], "
        "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:9'}}], users: [{name: u, user: {}}]}"
    )
    async with operator(tmp_path, str(kubeconfig), "-A") as running:
        await running.answers("/readyz", 503)
        await running.answers("/livez", 200)
        running.process.send_signal(signal.SIGTERM)
        assert await running.ends() == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        pytest.param(Options(namespaces=None, context="absent"), "gives no log-in", id="no such context"),
        pytest.param(Options(namespaces=None, kubeconfig="/nonexistent"), "There is no kubeconfig", id="no such file"),
    ],
)
def test_what_cannot_begin_ends_with_a_sentence(
    apiserver: ApiServer, caplog: pytest.LogCaptureFixture, options: Options, sentence: str
) -> None:
    """Exit code 1, no traceback."""
    assert run_deployed(replace(options, kubeconfig=options.kubeconfig or apiserver.kubeconfig)) == 1
    assert sentence in caplog.text
    assert "Traceback" not in caplog.text


def test_a_port_that_is_taken_is_told(apiserver: ApiServer, caplog: pytest.LogCaptureFixture) -> None:
    """Instead of an operator whose probes nobody answers."""
    with socket.create_server(("", 0)) as taken:
        port: int = taken.getsockname()[1]
        options = Options(namespaces=("default",), kubeconfig=apiserver.kubeconfig, context=apiserver.context)
        assert run_deployed(replace(options, probes_port=port)) == 1
    assert "address already in use" in caplog.text


def test_a_bug_ends_the_process(
    apiserver: ApiServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a code of its own and the traceback: a process that does nothing any more would look alive."""

    async def attempt(_: Election) -> bool:
        raise KeyError("a bug")

    monkeypatch.setattr(Election, "attempt", attempt)
    options = Options(namespaces=("default",), kubeconfig=apiserver.kubeconfig, context=apiserver.context)
    assert run_deployed(options) == 70
    assert "KeyError: 'a bug'" in caplog.text


async def test_a_failure_shows_the_operators_log(tmp_path: Path) -> None:
    """It is in a file that is gone when somebody reads of the failure."""

    async def fail() -> None:
        async with operator(tmp_path, str(tmp_path / "no-kubeconfig"), "-A") as running:
            await running.ends(WITHIN)
            raise LookupError

    with pytest.raises(LookupError) as failure:
        await fail()
    assert "no-kubeconfig" in failure.value.__notes__[0]
