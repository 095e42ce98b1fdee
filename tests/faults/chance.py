"""Faults by chance: which requests and events meet one, and which. The same seed draws the same numbers."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

from aiohttp import web

from tests.faults.proxy import Faults, abort

LONGEST_DELAY = 3.0
FREEZES = 40.0
"""Seconds that a request gets no answer: longer than anybody waits for one."""

PAGE = 2
"""Items of a list that come at once: far fewer than there are Pods in a namespace."""

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})

REASONS: Mapping[int, str] = {
    401: "Unauthorized",
    403: "Forbidden",
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}
"""The statuses that a request may be answered with, as the API server spells them."""

EXPIRED = b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old by chance"}}'

Fault = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


@dataclass(frozen=True)
class Odds:
    """How likely what is.

    Parameters
    ----------
    request
        That a request meets a fault.
    dropped, doubled, expired
        That an event of a watch is not passed on, is passed on twice, or ends the watch as too old.
    between
        Seconds between two watches that break or fall silent.
    """

    request: float = 0.08
    dropped: float = 0.005
    doubled: float = 0.01
    expired: float = 0.001
    between: tuple[float, float] = (4.0, 12.0)


class Chance:
    """Lets a proxy fail by chance while :meth:`run` runs; lists come in short pages, so that one can break in between.

    Attributes
    ----------
    met
        How often each fault happened.
    """

    def __init__(self, faults: Faults, seed: int, odds: Odds | None = None) -> None:
        self.met: Counter[str] = Counter()
        self._faults = faults
        self._odds = odds or Odds()
        self._random = random.Random(seed)

    async def run(self) -> None:
        """Until it is cancelled; then all goes well again."""
        self._faults.trouble, self._faults.lines, self._faults.page = self._trouble, self._line, PAGE
        try:
            while True:
                await asyncio.sleep(self._random.uniform(*self._odds.between))
                if watches := self._faults.watches():
                    watch = self._random.choice(watches)
                    name, breaks = self._random.choice([("cut watch", self._faults.cut), ("mute", self._faults.mute)])
                    self.met[name] += 1
                    breaks(watch)
        finally:
            self._faults.trouble = self._faults.lines = self._faults.page = None

    async def _trouble(self, request: web.Request) -> web.StreamResponse | None:
        if self._random.random() >= self._odds.request:
            return None
        name, fault = self._random.choice(list(self._possible(request)))
        self.met[name] += 1
        return await fault(request)

    def _possible(self, request: web.Request) -> Iterable[tuple[str, Fault]]:
        """What can happen to a request of this kind."""
        statuses = set(REASONS)
        if request.method in WRITES:
            yield "lost reply", self._faults.loses_reply
            statuses -= {410}
        elif "watch" not in request.query:
            statuses -= {409} if "continue" in request.query else {409, 410}
        for status in sorted(statuses):
            yield f"{status} in a list" if "continue" in request.query else str(status), _says(status)
        yield "cut", _cut
        yield "delay", self._delay
        yield "freeze", _freeze

    def _line(self, request: web.Request, line: bytes) -> Iterable[bytes]:
        drawn = self._random.random()
        for name, odds, passed in (
            ("dropped event", self._odds.dropped, ()),
            ("doubled event", self._odds.doubled, (line, line)),
            ("expired watch", self._odds.expired, (EXPIRED,)),
        ):
            if drawn < odds:
                self.met[name] += 1
                return passed
            drawn -= odds
        return (line,)

    async def _delay(self, request: web.Request) -> None:
        await asyncio.sleep(self._random.uniform(0, LONGEST_DELAY))


def _says(status: int) -> Fault:
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "reason": REASONS[status]}
    text = json.dumps({**body, "message": "by chance"})
    headers = {"Retry-After": "1"} if status in (429, 503) else {}

    async def says(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=text, headers=headers, content_type="application/json")

    return says


async def _cut(request: web.Request) -> web.StreamResponse:
    abort(request)
    return web.Response(status=502)


async def _freeze(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(FREEZES)
    return await _cut(request)
