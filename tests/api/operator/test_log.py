"""What the operator's process logs: calm lines that a machine can read, each with the object that it is about."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

from aiohttp import web

from dask_k8s import names
from tests.api.conftest import ApiServer
from tests.api.operator.conftest import World, seed_cluster
from tests.api.processes import Running, operator, proxied

AWAY = 12.0
"""Seconds: long enough for three renewals of a Lease, and for many attempts to watch."""

OF_THE_PROCESS = {"Stopping"}


def lines(running: Running) -> list[dict[str, Any]]:
    """Each line, parsed."""
    return [json.loads(line) for line in running.log.read_text().splitlines()]


async def no_api_server(_: web.Request) -> web.StreamResponse:
    """What a load balancer says in front of nothing."""
    return web.Response(status=503, text="no upstream")


async def test_each_line_names_what_it_is_about(world: World, apiserver: ApiServer, tmp_path: Path) -> None:
    """In JSON with kind, namespace, name and uid; twenty Pods are one line, and an API server that is away is few."""
    arguments = ["-n", world.namespace, "--log-format=json"]
    async with (
        proxied(apiserver, tmp_path) as (faults, kubeconfig),
        operator(tmp_path, kubeconfig, *arguments) as running,
    ):
        await running.says("Serving")
        made = await world.make(seed_cluster())
        await world.workers(2)
        await world.scale(20)
        await world.workers(20)
        await running.says("18 Pods")
        quiet = len(lines(running))

        faults.trouble = no_api_server
        faults.cut()
        await asyncio.sleep(AWAY)
        away = lines(running)[quiet:]
        faults.trouble = None
        await running.answers("/readyz", 200)
        running.process.send_signal(signal.SIGTERM)
        assert await running.ends() == 0
        told = lines(running)

    for line in told:
        assert {"message", "timestamp", "severity"} <= line.keys()
        assert line["message"] in OF_THE_PROCESS or {"apiVersion", "kind"} <= line["object"].keys(), line
    for kind, lines_of_it in (("DaskCluster", of_kind(told, names.CLUSTER)), ("Lease", of_kind(told, "Lease"))):
        assert any({"namespace", "name"} <= line["object"].keys() for line in lines_of_it), kind
    about = {"apiVersion": names.API_VERSION, "kind": names.CLUSTER, "namespace": world.namespace, "name": "simple"}
    exactly = {**about, "uid": made["metadata"]["uid"]}
    assert any("Created Pod simple-scheduler" in line["message"] for line in told if line.get("object") == exactly)
    workers = [line for line in of_kind(told, names.WORKER_GROUP) if "Created" in line["message"]]
    assert 2 <= len(workers) <= 4, "a line for each pass, and not for each Pod"
    said = [(line["message"], str(line["object"])) for line in away]
    assert len(set(said)) == len(said), "something is said again and again"
    assert len(said) < 20


def of_kind(told: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The lines about objects of a kind."""
    return [line for line in told if line.get("object", {}).get("kind") == kind]
