"""The few questions that starting a cluster asks its API server."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

UNANSWERED = (OSError, TimeoutError, ValueError)
"""What a server that is not there yet, or not well, makes a request raise."""

# A proxy that the user's environment names cannot reach a cluster on this machine.
_NO_PROXY = urllib.request.ProxyHandler({})


@cache
def _opener(pki: Path, _written: float) -> urllib.request.OpenerDirector:
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    return urllib.request.build_opener(_NO_PROXY, urllib.request.HTTPSHandler(context=context))


def request(pki: Path, url: str, *, method: str = "GET", body: Mapping[str, Any] | None = None, kind: str = "") -> Any:
    """Send one request as the administrator; the answer's JSON, or its text where it is none."""
    data = None if body is None else json.dumps(body).encode()
    sent = urllib.request.Request(url, data=data, method=method, headers={"Content-Type": kind or "application/json"})
    with _opener(pki, (pki / "admin.crt").stat().st_mtime).open(sent, timeout=5) as answer:
        text = answer.read().decode()
    return json.loads(text) if answer.headers.get_content_type() == "application/json" else text


def answers(pki: Path, url: str) -> bool:
    """Whether a URL answers 200."""
    try:
        request(pki, url)
    except UNANSWERED:
        return False
    return True
