"""What the API server was asked and how it answered, in numbers."""

from __future__ import annotations

from collections import Counter
from urllib.parse import urlsplit

import aiohttp

from dask_k8s.kube import calls

NO_ANSWER = "<error>"
"""In the place of a code, as client-go has it: nothing came, or nobody waited for it any more."""


class Counts:
    """A middleware of a session: it counts each request that is sent, one that is repeated after a log-in twice.

    Parameters
    ----------
    server
        Whose address may end in a path, as behind Rancher, which is none of the request's own.

    Attributes
    ----------
    answers
        By the verb, as Roles have it, and the code.
    """

    def __init__(self, server: str) -> None:
        self._prefix = urlsplit(server).path
        self.answers: Counter[tuple[str, ...]] = Counter()

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Pass the request on."""
        path = request.url.raw_path.removeprefix(self._prefix)
        verb = calls.of(request.method, path, watch="watch" in request.url.query).verb
        code = NO_ANSWER
        try:
            response = await handler(request)
            code = str(response.status)
        finally:
            self.answers[verb, code] += 1
        return response
