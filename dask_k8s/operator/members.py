"""Which of a scheduler's workers live in which Pod: by address, and by name where the address does not tell.

A Pod may have several workers (``--nworkers``), and a worker any name. A Pod on its node's own network shares that
address with other Pods and with whoever else runs there, and a worker may announce another address than its Pod's: then
its name decides, which is its Pod's, with a number behind it where there are several. A worker of no Pod joined by
hand; or it announces an address that is not its Pod's, or that its kubelet has not told yet, and nobody gave it a name.
So while there is one, a Pod that runs, or may do so, and seems to have no worker may have that one, unless its command
names its workers after it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from dask_k8s.kinds.fields import moment
from dask_k8s.kinds.value import Manifest, value
from dask_k8s.scheduler.rpc import SchedulerRpc
from dask_k8s.scheduler.verified import host_of

LATE = timedelta(minutes=5)
"""How late a kubelet may tell that a Pod runs; one of which nothing was heard for longer does not."""


@value
class Member:
    """One worker of a scheduler.

    Parameters
    ----------
    name
        None where nobody asked for it.
    """

    address: str
    name: str | None = None


@value
class Housing:
    """Who lives where.

    Parameters
    ----------
    members
        The workers of each Pod by its uid, in the order in which they were given.
    unclear
        Pods that may have a worker of which nobody can tell whose it is.
    """

    members: Mapping[str, tuple[Member, ...]]
    unclear: frozenset[str]


async def order_of(rpc: SchedulerRpc, pods: Collection[Manifest]) -> tuple[Member, ...]:
    """All workers of a scheduler, those first that may leave first; with their names where those are needed."""
    order = await rpc.leaving_order()
    if not names_needed(order, pods):
        return tuple(Member(address=address) for address in order)
    told = (await rpc.identity()).workers
    return tuple(Member(address=each, name=told[each].name if each in told else None) for each in order)


def names_needed(addresses: Iterable[str], pods: Iterable[Manifest]) -> bool:
    """Whether some worker's address does not tell its Pod."""
    hosts = [(host, _shares(pod)) for pod in pods if (host := _host(pod))]
    there, shared = Counter(host for host, _ in hosts), {host for host, shares in hosts if shares}
    return any(there[host] != 1 or host in shared for host in map(host_of, addresses))


def housed(members: Sequence[Member], pods: Collection[Manifest], now: datetime) -> Housing:
    """The workers of each Pod, as they were at that time."""
    by_name, by_host = dict[str, str](), defaultdict[str, list[str]](list)
    for pod in pods:
        by_name[pod["metadata"]["name"]] = pod["metadata"]["uid"]
        if host := _host(pod):
            by_host[host].append(pod["metadata"]["uid"])
    shared = {_host(pod) for pod in pods if _shares(pod)}
    named = {pod["metadata"]["uid"] for pod in pods if pod["spec"].get("namesWorkers")}
    running = [pod["metadata"]["uid"] for pod in pods if _may_run(pod, now)]
    found, unclear = defaultdict[str, list[Member]](list), set[str]()
    for member in members:
        at = by_host.get(host := host_of(member.address), [])
        uid = at[0] if len(at) == 1 and host not in shared else _named(member.name, by_name)
        if uid is not None:
            found[uid].append(member)
        else:
            unclear.update(at or running)
    return Housing(
        members={uid: tuple(workers) for uid, workers in found.items()},
        unclear=frozenset(unclear.difference(found, named)),
    )


def _named(name: str | None, pods: Mapping[str, str]) -> str | None:
    if name is None or name in pods:
        return pods.get(name or "")
    stem, _, number = name.rpartition("-")
    return pods.get(stem) if number.isdigit() else None


def _shares(pod: Manifest) -> bool:
    return bool(pod["spec"].get("hostNetwork"))


def _may_run(pod: Manifest, now: datetime) -> bool:
    """Also where its kubelet has not even told its address, for a while: it tells late, but it does."""
    status, phase = pod["status"], pod["status"].get("phase")
    if phase not in (None, "Pending"):
        return bool(phase == "Running")
    unheard_of = pod["spec"].get("nodeName") and not status.get("podIP")
    return bool(unheard_of) and now - moment(pod["metadata"]["creationTimestamp"]) < LATE


def _host(pod: Manifest) -> str:
    """Its address while it may have workers: a Pod that has ended has given its address back."""
    status = pod["status"]
    return "" if status.get("phase") in ("Succeeded", "Failed") else str(status.get("podIP") or "")
