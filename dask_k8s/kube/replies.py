"""PURE: what an answer of the API server means: its errors, its warnings, the events of a watch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from dask_k8s.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    Missing,
    Unavailable,
)
from dask_k8s.kinds.value import Manifest

_CLASSES: Mapping[int, type[ApiError]] = {
    400: Invalid,
    401: Forbidden,
    403: Forbidden,
    404: Missing,
    408: Unavailable,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: Unavailable,
}
_LONGEST_QUOTE = 300


class Unreadable(ValueError):
    """An answer that is not what the API server's protocol allows. It never leaves ``kube``."""


def error(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """The error that an answer stands for.

    A body that is no ``Status`` object, such as a proxy's page or the plain ``404 page not found`` of a kind that is
    not installed, is quoted, and leaves the reason empty.
    """
    try:
        said = json.loads(body)
    except ValueError:
        said = None
    if not isinstance(said, dict) or said.get("kind") != "Status":
        said = {"message": body[:_LONGEST_QUOTE].decode(errors="replace").strip()}
    return _error(status, said, headers.get("Retry-After"))


def error_of(status: Mapping[str, Any]) -> ApiError:
    """The error that a ``Status`` object stands for, as a watch sends it in an event."""
    code = status.get("code")
    return _error(code if isinstance(code, int) else 500, status, None)


def _error(status: int, said: Mapping[str, Any], retry_after: str | None) -> ApiError:
    reason, message = _text(said.get("reason")), _text(said.get("message"))
    kind = _CLASSES.get(status, Unavailable if status >= 500 else ApiError)
    if status == 409 and reason == "AlreadyExists":
        kind = AlreadyExists
    return kind(status, reason, message or _phrase(status), _seconds(retry_after, said.get("details")))


def _text(content: object) -> str:
    return content if isinstance(content, str) else ""


def _phrase(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"


def _seconds(header: str | None, details: object) -> float | None:
    """What ``Retry-After`` asks for, or else the ``Status``; the header's other form, a date, is not used here."""
    if header is not None and header.strip().isdigit():
        return float(header)
    seconds = details.get("retryAfterSeconds") if isinstance(details, Mapping) else None
    return float(seconds) if isinstance(seconds, int) and seconds > 0 else None


def warnings(headers: Iterable[str]) -> Iterator[str]:
    """The sentences of ``Warning`` headers, which look like ``299 - "sentence"``."""
    for header in headers:
        _, _, quoted = header.partition('"')
        yield quoted.rpartition('"')[0].replace('\\"', '"') or header


def read_object(body: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises
    ------
    Unreadable
        For anything else.
    """
    try:
        content = json.loads(body)
    except ValueError as problem:
        raise Unreadable(f"what came is no JSON ({problem})") from None
    if not isinstance(content, dict):
        raise Unreadable("what came is no JSON object")
    return content


def read_items(listing: Mapping[str, Any]) -> tuple[list[Manifest], str, str | None]:
    """The objects of a list, its version, and the token that the next chunk is asked for with, or None.

    Raises
    ------
    Unreadable
        When it is no list of objects.
    """
    metadata, items = listing.get("metadata"), listing.get("items") or []
    if not isinstance(metadata, dict) or not isinstance(metadata.get("resourceVersion"), str):
        raise Unreadable("the list has no resourceVersion")
    for item in items:
        check_object(item)
    return items, metadata["resourceVersion"], metadata.get("continue") or None


def read_event(line: bytes) -> tuple[str, dict[str, Any]]:
    """One line of a watch: ADDED, MODIFIED, DELETED with an object, or BOOKMARK with a version.

    Raises
    ------
    ApiError
        When the event is an error.
    Unreadable
        When it is no event.
    """
    event = read_object(line)
    kind, content = event.get("type"), event.get("object")
    if not isinstance(content, dict):
        raise Unreadable("an event without an object")
    match kind:
        case "ERROR":
            raise error_of(content)
        case "BOOKMARK":
            _check_texts(content, ("resourceVersion",))
        case "ADDED" | "MODIFIED" | "DELETED":
            check_object(content)
        case _:
            raise Unreadable(f"an event of type {kind!r}")
    return kind, content


def check_object(content: object) -> None:
    """That an object has what a cache needs.

    Raises
    ------
    Unreadable
        Where its name, uid or version is missing.
    """
    if not isinstance(content, dict):
        raise Unreadable("what should be an object is none")
    _check_texts(content, ("name", "uid", "resourceVersion"))


def _check_texts(content: Mapping[str, Any], fields: Iterable[str]) -> None:
    metadata = content.get("metadata")
    for field in fields:
        if not isinstance(metadata, dict) or not isinstance(metadata.get(field), str):
            raise Unreadable(f"an object without metadata.{field}")
