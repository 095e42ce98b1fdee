"""The client against a real API server: what it sends is what is meant, and what goes wrong is told as what it is."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from dask_k8s.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    InvalidResource,
    Missing,
    Unavailable,
    Unreachable,
)
from dask_k8s.kinds.value import Manifest
from dask_k8s.kube.client import Client
from dask_k8s.kube.resources import CONFIG_MAP, POD, Resource
from tests.api.conftest import ApiServer
from tests.faults.proxy import Faults, first, only, says

BARE_POD = {"containers": [{"name": "c", "image": "none"}]}


def config_map(namespace: str, name: str = "a", **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": data,
    }


async def test_an_object_from_its_beginning_to_its_end(client: Client, namespace: str) -> None:
    """Each verb does what it says."""
    made = await client.create(config_map(namespace, key="one"))
    assert await client.get(CONFIG_MAP, namespace, "a") == made

    patched = await client.patch(CONFIG_MAP, namespace, "a", {"data": {"key": None, "other": "two"}})
    assert patched["data"] == {"other": "two"}

    replaced = await client.replace({**patched, "data": {"whole": "new"}})
    assert replaced["data"] == {"whole": "new"}

    listing = await client.list(CONFIG_MAP, namespace, fields="metadata.name=a")
    assert [each["metadata"]["uid"] for each in listing["items"]] == [made["metadata"]["uid"]]

    await client.delete(CONFIG_MAP, namespace, "a", uid=made["metadata"]["uid"])
    with pytest.raises(Missing):
        await client.get(CONFIG_MAP, namespace, "a")


async def test_apply_owns_what_it_names(client: Client, namespace: str) -> None:
    """A manager's fields are its own: what it no longer names goes, what others wrote stays, unless it is forced."""
    await client.apply(config_map(namespace, mine="1", gone="1"), manager="one")
    await client.apply(config_map(namespace, theirs="2"), manager="two")
    after = await client.apply(config_map(namespace, mine="3"), manager="one")
    assert after["data"] == {"mine": "3", "theirs": "2"}
    with pytest.raises(Conflict, match="two"):
        await client.apply(config_map(namespace, theirs="4"), manager="one", force=False)
    assert (await client.apply(config_map(namespace, theirs="4"), manager="one"))["data"] == {"theirs": "4"}


async def test_a_dry_run_leaves_nothing(client: Client, namespace: str) -> None:
    """It is checked like the real thing, and not kept."""
    await client.create(config_map(namespace), dry_run=True)
    await client.apply(config_map(namespace), manager="one", dry_run=True)
    assert (await client.list(CONFIG_MAP, namespace, fields="metadata.name=a"))["items"] == []


async def test_a_list_in_chunks(client: Client, namespace: str) -> None:
    """Each chunk names the next one, until there is none."""
    for name in ("a", "b", "c"):
        await client.create(config_map(namespace, name))
    seen: list[list[str]] = []
    token = None
    while token is not None or not seen:
        chunk = await client.list(
            CONFIG_MAP, namespace, fields="metadata.name!=kube-root-ca.crt", limit=2, continue_=token
        )
        seen.append([each["metadata"]["name"] for each in chunk["items"]])
        token = chunk["metadata"].get("continue")
    assert seen == [["a", "b"], ["c"]]


Asked = Callable[[Client, str], Coroutine[Any, Any, object]]


async def _watch_from(client: Client, namespace: str, version: str) -> None:
    async with client.watch(POD, namespace, version=version, seconds=5) as events:
        async for _ in events:
            pass


async def _stale(client: Client, namespace: str, patch: Manifest) -> None:
    await client.create(config_map(namespace))
    await client.patch(CONFIG_MAP, namespace, "a", patch)


async def _twice(client: Client, namespace: str) -> None:
    await client.create(config_map(namespace))
    await client.create(config_map(namespace))


async def _other_uid(client: Client, namespace: str) -> None:
    await client.create(config_map(namespace))
    await client.delete(CONFIG_MAP, namespace, "a", uid="another")


NO_KIND = Resource(group="kubernetes.dask.org", version="v1", plural="nothings", kind="Nothing")

