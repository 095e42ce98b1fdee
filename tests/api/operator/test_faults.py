"""What the operator does when the API server, or what lies between, does something wrong: one fault at a time.

All of them at once, by chance, are the soak's (``tests/faults``).
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from dask_k8s import names
from dask_k8s.kube import calls
from dask_k8s.kube.client import Client
from dask_k8s.kube.resources import DASK_CLUSTER, DASK_WORKER_GROUP, LEASE, NAMESPACE, POD
from tests.api.conftest import own_namespace
from tests.api.operator.conftest import Serve, World, is_missed, quiet, seed_cluster, without
from tests.faults.proxy import Faults, Met, first, only, says


def makes_a_pod(request: web.Request | Met) -> bool:
    return request.method == "POST" and request.path.endswith("/pods")


def made(faults: Faults) -> int:
    """How often the operator has asked for a Pod."""
    return sum(map(makes_a_pod, faults.requests))


async def test_all_is_listed_once_at_the_beginning(serve: Serve, faults: Faults, through: Client) -> None:
    """Not once for the caches and once more since the Lease is held: ten thousand Pods take seconds."""
    async with serve(client=through):
        asked = Counter(calls.of(met.method, met.path) for met in faults.requests if "watch" not in met.query)
        lists = {call.resource: times for call, times in asked.items() if call.verb == "list"}
        assert {"pods", "daskclusters", "daskworkergroups", "leases"} <= lists.keys()
        assert set(lists.values()) == {1}


async def test_a_lost_reply_makes_no_second_pod(world: World, serve: Serve, faults: Faults, through: Client) -> None:
    """The first five Pods are made, and nobody hears of it: they are asked for again under their names."""
    async with serve(client=through):
        await world.make(seed_cluster())
        await world.workers(2)
        faults.trouble = only(makes_a_pod, first(5, faults.loses_reply))
        await world.scale(8)
        await world.workers(8)
        await quiet(faults)
        assert len(await world.pods()) == 8


async def test_a_refusal_after_a_lost_reply_makes_no_second_pod(
    world: World, serve: Serve, faults: Faults, through: Client
) -> None:
    """It is there, and no event tells of it: that a quota refuses it when it is asked for again says nothing else."""
    asked = list[str]()

    async def trouble(request: web.Request) -> web.StreamResponse | None:
        asked.append((await request.json())["metadata"]["name"])
        answers = [faults.loses_reply, says(403, json.dumps(FULL).encode())]
        return await answers[len(asked) - 1](request) if len(asked) <= len(answers) else None

    async with serve(client=through):
        await world.make(seed_cluster())
        await world.workers(2)
        faults.lines, faults.trouble = without("/pods"), only(makes_a_pod, trouble)
        await world.scale(3)
        await world.until(lambda: tells(world, 3), "a list has found it", within=60)
        assert len(asked) >= 2
        assert len(set(asked)) == 1
        assert len(await world.pods()) == 3


async def test_whose_a_taken_name_is_can_be_asked_again(
    world: World, serve: Serve, faults: Faults, through: Client
) -> None:
    """The question for its owner fails once: until it is answered nobody knows whether the scheduler is there."""
    theirs = {"name": "simple-scheduler", "namespace": world.namespace}
    pod = {"containers": [{"name": "theirs", "image": "x"}]}
    await world.client.create({"apiVersion": "v1", "kind": "Pod", "metadata": theirs, "spec": pod})
    async with serve(client=through):
        faults.trouble = only(lambda met: met.path.endswith("/pods/simple-scheduler"), first(1, says(503)))
        await world.make(seed_cluster())
        await world.condition("Degraded", status="True", reason="NameTaken")
    assert sum(met.path.endswith("/pods/simple-scheduler") for met in faults.requests) >= 2


async def test_a_pod_that_no_event_tells_of_is_not_made_twice(
    world: World, serve: Serve, faults: Faults, through: Client
) -> None:
    """What was written and not yet seen counts: here nothing is seen, until a list is asked for."""
    async with serve(client=through):
        await world.make(seed_cluster())
        await world.workers(2)
        faults.lines = without("/pods")
        await world.scale(5)
        await world.workers(5)
        await world.scale(6)
        await world.workers(6)
        await world.until(lambda: tells(world, 6), "a list has found them")
        assert len(await world.pods()) == 6
        assert made(faults) == 7  # with the scheduler's


async def test_a_new_leader_lists_before_it_writes(world: World, serve: Serve, faults: Faults, through: Client) -> None:
    """While it was a standby, the Pods that the other one made were not told to it."""
    async with AsyncExitStack() as both:
        async with serve():
            second = await both.enter_async_context(serve(client=through, leads=False))
            faults.lines = without("/pods")
            await world.make(seed_cluster())
            await world.workers(2)
        await second.serving.wait()
        await quiet(faults)
        assert made(faults) == 0
        await world.workers(2)


async def tells(world: World, replicas: int) -> bool:
    return bool((await world.group())["status"]["replicas"] == replicas)


async def test_a_full_quota_is_no_hot_loop(world: World, serve: Serve, faults: Faults, through: Client) -> None:
    """Forty workers are asked for where two more may be: few requests are refused, and the condition says by what."""
    async with serve(client=through):
        await world.make(seed_cluster())
        await world.workers(2)
        before, left = made(faults), 2

        async def full(request: web.Request) -> web.StreamResponse | None:
            nonlocal left
            left -= 1
            return None if left >= 0 else web.json_response(FULL, status=403)

        faults.trouble = only(makes_a_pod, full)
        await world.scale(40)
        told = await world.condition("Degraded", status="True", reason="Forbidden", group="simple-default")
        assert "exceeded quota: small" in told["message"]
        assert len(await world.pods()) == 4
        assert made(faults) - before <= 1 + 2 + 1, "one, two of which one is refused, and one more attempt at most"


async def test_what_is_refused_is_tried_again_though_it_is_refused_with_the_same_words(
    world: World, serve: Serve, faults: Faults, through: Client
) -> None:
    """No event comes where an administrator has given a right, or raised a quota."""
    async with serve(client=through):
        forbids = says(403, json.dumps(FULL).encode(), times=10**6, headers={"Content-Type": "application/json"})
        faults.trouble = only(makes_a_pod, forbids)
        await world.make(seed_cluster())

        async def thrice() -> bool:
            return made(faults) == 3

        await world.until(thrice, "the third attempt, six seconds after the first")
        faults.trouble = None
        await world.until(lambda: world.pods("scheduler"), "the scheduler's Pod")


FULL = {
    "kind": "Status",
    "status": "Failure",
    "code": 403,
    "reason": "Forbidden",
    "message": 'pods "simple-default-worker" is forbidden: exceeded quota: small, requested: pods=1, limited: pods=5',
}


async def test_a_refusal_that_matters_no_more_is_not_told_for_ever(
    world: World, serve: Serve, faults: Faults, through: Client
) -> None:
    """The worker that could not be made has come as an orphan, or is not asked for any more."""
    async with serve(client=through):
        await world.make(seed_cluster())
        labels = (await world.workers(2))[0]["metadata"]["labels"]
        forbids = says(403, json.dumps(FULL).encode(), times=10**6, headers={"Content-Type": "application/json"})
        faults.trouble = only(makes_a_pod, forbids)
        await world.scale(3)
        await world.condition("Degraded", status="True", reason="Forbidden", group="simple-default")
        container = {"name": "worker", "image": "dask"}
        orphan = {"metadata": {"name": "orphan", "labels": labels}, "spec": {"containers": [container]}}
        await world.make({"apiVersion": "v1", "kind": "Pod", **orphan})
        await world.condition("Degraded", status="False", reason="AsExpected", group="simple-default")
        await world.scale(4)
        await world.condition("Degraded", status="True", reason="Forbidden", group="simple-default")
        await world.scale(3)
        await world.condition("Degraded", status="False", reason="AsExpected", group="simple-default")
        assert len(await world.pods()) == 3


async def test_an_api_server_that_was_away_is_caught_up_with(
    world: World, serve: Serve, faults: Faults, through: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """What was asked for meanwhile is there seconds after its return; the log says once that it is away."""
    caplog.set_level(logging.INFO, logger="dask_k8s")
    async with serve(client=through):
        await world.make(seed_cluster())
        await world.workers(2)
        caplog.clear()

        async def nobody(request: web.Request) -> web.StreamResponse:
            assert request.transport is not None
            request.transport.abort()
            return web.Response(status=502)

        faults.trouble = nobody
        faults.cut()
        await world.scale(4)
        await asyncio.sleep(12)
        said = [record.message for record in caplog.records if record.levelno >= logging.INFO]
        assert len(said) == len(set(said)), "nothing is said twice"
        assert len(said) <= 12, "a line for the Lease, and one for each kind of object"
        faults.trouble = None
        await world.until(lambda: count(world, 4), "four workers", within=8)


async def count(world: World, workers: int) -> bool:
    return len(await world.pods()) == workers


async def test_a_busy_api_server_gets_the_time_that_it_asks_for(
    world: World, serve: Serve, faults: Faults, through: Client
) -> None:
    """A 429 that names two seconds is no reason to ask again after 50 ms."""
    async with serve(client=through):
        await world.make(seed_cluster())
        await world.workers(2)
        before = made(faults)
        busy = says(429, json.dumps(TOO_MANY).encode(), headers={"Retry-After": "2"})
        faults.trouble = only(makes_a_pod, busy)
        await world.scale(3)
        await world.workers(3)
        first, second = [met.at for met in faults.requests if makes_a_pod(met)][before:]
        assert second - first >= 2


TOO_MANY = {"kind": "Status", "status": "Failure", "code": 429, "reason": "TooManyRequests", "message": "too many"}


async def test_a_namespace_that_goes_is_left_alone(world: World, serve: Serve, faults: Faults, through: Client) -> None:
    """Its API server refuses every new object: that is tried less and less often, and keeps nobody else waiting."""
    async with serve(client=through):
        await world.make(seed_cluster())
        await world.workers(2)
        await world.client.delete(NAMESPACE, None, world.namespace)
        await world.scale(4)
        await world.condition("Degraded", status="True", reason="Forbidden", group="simple-default")
        before = made(faults)
        await asyncio.sleep(5)
        assert made(faults) - before <= 2


async def test_a_namespace_that_cannot_be_listed_keeps_no_other_waiting(
    world: World, serve: Serve, faults: Faults, through: Client
) -> None:
    """It may be gone with its RoleBinding: the others are served all the same, and it is once it can be listed."""
    async with own_namespace(world.client) as name:
        other = World(world.client, name)
        forbids = says(403, json.dumps(FORBIDDEN).encode(), times=10**6)
        faults.trouble = only(lambda request: f"/namespaces/{name}/" in request.path, forbids)
        async with serve(client=through, also=(name,)):
            for each in (world, other):
                await each.make(seed_cluster())
            await world.workers(2)
            # A list decides here what no event confirms, and the other namespace's lists are waited for in vain.
            faults.lines = without("/pods")
            await world.scale(3)
            await world.until(lambda: tells(world, 3), "a list has found it", within=60)
            assert await other.pods("scheduler") == []
            faults.lines = None
            faults.frozen = True
            await asyncio.sleep(6)  # the Lease is lost meanwhile
            faults.frozen = False
            await world.scale(4)
            await world.workers(4)
            assert await other.pods("scheduler") == []
            faults.trouble = None
            await other.until(lambda: count(other, 2), "it is served, too", within=60)


FORBIDDEN = {"kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden", "message": "no RoleBinding"}


async def test_pods_that_stay_terminating_hold_nothing_up(
    world: World, serve: Serve, faults: Faults, through: Client
) -> None:
    """As on a node that is gone: a worker is replaced, a deleted cluster's rest is asked to go once, and left alone."""
    async with serve(client=through):
        manifest = seed_cluster()
        manifest["spec"]["worker"]["spec"]["nodeName"] = "gone"
        await world.make(manifest)
        stuck = (await world.workers(2))[0]["metadata"]["name"]
        await world.client.delete(POD, world.namespace, stuck)
        await world.until(lambda: new_workers(world, stuck), "another one in its place")
        assert "deletionTimestamp" in (await world.client.get(POD, world.namespace, stuck))["metadata"]
        await world.condition("Progressing", status="True", reason="Starting", group="simple-default")
        await world.client.delete(DASK_CLUSTER, world.namespace, "simple")
        await world.client.delete(DASK_WORKER_GROUP, world.namespace, "simple-default")  # nobody collects garbage here
        await world.workers(0)
        await quiet(faults, 3.0)
        deletions = Counter(met.path for met in faults.requests if met.method == "DELETE" and "/pods/" in met.path)
        assert set(deletions.values()) == {1}


