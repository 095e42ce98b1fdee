"""The cache against a real API server, with a proxy between that cuts, silences, garbles and refuses."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable

import pytest
from aiohttp import web

from dask_k8s.kinds.value import Manifest
from dask_k8s.kube.client import Client
from dask_k8s.kube.informer import CHUNK, Informer
from dask_k8s.kube.resources import CONFIG_MAP, CUSTOM_RESOURCE_DEFINITION, Resource
from tests.api.kube.conftest import MINE, Follower, config_map, is_list, is_watch, running, until
from tests.faults.proxy import Faults, only, says


async def test_it_follows(follower: Follower, client: Client, namespace: str) -> None:
    """What is made, changed and deleted is told in turn; what the selector leaves out is not."""
    await client.create(config_map(namespace, "a", "1"))
    await client.create({**config_map(namespace, "other"), "metadata": {"name": "other", "namespace": namespace}})
    await client.patch(CONFIG_MAP, namespace, "a", {"data": {"content": "2"}})
    await follower.shows(a="2")
    await client.delete(CONFIG_MAP, namespace, "a")
    await follower.shows()
    assert follower.told == [("added", "a"), ("changed", "a"), ("gone", "a")]


async def test_an_object_is_the_same_however_it_came(client: Client, namespace: str) -> None:
    """Lists leave out the kind and events do not; the cache has it either way."""
    await client.create(config_map(namespace, "listed"))
    follower = Follower(client, namespace)
    async with running(follower.informer):
        await follower.shows(listed="")
        await client.create(config_map(namespace, "watched"))
        await follower.shows(listed="", watched="")
        assert {(each["apiVersion"], each["kind"]) for each in follower.informer.values()} == {("v1", "ConfigMap")}


async def test_a_long_list_comes_in_chunks(client: Client, through: Client, faults: Faults, namespace: str) -> None:
    """More objects than a chunk holds; a token that expires in the middle begins the list again."""
    names = [f"n{number:04}" for number in range(CHUNK + 20)]
    async with asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(client.create(config_map(namespace, name)))
    faults.trouble = only(lambda request: "continue" in request.query, says(410, b"the token has expired"))
    follower = Follower(through, namespace)
    async with running(follower.informer):
        await until(follower.informer.synced.is_set)
    assert sorted(follower.content()) == names
    assert sorted(follower.told) == [("added", name) for name in names]
    assert follower.informer.relists == 1
    assert sum("continue" in request.query for request in faults.requests) == 2


async def test_what_happened_in_a_gap_is_told(
    follower: Follower, faults: Faults, client: Client, namespace: str
) -> None:
    """While nothing gets through: one goes, one changes, one comes, one is replaced by another of its name."""
    for name in ("goes", "changes", "replaced"):
        await client.create(config_map(namespace, name, "before"))
    await follower.shows(goes="before", changes="before", replaced="before")
    follower.told.clear()

    faults.trouble = says(503, times=10**6)
    faults.cut()
    await until(lambda: follower.informer.trouble is not None)
    await client.delete(CONFIG_MAP, namespace, "goes")
    await client.patch(CONFIG_MAP, namespace, "changes", {"data": {"content": "after"}})
    await client.delete(CONFIG_MAP, namespace, "replaced")
    await client.create(config_map(namespace, "replaced", "after"))
    await client.create(config_map(namespace, "comes", "after"))
    faults.trouble = only(is_watch, says(410))
    await follower.shows(changes="after", replaced="after", comes="after")
    await until(lambda: follower.informer.trouble is None)
    assert sorted(follower.told) == [
        ("added", "comes"),
        ("added", "replaced"),
        ("changed", "changes"),
        ("gone", "goes"),
        ("gone", "replaced"),
    ]
    assert follower.informer.relists == 2


async def test_a_cut_watch_goes_on_from_its_version(
    follower: Follower, faults: Faults, client: Client, namespace: str
) -> None:
    """A connection that breaks costs a watch, not a list."""
    await client.create(config_map(namespace, "a", "1"))
    await follower.shows(a="1")
    faults.cut()
    await client.create(config_map(namespace, "b", "2"))
    await follower.shows(a="1", b="2")
    assert follower.informer.relists == 1


ERROR_410 = json.dumps({"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}})
ERROR_500 = json.dumps({"type": "ERROR", "object": {"kind": "Status", "code": 500, "message": "oh"}})
LINES = {
    "410": ERROR_410,
    "500": ERROR_500,
    "no JSON": "{",
    "no object": '{"type":"ADDED"}',
    "no metadata": '{"type":"MODIFIED","object":{"kind":"ConfigMap"}}',
    "an unknown type": '{"type":"NEW","object":{"metadata":{"name":"a","uid":"1","resourceVersion":"1"}}}',
}


@pytest.mark.parametrize("line", LINES)
async def test_a_bad_event_ends_in_a_list(
    follower: Follower, faults: Faults, client: Client, namespace: str, line: str
) -> None:
    """What was missed because of it is in the cache soon after."""
    await faults.inject(LINES[line].encode())
    await client.create(config_map(namespace, "a", "1"))
    await follower.shows(a="1")
    await until(lambda: follower.informer.trouble is None and follower.informer.relists == 2)


async def test_a_watch_that_fell_silent_is_left(
    follower: Follower, faults: Faults, client: Client, namespace: str
) -> None:
    """A connection that stays open and passes nothing on is given up after the idle limit."""
    faults.silent = True
    await client.create(config_map(namespace, "a", "1"))
    before = len(faults.requests)
    await until(lambda: len(faults.requests) > before)
    faults.silent = False
    await follower.shows(a="1")


async def test_an_event_that_got_lost_is_found_by_the_next_list(
    through: Client, faults: Faults, client: Client, namespace: str
) -> None:
    """Nothing broke, and nothing is heard of it: a list comes from time to time in any case."""
    faults.lines = lambda request, line: [] if b"lost" in line else [line]
    follower = Follower(through, namespace, relist=3.0)
    async with running(follower.informer):
        await until(lambda: faults.watching() == 1)
        await client.create(config_map(namespace, "lost", "1"))
        await client.create(config_map(namespace, "a", "1"))
        await until(lambda: len(follower.informer.values()) == 1)
        await follower.shows(a="1", lost="1")
        assert follower.informer.trouble is None


async def test_an_event_that_comes_twice_is_told_once(
    follower: Follower, faults: Faults, client: Client, namespace: str
) -> None:
    """Also an end."""
    faults.lines = lambda request, line: [line, line]
    await client.create(config_map(namespace, "a", "1"))
    await follower.shows(a="1")
    await client.delete(CONFIG_MAP, namespace, "a")
    await follower.shows()
    assert follower.told == [("added", "a"), ("gone", "a")]


async def test_a_server_that_was_away_is_missed_and_found(follower: Follower, faults: Faults) -> None:
    """Whoever waits for it is told when it is back, and only then."""
    told: list[str] = []
    follower.informer.on_recovery(lambda: told.append("back"))
    faults.trouble = says(503, times=10**6)
    faults.cut()
    await until(lambda: follower.informer.trouble is not None)
    assert told == []
    faults.trouble = None
    await until(lambda: told == ["back"])


async def test_a_watch_that_ends_at_once_makes_no_hot_loop(through: Client, faults: Faults, namespace: str) -> None:
    """A server that closes each watch as it begins is asked ever more slowly, and told of as trouble."""
    faults.trouble = only(is_watch, says(200, times=10**6))
    follower = Follower(through, namespace)
    async with running(follower.informer):
        await until(
            lambda: follower.informer.trouble is not None and "as soon as it began" in follower.informer.trouble
        )
        before = len(faults.requests)
        await asyncio.sleep(0.5)
        assert len(faults.requests) - before <= 5


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
async def test_a_server_that_refuses_is_asked_again(
    through: Client, faults: Faults, client: Client, namespace: str, status: int
) -> None:
    """Whatever it says: the trouble is told, and gone when it lets us in again."""
    faults.trouble = says(status, b"not now", times=10**6)
    follower = Follower(through, namespace)
    async with running(follower.informer):
        await until(lambda: follower.informer.trouble is not None and "not now" in follower.informer.trouble)
        assert not follower.informer.synced.is_set()
        faults.trouble = None
        await client.create(config_map(namespace, "a", "1"))
        await follower.shows(a="1")
        await until(lambda: follower.informer.trouble is None)


async def test_a_busy_server_gets_no_list_for_a_refused_watch(
    follower: Follower, faults: Faults, client: Client, namespace: str
) -> None:
    """429 and 503 say nothing about the version: a list would add to the load."""
    await client.create(config_map(namespace, "a", "1"))
    await follower.shows(a="1")
    faults.trouble = only(is_watch, says(429, times=2))
    faults.cut()
    await client.create(config_map(namespace, "b", "2"))
    await follower.shows(a="1", b="2")
    assert sum(map(is_watch, faults.requests)) == 4
    assert follower.informer.relists == 1


async def test_a_list_that_cannot_be_read_is_asked_for_again(
    through: Client, faults: Faults, client: Client, namespace: str
) -> None:
    """A list without a version, or of what are no objects, changes nothing in the cache."""
    answers = [b'{"items":[]}', b'{"metadata":{"resourceVersion":"1"},"items":[{}]}', b"{", b'{"metadata":{}}']

    async def garbles(request: web.Request) -> web.StreamResponse | None:
        return web.Response(body=answers.pop()) if is_list(request) and answers else None

    await client.create(config_map(namespace, "a", "1"))
    faults.trouble = garbles
    follower = Follower(through, namespace)
    async with running(follower.informer):
        await follower.shows(a="1")
    assert not answers
    assert follower.told == [("added", "a")]


async def test_it_waits_for_its_kind(client: Client) -> None:
    """A kind that is not installed is told of as such; once its CRD is there, it is followed."""
    plural = f"things{secrets.token_hex(3)}"
    thing = Resource(group="tests.dask.org", version="v1", plural=plural, kind=plural.capitalize())
    informer = Informer(client, thing, longest_pause=0.3)
    async with running(informer):
        await until(lambda: "is its CRD installed?" in (informer.trouble or ""))
        await client.create(crd_of(thing))
        try:
            await until(lambda: informer.synced.is_set() and informer.trouble is None)
        finally:
            await client.delete(CUSTOM_RESOURCE_DEFINITION, None, str(thing))


def crd_of(resource: Resource) -> Manifest:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": resource.version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": str(resource)},
        "spec": {
            "group": resource.group,
            "scope": "Namespaced",
            "names": {"kind": resource.kind, "plural": resource.plural},
            "versions": [version],
        },
    }


async def test_a_list_that_was_asked_for_comes_though_the_watch_is_open(follower: Follower, faults: Faults) -> None:
    """``listed_since`` returns with a list that began after the moment, and many who wait share it."""
    moment = time.monotonic()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(follower.informer.listed_since(moment))
    assert follower.informer.relists == 2
    await follower.informer.listed_since(moment)
    assert follower.informer.relists == 2
    await until(lambda: faults.watching() == 1 and follower.informer.trouble is None)


async def test_where_a_list_fails_that_was_asked_for_the_watch_goes_on(
    follower: Follower, faults: Faults, client: Client, namespace: str
) -> None:
    """It can be done without: an API server that is too busy for lists is still heard."""
    faults.trouble = only(is_list, says(429, times=10**6))
    follower.informer.relist()
    await until(lambda: sum(map(is_list, faults.requests)) >= 3)
    await client.create(config_map(namespace, "a", "1"))
    await follower.shows(a="1")
    assert follower.informer.trouble is None
    assert follower.informer.relists == 1
    faults.trouble = None
    await until(lambda: follower.informer.relists == 2)


async def test_a_list_that_began_before_is_not_the_one_that_was_asked_for(
    through: Client, faults: Faults, namespace: str
) -> None:
    """A moment in the middle of a list is served by the next."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def holds(request: web.Request) -> None:
        if is_list(request):
            begun.set()
            await go_on.wait()

    faults.trouble = holds
    informer = Follower(through, namespace).informer
    async with running(informer), asyncio.timeout(10):
        await begun.wait()
        moment = time.monotonic()
        go_on.set()
        await informer.listed_since(moment)
        assert informer.relists == 2