REFUSALS: dict[str, tuple[Asked, type[ApiError], int, str]] = {
    "no such object": (lambda client, ns: client.get(POD, ns, "none"), Missing, 404, "NotFound"),
    "no such kind": (lambda client, ns: client.list(NO_KIND, ns), Missing, 404, ""),
    "the name is taken": (_twice, AlreadyExists, 409, "AlreadyExists"),
    "a bad name": (lambda client, ns: client.create(config_map(ns, "A!")), Invalid, 422, "Invalid"),
    "a bad selector": (lambda client, ns: client.list(POD, ns, labels="=("), Invalid, 400, "BadRequest"),
    "the uid of another": (_other_uid, Conflict, 409, "Conflict"),
    "a patch of another version": (
        lambda client, ns: _stale(client, ns, {"metadata": {"resourceVersion": "1"}, "data": {"a": "b"}}),
        Conflict,
        409,
        "Conflict",
    ),
    "a patch of another uid": (
        lambda client, ns: _stale(client, ns, {"metadata": {"uid": "another"}, "data": {"a": "b"}}),
        Conflict,
        409,
        "Conflict",
    ),
    "a version from the future": (
        lambda client, ns: client.list(POD, ns, version="999999999999", timeout=20),
        Unavailable,
        504,
        "Timeout",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
async def test_a_refusal_is_told_as_what_it_is(client: Client, namespace: str, case: str) -> None:
    """Class, status and reason tell the caller what can be done."""
    ask, kind, status, reason = REFUSALS[case]
    with pytest.raises(ApiError) as refusal:
        await ask(client, namespace)
    assert (type(refusal.value), refusal.value.status, refusal.value.reason) == (kind, status, reason)
    assert str(refusal.value)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(403, Forbidden), (408, Unavailable), (410, Gone), (429, Unavailable), (500, Unavailable), (503, Unavailable)],
)
async def test_what_a_busy_server_says(faults: Faults, through: Client, status: int, kind: type[ApiError]) -> None:
    """A status without a ``Status`` object, as proxies send it, is told too, with the time that it asks to wait."""
    faults.trouble = says(status, b"<h1>no</h1>", headers={"Retry-After": "7"})
    with pytest.raises(kind, match="no") as refusal:
        await through.version()
    assert refusal.value.status == status
    assert refusal.value.retry_after == 7


async def test_a_redirect_is_not_followed(faults: Faults, through: Client) -> None:
    """It would turn a write into a read, and carry the token to another host."""
    faults.trouble = says(302, headers={"Location": "/version"})
    with pytest.raises(ApiError) as refusal:
        await through.version()
    assert refusal.value.status == 302


@pytest.mark.parametrize("body", [b'{"kind": "Pod', b"[]", b"", b"<html>"])
async def test_a_broken_reply_is_no_answer(faults: Faults, through: Client, body: bytes) -> None:
    """Half a JSON object, or none, says nothing about what happened."""
    faults.trouble = says(200, body)
    with pytest.raises(Unreachable, match=r"GET http://.*/version: what came is no JSON"):
        await through.version()


async def test_silence_ends_at_the_deadline(faults: Faults, through: Client) -> None:
    """A server that takes a request and says nothing costs no more than the time that was given."""

    async def silence(request: web.Request) -> None:
        await asyncio.sleep(3600)

    faults.trouble = silence
    began = time.monotonic()
    with pytest.raises(Unreachable, match=r"no answer within 0.2 s"):
        await through.version(timeout=0.2)
    assert time.monotonic() - began < 5


WRITES: dict[str, Asked] = {
    "POST": lambda client, ns: client.create(config_map(ns, "b")),
    "PUT": lambda client, ns: client.replace(config_map(ns, new="1")),
    "PATCH": lambda client, ns: client.patch(CONFIG_MAP, ns, "a", {"data": {"new": "1"}}),
    "DELETE": lambda client, ns: client.delete(CONFIG_MAP, ns, "a"),
}


