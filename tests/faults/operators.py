"""Processes of the operator, each behind a proxy of its own, on played nodes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from dask_k8s.kube.credentials import Credentials
from tests.faults.beliefs import Beliefs
from tests.faults.proxy import Faults

ENDS_WITHIN = 30.0


class Candidate:
    """A place for one process of the operator at a time.

    Attributes
    ----------
    faults
        The proxy between it and the API server.
    beliefs
        What it was told.
    starts
        How many processes there were.
    """

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], faults: Faults, log: Path) -> None:
        self.faults = faults
        self.beliefs = Beliefs()
        self.starts = 0
        self.log = log
        self._argv = argv
        self._environment = dict(environment)
        self._process: asyncio.subprocess.Process | None = None
        faults.seen = self.beliefs.hear
        faults.asked = self.beliefs.ask

    async def start(self) -> None:
        """A new process."""
        self.starts += 1
        with self.log.open("a") as log:
            self._process = await asyncio.create_subprocess_exec(*self._argv, env=self._environment, stderr=log)

    def signal(self, number: signal.Signals) -> None:
        """Sent to the process."""
        assert self._process is not None
        assert self._process.returncode is None, f"the operator has ended; see {self.log}"
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Its exit code."""
        assert self._process is not None
        async with asyncio.timeout(ENDS_WITHIN):
            return await self._process.wait()

    async def kill(self) -> None:
        """As the kernel does it."""
        self.signal(signal.SIGKILL)
        await self.ended()

    async def end(self) -> None:
        """Whatever it is doing."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def candidate(
    own: Credentials, folder: Path, name: str, arguments: Sequence[str], settings: Mapping[str, str]
) -> AsyncIterator[Candidate]:
    """A place for processes of an operator, and the proxy before it."""
    async with Faults(own) as faults:
        kubeconfig = faults.kubeconfig(folder / f"{name}.kubeconfig")
        argv = [sys.executable, "-m", "dask_k8s.operator", "--probes-port=0", "--log-format=json"]
        place = Candidate(
            [*argv, f"--kubeconfig={kubeconfig}", *arguments],
            {**os.environ, **settings},
            faults,
            folder / f"{name}.log",
        )
        try:
            yield place
        finally:
            await place.end()
