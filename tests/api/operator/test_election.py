"""A Lease in a real API server: what becomes of a holder that was stopped, or whose Lease somebody deletes."""

from __future__ import annotations

import asyncio

import pytest

from dask_k8s.errors import LeadershipLost
from dask_k8s.kube.client import Client
from dask_k8s.kube.resources import LEASE
from dask_k8s.operator.engine.election import Election, Terms

NAME = "operator"
TERMS = Terms.lasting(4.0)


def candidate(client: Client, namespace: str, identity: str) -> Election:
    return Election(client, namespace=namespace, name=NAME, identity=identity, terms=TERMS)


async def loses(election: Election) -> bool:
    """Whether it finds within its next renewals that it leads no more."""
    try:
        async with asyncio.timeout(TERMS.renewal * 3):
            await election.keep()
    except LeadershipLost:
        return True
    except TimeoutError:
        return False


async def holder(client: Client, namespace: str) -> str:
    identity: str = (await client.get(LEASE, namespace, NAME))["spec"]["holderIdentity"]
    return identity


async def test_whoever_was_stopped_while_another_one_led_begins_anew(client: Client, namespace: str) -> None:
    """Though the Lease is free again: the other one has written, and not all caches need to know of it."""
    stopped, other = candidate(client, namespace, "stopped"), candidate(client, namespace, "other")
    await stopped.acquire()
    await other.acquire()  # once the first one's time is over, which has not renewed it
    await other.release()
    assert await loses(stopped)
    assert await holder(client, namespace) == ""
    await stopped.acquire()
    stopped.fence.check()


async def test_whoever_was_stopped_for_longer_than_its_time_begins_anew(client: Client, namespace: str) -> None:
    """Whoever held the Lease meanwhile may have given its name back."""
    stopped = candidate(client, namespace, "stopped")
    await stopped.acquire()
    await asyncio.sleep(TERMS.trust)
    assert await loses(stopped)
    assert await holder(client, namespace) == "stopped"


async def test_a_lease_that_is_deleted_is_still_its_holders(client: Client, namespace: str) -> None:
    """It has not noticed yet, and writes; it makes the Lease anew, and nobody else does before its time is over."""
    first, second = candidate(client, namespace, "first"), candidate(client, namespace, "second")
    await first.acquire()
    assert not await second.attempt()
    waiting = asyncio.create_task(second.acquire())  # and looks all the while, as a candidate does
    await client.delete(LEASE, namespace, NAME)
    assert not await loses(first)
    assert not waiting.done()
    assert await holder(client, namespace) == "first"
    await client.delete(LEASE, namespace, NAME)
    async with asyncio.timeout(TERMS.duration * 3):
        await waiting
    with pytest.raises(LeadershipLost):
        first.fence.check()