@pytest.mark.parametrize("method", WRITES)
async def test_a_lost_reply_may_have_been_a_write(
    faults: Faults, through: Client, client: Client, namespace: str, method: str
) -> None:
    """The write happened though its reply was lost; it is not sent again behind the caller's back."""
    before = await client.create(config_map(namespace))
    await through.version()  # so that there is a connection that is kept
    faults.requests.clear()
    faults.trouble = only(lambda request: request.method == method, faults.loses_reply)
    with pytest.raises(Unreachable, match=method):
        await WRITES[method](through, namespace)
    assert [request.method for request in faults.requests] == [method]
    after = await client.list(CONFIG_MAP, namespace, fields="metadata.name!=kube-root-ca.crt")
    assert after["items"] != [before]


async def test_a_lost_reply_to_a_read_is_asked_for_again(faults: Faults, through: Client) -> None:
    """Once: a server ends the connections that it has kept for long, and nothing came of the first request."""
    faults.trouble = first(1, faults.loses_reply)
    assert await through.version()
    assert [request.method for request in faults.requests] == ["GET", "GET"]


async def test_nobody_there(apiserver: ApiServer) -> None:
    """An address where nobody listens is told with the address."""
    async with Faults(await apiserver.log_in()) as closed:
        credentials = closed.credentials()
    async with Client(credentials) as client:
        with pytest.raises(Unreachable, match=credentials.server):
            await client.version()


async def test_a_write_tells_the_server_its_deadline(faults: Faults, through: Client, namespace: str) -> None:
    """So that the server gives up no later than the caller; a read needs no such thing."""
    await through.create(config_map(namespace), timeout=4.5)
    await through.get(CONFIG_MAP, namespace, "a", timeout=4.5)
    created, read = faults.requests
    assert 4 < float(created.query["timeout"].removesuffix("s")) <= 4.5
    assert "timeout" not in read.query


async def test_no_time_left_is_not_no_deadline(through: Client, namespace: str) -> None:
    """A caller whose time is over gets no default."""
    with pytest.raises(Unreachable):
        await through.create(config_map(namespace), timeout=0.0)


async def test_a_401_logs_in_once(faults: Faults, through: Client) -> None:
    """The request goes again with the new token; a second 401 is the answer."""

    async def knows(request: web.Request) -> web.StreamResponse | None:
        known = request.headers.get("Authorization") == "Bearer token-1"
        return None if known else web.Response(status=401)

    faults.trouble = knows
    assert await through.version()
    assert faults.refreshed == 1
    faults.trouble = says(401, times=2)
    with pytest.raises(Forbidden):
        await through.version()
    assert faults.refreshed == 2


async def test_calls_are_bounded_and_watches_are_not(faults: Faults, namespace: str) -> None:
    """At most so many calls are under way; watches beside them neither wait nor count."""
    under_way, most = 0, 0

    async def counts(request: web.Request) -> web.StreamResponse:
        nonlocal under_way, most
        if "watch" in request.query:
            return await faults.pass_on(request)
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.02)
        under_way -= 1
        return await faults.pass_on(request)

    faults.trouble = counts
    async with Client(faults.credentials(), in_flight=3) as client, AsyncExitStack() as watches:
        for _ in range(4):
            await watches.enter_async_context(client.watch(POD, namespace, seconds=20))
        async with asyncio.TaskGroup() as group:
            for _ in range(12):
                group.create_task(client.version())
    assert most == 3


async def test_a_watch_takes_lines_of_any_length(client: Client, namespace: str) -> None:
    """An object near the API server's limit, a megabyte, arrives whole; what came before and after it too."""
    version = (await client.list(CONFIG_MAP, namespace))["metadata"]["resourceVersion"]
    large = "x" * 1_000_000
    async with client.watch(CONFIG_MAP, namespace, version=version, seconds=20) as events, asyncio.timeout(20):
        await client.create(config_map(namespace, "before"))
        await client.create(config_map(namespace, "large", text=large))
        await client.delete(CONFIG_MAP, namespace, "before")
        seen = []
        async for kind, manifest in events:
            if kind != "BOOKMARK" and manifest["metadata"]["name"] != "kube-root-ca.crt":
                seen.append((kind, manifest["metadata"]["name"], len(manifest.get("data", {}).get("text", ""))))
            if len(seen) == 3:
                break
    assert seen == [("ADDED", "before", 0), ("ADDED", "large", len(large)), ("DELETED", "before", 0)]