async def test_a_relist_finds_what_a_silent_watch_kept_back(
    faults: Faults, through: Client, client: Client, namespace: str
) -> None:
    """Who doubts the cache need not wait for the idle limit."""
    follower = Follower(through, namespace)
    async with running(follower.informer):
        await until(lambda: faults.watching() == 1)
        faults.silent = True
        await client.create(config_map(namespace, "a", "1"))
        follower.informer.relist()
        await follower.shows(a="1")


async def test_last_heard_moves_with_each_word(follower: Follower, client: Client, namespace: str) -> None:
    """Whoever watches the watchers sees that the API server spoke."""
    before = follower.informer.last_heard
    await client.create(config_map(namespace, "a"))
    await follower.shows(a="")
    assert before < follower.informer.last_heard <= time.monotonic()


async def test_a_bug_in_a_handler_ends_the_run(client: Client, namespace: str) -> None:
    """It is no I/O error, and must not look like one, whatever its class."""
    await client.create(config_map(namespace, "a"))
    for bug in (KeyError("bug"), TimeoutError("bug")):
        informer = Informer(client, CONFIG_MAP, namespace)
        informer.on(raising(bug))
        with pytest.raises(type(bug), match="bug"):
            async with asyncio.timeout(10):
                await informer.run()


def raising(bug: Exception) -> Callable[[Manifest | None, Manifest | None], None]:
    def handler(old: Manifest | None, new: Manifest | None) -> None:
        raise bug

    return handler


async def test_the_cache_is_slim_and_indexed(client: Client, namespace: str) -> None:
    """Objects are cut down on arrival, and found by what indexes say."""

    def slim(manifest: Manifest) -> Manifest:
        return {"metadata": manifest["metadata"], "content": manifest["data"]["content"]}

    for name, content in (("a", "1"), ("b", "2"), ("c", "1")):
        await client.create(config_map(namespace, name, content))
    informer = Informer(
        client, CONFIG_MAP, namespace, labels=MINE, slim=slim, indexes={"content": lambda each: [each["content"]]}
    )
    async with running(informer):
        await until(informer.synced.is_set)
        assert [each["metadata"]["name"] for each in informer.by("content", "1")] == ["a", "c"]
        await client.patch(CONFIG_MAP, namespace, "a", {"data": {"content": "2"}})
        await until(lambda: len(informer.by("content", "2")) == 2)
        assert [each["metadata"]["name"] for each in informer.by("content", "1")] == ["c"]
        found = informer.get(namespace, "c")
        assert found is not None
        assert found.keys() == {"metadata", "content"}
        assert informer.get(namespace, "none") is None