async def new_workers(world: World, stuck: str) -> bool:
    there = [pod["metadata"]["name"] for pod in await world.pods()]
    return len(there) == 2 and stuck not in there


async def test_a_cluster_that_waits_for_its_children_gets_no_new_ones(
    world: World, serve: Serve, faults: Faults, through: Client
) -> None:
    """Deleted in the foreground it stays until they are gone: none of them is made anew meanwhile."""
    async with serve(client=through):
        await world.make(seed_cluster())
        pods = await world.workers(2)
        before = made(faults)
        await world.client.delete(DASK_CLUSTER, world.namespace, "simple", propagation="Foreground")
        assert "deletionTimestamp" in (await world.cluster())["metadata"]
        for pod in (*pods, *await world.pods("scheduler")):
            await world.removed(pod)
        await world.client.delete(DASK_WORKER_GROUP, world.namespace, "simple-default")
        await quiet(faults)
        assert made(faults) == before
        assert await world.pods() == []


async def test_a_write_that_is_never_answered_holds_up_no_other_key(
    world: World, serve: Serve, faults: Faults, through: Client
) -> None:
    """It is given up after five seconds; another cluster does not notice."""

    async def freezes(request: web.Request) -> web.StreamResponse | None:
        if makes_a_pod(request) and b'"simple-default"' in await request.read():
            await asyncio.sleep(3600)
        return None

    async with serve(client=through):
        faults.trouble = freezes
        await world.make(seed_cluster())
        other = seed_cluster()
        began = datetime.now(UTC)
        await world.make({**other, "metadata": {**other["metadata"], "name": "other"}})
        await world.workers(2)
        assert datetime.now(UTC) - began < timedelta(seconds=5)
        faults.trouble = None
        await world.workers(4)