async def test_a_silent_watch_is_lost(through: Client, namespace: str) -> None:
    """Nothing for as long as the limit, not even a bookmark."""
    version = (await through.list(POD, namespace))["metadata"]["resourceVersion"]
    async with through.watch(POD, namespace, version=version, seconds=60, idle=0.3) as events:
        with pytest.raises(Unreachable, match="Timeout"):
            await anext(events)


async def test_an_error_in_a_watch_is_raised(faults: Faults, through: Client, namespace: str) -> None:
    """The API server tells in an event that a version is no longer kept."""
    version = (await through.list(POD, namespace))["metadata"]["resourceVersion"]
    async with through.watch(POD, namespace, version=version, seconds=20) as events:
        await faults.inject(b'{"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old"}}')
        with pytest.raises(Gone, match="too old"):
            await anext(events)


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b'{"type":"NEW","object":{}}', b'{"type":"ADDED","object":{"metadata":{}}}']
)
async def test_an_event_that_cannot_be_read_is_no_event(
    faults: Faults, through: Client, namespace: str, line: bytes
) -> None:
    """The watch breaks there, as if the connection had."""
    version = (await through.list(POD, namespace))["metadata"]["resourceVersion"]
    async with through.watch(POD, namespace, version=version, seconds=20) as events:
        await faults.inject(line)
        with pytest.raises(Unreachable, match="pods"):
            await anext(events)


async def test_a_session_leaves_no_socket(apiserver: ApiServer, namespace: str) -> None:
    """Calls that were given up and a watch that was left included; over TLS, which would rather say goodbye."""

    def sockets() -> list[str]:
        links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        return sorted(str(link.readlink()) for link in links if str(link.readlink()).startswith("socket:"))

    log_in = await apiserver.log_in()
    before = sockets()
    async with Client(log_in) as client:
        version = (await client.list(POD, namespace))["metadata"]["resourceVersion"]
        for moment in range(10):
            with suppress(Unreachable):
                await client.list(POD, namespace, timeout=moment / 2000)
        async with client.watch(POD, namespace, version=version, seconds=20):
            assert sockets() != before
    assert sockets() == before


async def test_a_warning_is_logged(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """The API server warns of what is deprecated."""
    old = Resource(group="", version="v1", plural="componentstatuses", kind="ComponentStatus", namespaced=False)
    with caplog.at_level(logging.DEBUG, "dask_k8s.kube"):
        await client.list(old)
    assert any("deprecated" in record.getMessage() for record in caplog.records)


async def test_who_is_allowed(client: Client, apiserver: ApiServer, namespace: str) -> None:
    """The question before the deed gets the same answer as the deed."""
    assert await client.allowed("create", POD, namespace)

    async def as_nobody() -> dict[str, str]:
        return {"Impersonate-User": "nobody"}

    nobody = replace(await apiserver.log_in(), headers=as_nobody)
    async with Client(nobody) as client_of_nobody:
        assert not await client_of_nobody.allowed("create", POD, namespace, "portforward")
        with pytest.raises(Forbidden, match='"nobody" cannot list') as refusal:
            await client_of_nobody.list(POD, namespace)
        assert (refusal.value.status, refusal.value.reason) == (403, "Forbidden")


async def test_logs(client: Client, namespace: str) -> None:
    """A Pod that runs nowhere has written nothing; what is no container of it is refused with its name."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": namespace}, "spec": BARE_POD}
    await client.create(pod)
    assert await client.logs(namespace, "p", tail=10, limit_bytes=1000) == ""
    with pytest.raises(Invalid, match="nobody"):
        await client.logs(namespace, "p", container="nobody")


async def test_an_empty_name_reaches_no_server(through: Client, faults: Faults, namespace: str) -> None:
    """It would delete all objects of the namespace."""
    with pytest.raises(InvalidResource):
        await through.delete(POD, namespace, "")
    assert faults.requests == []
