"""A registry that has no image: it says so at once. Run as a script, in the cluster's network.

containerd asks it in place of the registries that the project's images are named after. So an image whose name is wrong
is told as a real registry tells it, "not found", while any other registry stays out of reach, as it is for a cluster
without the internet.

usage: registry.py ADDRESS PORT
"""

import json
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Empty(BaseHTTPRequestHandler):
    """Answers the registry's protocol for an empty one."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Any question."""
        if self.path in {"/v2", "/v2/"}:
            self.answer(HTTPStatus.OK, {})
        else:
            error = {"code": "MANIFEST_UNKNOWN", "message": "this registry has no image"}
            self.answer(HTTPStatus.NOT_FOUND, {"errors": [error]})

    do_HEAD = do_GET  # noqa: N815 - the name is http.server's

    def answer(self, status: HTTPStatus, content: object) -> None:
        """Send JSON, or its headers alone."""
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Empty).serve_forever()
