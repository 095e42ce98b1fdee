"""Raw JSON to and from the API server: the verbs, each with a deadline.

Kubernetes' generated models cost 4 to 15 times the CPU of plain dictionaries, and their calls wait for ever by default.
"""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from importlib.metadata import version as version_of
from types import TracebackType
from typing import Any, Literal, Self

import aiohttp

from dask_k8s.errors import Conflict, Invalid, InvalidResource
from dask_k8s.kinds.value import Manifest
from dask_k8s.kube import replies, resources
from dask_k8s.kube.credentials import Credentials
from dask_k8s.kube.departure import Permit
from dask_k8s.kube.lines import Lines
from dask_k8s.kube.resources import POD, SELF_SUBJECT_ACCESS_REVIEW, Resource
from dask_k8s.kube.transport import Request, Transport

Json = dict[str, Any]
Event = tuple[str, Json]
"""What a watch tells: ADDED, MODIFIED, DELETED or BOOKMARK, and the object."""

_MERGE_PATCH = "application/merge-patch+json"
_APPLY_PATCH = "application/apply-patch+yaml"


class Client:
    """The API server's verbs; an async context manager that owns the one session.

    Each call raises ``ApiError`` when the API server says no, ``Unreachable`` when no answer or a broken one came, and
    ``NoCredentials`` when the log-in ended and cannot be renewed. No write is ever sent twice, but after a 401.

    Parameters
    ----------
    user_agent
        How the API server knows this client, for its priorities and as the manager of fields that it patches.
    in_flight
        How many calls may be under way at once; watches and WebSockets do not count.
    timeout
        Seconds for a call that names none of its own.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        user_agent: str | None = None,
        in_flight: int = 64,
        timeout: float = 30.0,
    ) -> None:
        self.credentials = credentials
        self._timeout = timeout
        agent = user_agent or f"dask-k8s/{version_of('dask-k8s')}"
        self._transport = Transport(credentials, user_agent=agent, in_flight=in_flight)
        self._permit: Permit | None = None

    def guarded(self, permit: Permit) -> Client:
        """The same client over the same session, whose writes ask for this permission when their bytes leave."""
        view = copy.copy(self)
        view._permit = permit
        return view

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._transport.__aexit__(kind, error, traceback)

    @property
    def answers(self) -> Mapping[tuple[str, ...], int]:
        """How often which verb was answered by which code; ``<error>`` stands for no answer."""
        return self._transport.counts.answers

    async def get(self, resource: Resource, namespace: str | None, name: str, *, timeout: float | None = None) -> Json:
        """One object."""
        return await self._read(resource.path(namespace, name), {}, timeout)

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        labels: str | None = None,
        fields: str | None = None,
        limit: int | None = None,
        continue_: str | None = None,
        version: str | None = None,
        timeout: float | None = None,
    ) -> Json:
        """A list as it comes, or one chunk of it.

        Parameters
        ----------
        namespace
            None for all.
        labels, fields
            Selectors.
        limit, continue_
            At most so many; where there are more, ``metadata.continue`` of the answer asks for the next chunk.
        version
            At least this ``resourceVersion``; ``"0"`` for whatever the API server has at hand. None reads the newest.
        """
        params = {
            "labelSelector": labels,
            "fieldSelector": fields,
            "limit": _text(limit),
            "continue": continue_,
            "resourceVersion": version,
        }
        return await self._read(resource.path(namespace), params, timeout)

    async def create(self, manifest: Manifest, *, dry_run: bool = False, timeout: float | None = None) -> Json:
        """What became of a new object, in the namespace that its metadata names."""
        path = resources.of(manifest).path(_namespace_of(manifest))
        return await self._write("POST", path, manifest, {"dryRun": _all(dry_run)}, timeout)

    async def apply(
        self,
        manifest: Manifest,
        *,
        manager: str,
        force: bool = True,
        dry_run: bool = False,
        timeout: float | None = None,
    ) -> Json:
        """Server-side apply: the manifest's fields, and no others, become the manager's.

        Parameters
        ----------
        force
            Whether fields that other managers hold are taken over; else they are a ``Conflict``.
        """
        params = {"fieldManager": manager, "force": "true" if force else "false", "dryRun": _all(dry_run)}
        return await self._write("PATCH", _path_of(manifest), manifest, params, timeout, _APPLY_PATCH)

    async def patch(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        patch: Manifest,
        *,
        subresource: str | None = None,
        timeout: float | None = None,
    ) -> Json:
        """Merge patch. A ``resourceVersion`` or ``uid`` in it is the precondition, whose failure is a ``Conflict``."""
        path = resource.path(namespace, name, subresource)
        try:
            return await self._write("PATCH", path, patch, {}, timeout, _MERGE_PATCH)
        except Invalid as refusal:
            # To the API server another uid is a field that cannot change: the one precondition that it calls invalid.
            if "uid" in patch.get("metadata", {}) and "metadata.uid" in refusal.message:
                raise Conflict(409, "Conflict", refusal.message) from refusal
            raise

    async def replace(self, manifest: Manifest, *, timeout: float | None = None) -> Json:
        """The whole object anew; with a ``resourceVersion``, only if nobody wrote in between."""
        return await self._write("PUT", _path_of(manifest), manifest, {}, timeout)

    async def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        uid: str | None = None,
        version: str | None = None,
        grace: int | None = None,
        propagation: Literal["Background", "Foreground", "Orphan"] = "Background",
        timeout: float | None = None,
    ) -> Json:
        """Deletes one object: the one with this uid, where given, and no later one of its name.

        Parameters
        ----------
        version
            Only as it was read with this resourceVersion; else it raises :class:`~dask_k8s.errors.Conflict`.
        grace
            Seconds that a Pod gets to end; None leaves it to the Pod.
        """
        options: Json = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        preconditions = {"uid": uid, "resourceVersion": version}
        if given := {key: each for key, each in preconditions.items() if each is not None}:
            options["preconditions"] = given
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        return await self._write("DELETE", resource.path(namespace, name), options, {}, timeout)

    async def logs(
        self,
        namespace: str,
        pod: str,
        *,
        container: str | None = None,
        tail: int | None = None,
        previous: bool = False,
        limit_bytes: int | None = None,
        timeout: float | None = None,
    ) -> str:
        """What a container of a Pod has written, or its last lines.

        Parameters
        ----------
        previous
            Of the container's run before this one.
        """
        params = {
            "container": container,
            "tailLines": _text(tail),
            "previous": "true" if previous else None,
            "limitBytes": _text(limit_bytes),
        }
        request = Request(method="GET", path=POD.path(namespace, pod, "log"), params=params)
        return (await self._transport.call(request, self._within(timeout))).decode(errors="replace")

    async def version(self, *, timeout: float | None = None) -> Json:
        """Which Kubernetes this is."""
        return await self._read("/version", {}, timeout)

    async def allowed(
        self, verb: str, resource: Resource, namespace: str | None = None, subresource: str | None = None
    ) -> bool:
        """Whether these credentials may do that."""
        attributes = {
            "verb": verb,
            "group": resource.group,
            "resource": resource.plural,
            "namespace": namespace or "",
            "subresource": subresource or "",
        }
        review = {
            "apiVersion": SELF_SUBJECT_ACCESS_REVIEW.api_version,
            "kind": SELF_SUBJECT_ACCESS_REVIEW.kind,
            "spec": {"resourceAttributes": attributes},
        }
        answer = await self.create(review)
        return bool(answer["status"]["allowed"])

    @asynccontextmanager
    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        version: str | None = None,
        labels: str | None = None,
        fields: str | None = None,
        seconds: float | None = None,
        idle: float = 75.0,
    ) -> AsyncIterator[AsyncIterator[Event]]:
        """What changes after a version, for as long as the server keeps the watch open.

        An error in the stream is raised as the ``ApiError`` that it stands for, an event that cannot be read as
        ``Unreachable``.

        Parameters
        ----------
        seconds
            When the server is to end the watch.
        idle
            Seconds without a word after which the connection counts as lost; bookmarks come each minute.
        """
        params = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "labelSelector": labels,
            "fieldSelector": fields,
            "timeoutSeconds": None if seconds is None else str(int(seconds)),
        }
        request = Request(method="GET", path=resource.path(namespace), params=params)
        stream = self._transport.stream(request, timeout=self._timeout, idle=idle)
        async with stream as pieces, aclosing(self._events(request, pieces)) as events:
            yield events

    async def websocket(
        self, path: str, params: Mapping[str, str], protocols: tuple[str, ...]
    ) -> aiohttp.ClientWebSocketResponse:
        """A WebSocket to a subresource; whoever holds it answers pings, sends them, and closes it."""
        return await self._transport.websocket(path, params, protocols, self._timeout)

    async def _events(self, request: Request, pieces: AsyncIterator[bytes]) -> AsyncGenerator[Event]:
        lines = Lines()
        async for piece in pieces:
            for line in lines.feed(piece):
                try:
                    event = replies.read_event(line)
                except replies.Unreadable as problem:
                    raise self._transport.unreachable(request, str(problem)) from problem
                yield event

    async def _read(self, path: str, params: Mapping[str, str | None], timeout: float | None) -> Json:
        return await self._json(Request(method="GET", path=path, params=params), self._within(timeout))

    async def _write(
        self,
        method: str,
        path: str,
        body: Manifest,
        params: Mapping[str, str | None],
        timeout: float | None,
        content_type: str = "application/json",
    ) -> Json:
        request = Request(
            method=method,
            path=path,
            params=params,
            body=json.dumps(body).encode(),
            content_type=content_type,
            tells_deadline=True,
            permit=self._permit,
        )
        return await self._json(request, self._within(timeout))

    async def _json(self, request: Request, timeout: float) -> Json:
        body = await self._transport.call(request, timeout)
        try:
            return replies.read_object(body)
        except replies.Unreadable as problem:
            raise self._transport.unreachable(request, str(problem)) from problem

    def _within(self, timeout: float | None) -> float:
        """No time left is not the same as no time named."""
        return self._timeout if timeout is None else timeout


def _path_of(manifest: Manifest) -> str:
    name = manifest.get("metadata", {}).get("name")
    if not name:
        raise InvalidResource("metadata.name", "is missing")
    return resources.of(manifest).path(_namespace_of(manifest), name)


def _namespace_of(manifest: Manifest) -> str | None:
    """The namespace that an object belongs in; the API server would answer a POST without one as if to another kind."""
    namespace: str | None = manifest.get("metadata", {}).get("namespace")
    if namespace is None and resources.of(manifest).namespaced:
        raise InvalidResource("metadata.namespace", "is missing")
    return namespace


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)


def _all(dry_run: bool) -> str | None:
    return "All" if dry_run else None
