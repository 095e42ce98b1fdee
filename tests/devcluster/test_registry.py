"""The registry that has no image."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from urllib.error import HTTPError

import pytest

from devcluster.registry import Empty


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Empty) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_it_is_a_registry(url: str) -> None:
    """A client asks this first."""
    with urllib.request.urlopen(f"{url}/v2/") as answer:
        assert answer.status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_it_has_no_image(url: str, method: str) -> None:
    """It says "not found" at once, in the words of the protocol."""
    request = urllib.request.Request(f"{url}/v2/dask/dask/manifests/latest", method=method)
    with pytest.raises(HTTPError) as refused:
        urllib.request.urlopen(request)
    body = refused.value.read()
    refused.value.close()
    assert refused.value.code == 404
    assert method == "HEAD" or json.loads(body)["errors"][0]["code"] == "MANIFEST_UNKNOWN"
