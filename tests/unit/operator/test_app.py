"""What kopf makes of the operator's process: begin, signals, end. No API server is there, and none is asked for."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

from dask_k8s.operator import app

AT_ONCE = 3.0
"""Seconds: less than kopf's own waiting for what hangs."""


async def test_a_signal_lets_the_work_come_to_its_end() -> None:
    """SIGTERM sets the event, and the process waits until the work has cleaned up."""
    ended = []

    async def serve(stop: asyncio.Event) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await stop.wait()
        await asyncio.sleep(0)
        ended.append("cleaned up")

    began = time.monotonic()
    await app.run(serve)
    assert ended == ["cleaned up"]
    assert time.monotonic() - began < AT_ONCE


async def test_a_bug_in_the_work_ends_the_process_with_it() -> None:
    """What the work raised comes out, instead of an idle process that looks alive."""

    async def serve(stop: asyncio.Event) -> None:
        raise RuntimeError("a bug")

    began = time.monotonic()
    with pytest.raises(RuntimeError, match="a bug"):
        await app.run(serve)
    assert time.monotonic() - began < AT_ONCE


async def test_a_bug_while_cleaning_up_is_not_lost() -> None:
    """A signal does not make an error harmless."""

    async def serve(stop: asyncio.Event) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await stop.wait()
        raise RuntimeError("while cleaning up")

    with pytest.raises(RuntimeError, match="while cleaning up"):
        await app.run(serve)


async def test_work_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """With an error that says so, before the kubelet loses its patience without a word."""
    monkeypatch.setattr(app, "ENDS_WITHIN", 0.01)

    async def serve(stop: asyncio.Event) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError, match="did not end within"):
        await app.run(serve)


async def test_no_task_is_left() -> None:
    """What kopf asked in vain is cancelled, and nothing of it outlives the run."""
    before = asyncio.all_tasks()

    async def serve(stop: asyncio.Event) -> None:
        await asyncio.sleep(0)

    await app.run(serve)
    assert asyncio.all_tasks() == before
