"""The operator as a process of its own, for tests of what only a process has: its probes, its log, its end."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from dask_k8s.kinds.value import value
from tests.api.conftest import ApiServer
from tests.faults.proxy import Faults
from tests.state import LONGEST

WITHIN = 60.0
"""Seconds for what needs a new process, on a machine that is busy with other tests."""

ENDS_WITHIN = 10.0


@value
class Running:
    """A process of the operator.

    Parameters
    ----------
    probes
        Where it answers.
    log
        The file that its standard error goes to.
    """

    process: asyncio.subprocess.Process
    probes: str
    log: Path

    async def ask(self, path: str) -> tuple[int, str]:
        """A probe's answer."""
        return await asked(self.probes + path)

    async def answers(self, path: str, status: int) -> str:
        """The text of a probe once it has this status."""
        async with asyncio.timeout(WITHIN):
            while (answer := await self.ask(path))[0] != status:
                assert self.process.returncode is None, self.log.read_text()
                await asyncio.sleep(0.1)
        return answer[1]

    async def says(self, words: str) -> None:
        """Returns once the log has these words."""
        async with asyncio.timeout(WITHIN):
            while words not in self.log.read_text():
                await asyncio.sleep(0.1)

    async def ends(self, within: float = ENDS_WITHIN) -> int:
        """Its exit code."""
        async with asyncio.timeout(within):
            return await self.process.wait()


async def asked(url: str) -> tuple[int, str]:
    """An answer; 0 where nobody listens yet."""
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return answer.status, await answer.text()
    except aiohttp.ClientConnectionError:
        return 0, ""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@asynccontextmanager
async def operator(
    folder: Path, kubeconfig: str, *arguments: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Running]:
    """A process that runs until the test ends it, or the test ends; some variables may lie over its environment."""
    port = free_port()
    log = folder / f"operator-{port}.log"
    module = ["-m", "dask_k8s.operator"]
    with log.open("w") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *module,
            f"--probes-port={port}",
            f"--kubeconfig={kubeconfig}",
            *arguments,
            stderr=file,
            env={**os.environ, **(environment or {})},
        )
    try:
        yield Running(process=process, probes=f"http://127.0.0.1:{port}", log=log)
    except Exception as failure:
        failure.add_note(f"The operator's log:\n{log.read_text()[-LONGEST:]}")
        raise
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def own_kubeconfig(apiserver: ApiServer) -> list[str]:
    return [] if apiserver.context is None else [f"--context={apiserver.context}"]


@asynccontextmanager
async def proxied(apiserver: ApiServer, folder: Path) -> AsyncIterator[tuple[Faults, str]]:
    """A proxy in front of the API server, and a kubeconfig that leads to it."""
    async with Faults(await apiserver.log_in()) as faults:
        yield faults, faults.kubeconfig(folder / "proxy.kubeconfig")
