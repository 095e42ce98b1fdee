"""When a worker that ends takes its scheduler for gone: the scripts' own function, whatever the network says."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace
from typing import Any

import pytest

from dask_k8s.manifests import handover

SCRIPTS = {"nanny": handover.of_nanny(1), "worker": handover.of_worker(1, load_configured=True)}
NO_SUCH_NAME = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
NO_NAME_SERVER = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
@pytest.mark.parametrize(
    ("said", "gone"),
    [
        ([ConnectionRefusedError()], True),
        ([TimeoutError()], False),
        ([OSError("no route to host")], False),
        ([NO_NAME_SERVER], False),
        ([NO_SUCH_NAME, NO_SUCH_NAME], True),
        ([NO_SUCH_NAME, TimeoutError()], False),
        ([NO_SUCH_NAME, NO_NAME_SERVER], False),
    ],
    ids=["refused", "silent", "no way", "no name server", "no such name", "only once", "nor is that sure"],
)
async def test_a_scheduler_is_gone(
    script: str, said: list[OSError], monkeypatch: pytest.MonkeyPatch, *, gone: bool
) -> None:
    """Its Service goes with its cluster, and its name with that; what may be a fault of the network is waited for."""
    answers = iter(said)

    async def open_connection(host: str, port: int) -> Any:
        assert (host, port) == ("simple.default.svc", 8786)
        raise next(answers)

    scope: dict[str, Any] = {}
    exec(compile(script, "preload", "exec"), scope)
    monkeypatch.setattr(asyncio, "open_connection", open_connection)
    node = SimpleNamespace(scheduler=SimpleNamespace(addr="tcp://simple.default.svc:8786"))
    assert await scope["scheduler_is_gone"](node) is gone
    assert next(answers, None) is None
