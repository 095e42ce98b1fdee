"""One command's time with an API server: log-in, the work, and the end in a sentence and an exit code."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

import click

from dask_k8s.errors import DaskK8sError, Forbidden
from dask_k8s.kube import credentials
from dask_k8s.kube.client import Client

Say = Callable[[str], None]


def run(work: Callable[[Client], Awaitable[None]], *, kubeconfig: str | None, context: str | None) -> None:
    """Do a command's work; what was raised on purpose ends the process with its sentence and code 1."""
    try:
        asyncio.run(_with_client(work, kubeconfig, context))
    except Forbidden as refusal:
        click.echo(f"Error: {refusal}\nThis takes the rights of an administrator.", err=True)
        sys.exit(1)
    except DaskK8sError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)


async def _with_client(work: Callable[[Client], Awaitable[None]], kubeconfig: str | None, context: str | None) -> None:
    async with Client(await credentials.load(kubeconfig=kubeconfig, context=context)) as client:
        await work(client)
