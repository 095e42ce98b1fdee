"""What an answer of the API server means; the errors that are easily made are met in tests/api."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dask_k8s.errors import AlreadyExists, ApiError, Conflict, Forbidden, Gone, Invalid, Missing, Unavailable
from dask_k8s.kube import replies


def status(code: int, reason: str = "", **more: Any) -> bytes:
    return json.dumps({"kind": "Status", "code": code, "reason": reason, "message": "why", **more}).encode()


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (400, "BadRequest", Invalid),
        (401, "Unauthorized", Forbidden),
        (403, "Forbidden", Forbidden),
        (404, "NotFound", Missing),
        (405, "MethodNotAllowed", ApiError),
        (408, "", Unavailable),
        (409, "AlreadyExists", AlreadyExists),
        (409, "Conflict", Conflict),
        (410, "Expired", Gone),
        (415, "UnsupportedMediaType", ApiError),
        (422, "Invalid", Invalid),
        (429, "TooManyRequests", Unavailable),
        (500, "InternalError", Unavailable),
        (503, "ServiceUnavailable", Unavailable),
        (504, "Timeout", Unavailable),
        (599, "", Unavailable),
    ],
)
def test_the_class_says_what_the_caller_can_do(code: int, reason: str, kind: type[ApiError]) -> None:
    """Each status has its class, with the server's own words."""
    error = replies.error(code, {}, status(code, reason))
    assert (type(error), error.status, error.reason, error.message) == (kind, code, reason, "why")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"404 page not found\n", "404 page not found"),
        (b"", "404 Not Found"),
        (b'{"error": "no"}', '{"error": "no"}'),
        (b"[1]", "[1]"),
        (b"x" * 1000, "x" * 300),
        (b"\xff", "\ufffd"),
    ],
)
def test_what_is_no_status_object_is_quoted(body: bytes, message: str) -> None:
    """No reason means that it was not the API server's machinery that spoke; the text is never empty."""
    error = replies.error(404, {}, body)
    assert (type(error), error.reason, error.message) == (Missing, "", message)


@pytest.mark.parametrize(
    ("headers", "details", "seconds"),
    [
        ({}, {}, None),
        ({"Retry-After": "3"}, {}, 3.0),
        ({"Retry-After": "3"}, {"retryAfterSeconds": 9}, 3.0),
        ({}, {"retryAfterSeconds": 9}, 9.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, {}, None),
        ({}, {"retryAfterSeconds": "soon"}, None),
        ({}, None, None),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], details: object, seconds: float | None) -> None:
    """The header comes first; what cannot be read is not a wait of zero."""
    assert replies.error(429, headers, status(429, details=details)).retry_after == seconds


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        ('299 - "it is deprecated"', "it is deprecated"),
        ('299 - "say \\"please\\""', 'say "please"'),
        ("odd", "odd"),
    ],
)
def test_warnings(header: str, sentence: str) -> None:
    """The sentence between the quotes."""
    assert list(replies.warnings([header])) == [sentence]


def test_an_error_event_without_a_code_is_the_servers_fault() -> None:
    """It is raised as an error all the same."""
    with pytest.raises(Unavailable, match="oh") as error:
        replies.read_event(b'{"type":"ERROR","object":{"message":"oh"}}')
    assert error.value.status == 500


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"null",
        b"[]",
        b"{}",
        b'{"type":"ADDED"}',
        b'{"type":"ADDED","object":[]}',
        b'{"type":"ADDED","object":{}}',
        b'{"type":"ADDED","object":{"metadata":{"name":"a","uid":"1"}}}',
        b'{"type":"ADDED","object":{"metadata":{"name":"a","uid":"1","resourceVersion":1}}}',
        b'{"type":"BOOKMARK","object":{"metadata":{}}}',
        b'{"type":7,"object":{"metadata":{"resourceVersion":"1"}}}',
    ],
)
def test_what_is_no_event(line: bytes) -> None:
    """A cache gets only what it can keep."""
    with pytest.raises(replies.Unreadable):
        replies.read_event(line)


@pytest.mark.parametrize(
    "listing",
    [
        {},
        {"metadata": None, "items": []},
        {"metadata": {}, "items": []},
        {"metadata": {"resourceVersion": "1"}, "items": [{}]},
        {"metadata": {"resourceVersion": "1"}, "items": [None]},
        {"metadata": {"resourceVersion": "1"}, "items": {"metadata": {}}},
    ],
)
def test_what_is_no_list(listing: dict[str, Any]) -> None:
    """Half a list would tell the other half as gone."""
    with pytest.raises(replies.Unreadable):
        replies.read_items(listing)


def test_an_empty_list_may_leave_out_its_items() -> None:
    """Go writes an empty list as null."""
    assert replies.read_items({"metadata": {"resourceVersion": "5", "continue": ""}, "items": None}) == ([], "5", None)
