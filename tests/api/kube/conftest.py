"""A proxy in front of the real API server, for what a network and a busy server do."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from dask_k8s.kube.client import Client
from tests.api.conftest import ApiServer
from tests.faults.proxy import Faults


@pytest.fixture
async def faults(apiserver: ApiServer) -> AsyncIterator[Faults]:
    """What can be made to go wrong."""
    async with Faults(await apiserver.log_in()) as faults:
        yield faults


@pytest.fixture
async def through(faults: Faults) -> AsyncIterator[Client]:
    """A client on the far side of the proxy."""
    async with Client(faults.credentials()) as client:
        yield client
