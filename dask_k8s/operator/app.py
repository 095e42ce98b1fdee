"""The operator inside kopf, which has the process: its signals, its logs, the order of beginning and end.

kopf gets no handler of resources, and so has nothing to ask the API server but which kinds there are. It waits for
a log-in before that and is never given one: so an API server that is away, or that says no, cannot end the process.
What the operator needs of the API server is in ``kube``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import kopf

from dask_k8s import names

logger = logging.getLogger(__name__)

IDENTITY: Any = names.OPERATOR
"""How kopf calls itself; left alone it asks for the name of the user, which a container's user may not have."""

ENDS_WITHIN = 20.0
"""Seconds that what serves has for its end: less than a Pod has, so that we say ourselves what hangs."""

Serve = Callable[[asyncio.Event], Awaitable[None]]


def configure_logs(*, json: bool, verbose: bool, quiet: bool) -> None:
    """Logs in kopf's formats, on stderr; of kopf's own lines only errors, unless ``verbose`` asks for all."""
    log_format = kopf.LogFormat.JSON if json else kopf.LogFormat.FULL
    kopf.configure(log_format=log_format, verbose=verbose, quiet=quiet)
    logging.getLogger("kopf").setLevel(logging.NOTSET if verbose else logging.ERROR)


async def run(serve: Serve) -> None:
    """Run ``serve`` until a signal comes or it ends by itself; what it raised is raised.

    Parameters
    ----------
    serve
        Serves until the event that it is given is set.

    Raises
    ------
    TimeoutError
        When it did not end after a signal.
    """
    ended = asyncio.Event()
    shell = _Shell(serve, ended)
    await kopf.operator(
        registry=shell.registry,
        settings=_settings(),
        standalone=True,
        clusterwide=True,
        identity=IDENTITY,
        stop_flag=ended,
    )
    if shell.task.cancelled():
        raise TimeoutError(f"What served did not end within {ENDS_WITHIN:g} s, and was given up")
    await shell.task


class _Shell:
    """The handlers by which kopf begins and ends what serves."""

    def __init__(self, serve: Serve, ended: asyncio.Event) -> None:
        self._serve = serve
        self._ended = ended
        self._stop = asyncio.Event()
        self._there_before = asyncio.all_tasks()
        self.task: asyncio.Task[None]
        self.registry = kopf.OperatorRegistry()
        kopf.on.startup(registry=self.registry)(self.begin)
        kopf.on.login(registry=self.registry)(self.log_in)
        kopf.on.cleanup(registry=self.registry)(self.end)

    async def begin(self, **_: Any) -> None:
        """A task of its own: kopf's may be cancelled, and a TaskGroup has to end where it began."""
        self.task = asyncio.create_task(self._run(), name="operator")

    async def log_in(self, **_: Any) -> None:
        """Never: whoever waits for it, waits."""
        await asyncio.Event().wait()

    async def end(self, **_: Any) -> None:
        """Without a word about what the task raised: that is for whoever runs us."""
        if not self.task.done():
            logger.info("Stopping")
        self._stop.set()
        await asyncio.wait([self.task], timeout=ENDS_WITHIN)
        self.task.cancel()
        await asyncio.wait([self.task])
        self._cancel_leftovers()

    def _cancel_leftovers(self) -> None:
        """Questions of kopf that wait for a log-in outlive whoever asked; it gives them 5 s, and cancels them then."""
        for task in asyncio.all_tasks() - self._there_before - {asyncio.current_task()}:
            task.cancel()

    async def _run(self) -> None:
        try:
            await self._serve(self._stop)
        finally:
            self._ended.set()


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True
    settings.posting.enabled = False
    # Who runs us kills us when we take too long; a timer of kopf's own would do so in the middle of a release.
    settings.process.ultimate_exiting_timeout = None
    return settings