async def test_kinds_that_were_removed_and_come_back_are_served_again(
    world: World, serve: Serve, faults: Faults, through: Client
) -> None:
    """To the operator a kind that is gone is a 404; what it knew of it is gone, too, and no Pod is touched for that."""

    def of_groups(request: web.Request) -> bool:
        return "/daskworkergroups" in request.path

    async with serve(client=through) as operator:
        await world.make(seed_cluster())
        await world.workers(2)
        faults.trouble = only(of_groups, says(404, b"404 page not found", times=10**6))
        faults.cut()
        await world.until(lambda: is_missed(operator.caches.troubles()), "the trouble is known")
        assert len(await world.pods()) == 2
        faults.trouble = None
        await world.scale(3)
        await world.workers(3)


async def test_who_ends_with_writes_on_their_way_keeps_the_lease_for_them(
    world: World, serve: Serve, faults: Faults, through: Client
) -> None:
    """The API server may carry one out that nobody waits for any more: until then nobody else may lead."""
    on_its_way = asyncio.Event()

    async def slow(request: web.Request) -> None:
        on_its_way.set()
        await asyncio.sleep(3)

    async with serve(client=through):
        await world.make(seed_cluster())
        await world.workers(2)
        faults.trouble = only(makes_a_pod, slow)
        await world.scale(3)
        await on_its_way.wait()
    lease = await world.client.get(LEASE, world.namespace, names.OPERATOR)
    assert lease["spec"]["holderIdentity"]
