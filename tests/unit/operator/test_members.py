"""Which worker lives in which Pod: by address first, and by name where that does not tell."""

from __future__ import annotations

from typing import Any

import pytest

from dask_k8s.operator.members import Member, housed, names_needed
from tests.unit.given import NOW, later


def pod(
    name: str,
    host: str | None,
    phase: str = "Running",
    *,
    named: bool = False,
    shares: bool = False,
    node: str | None = None,
    age: float = 1.0,
) -> dict[str, Any]:
    """A Pod as the cache has it; with a command that names its workers after it, or not; on its node's own network."""
    status = {"phase": phase, **({} if host is None else {"podIP": host})}
    placed = {} if node is None else {"nodeName": node}
    spec = {"namesWorkers": named, **({"hostNetwork": True} if shares else {}), **placed}
    made = {"name": name, "uid": f"uid-{name}", "creationTimestamp": later(-age).isoformat()}
    return {"metadata": made, "spec": spec, "status": status}


def worker(host: str, name: str | None = None, port: int = 1) -> Member:
    """A worker as its scheduler tells of it."""
    return Member(address=f"tcp://{host}:{port}", name=name)


A, B = pod("a", "10.0.0.1"), pod("b", "10.0.0.2")
NAMED = pod("n", "10.0.0.3", named=True)
SHARED = [pod("a", "192.0.2.1"), pod("b", "192.0.2.1")]
SHARED_WITH_NAMED = [*SHARED, pod("c", "192.0.2.1", named=True)]

ROWS = [
    ("by address, whatever the name", [worker("10.0.0.1", "b")], [A, B], {"uid-a": 1}, []),
    ("two in one Pod", [worker("10.0.0.1"), worker("10.0.0.1", port=2)], [A, B], {"uid-a": 2}, []),
    ("one that joined by hand, or anybody's", [worker("10.9.9.9", "mine")], [A, B], {}, ["uid-a", "uid-b"]),
    ("but not of those that have theirs", [worker("10.9.9.9"), worker("10.0.0.1")], [A, B], {"uid-a": 1}, ["uid-b"]),
    ("nor of one whose workers bear its name", [worker("10.9.9.9", "mine")], [NAMED, B], {}, ["uid-b"]),
    (
        "also on a shared address",
        [worker("192.0.2.1", "mine")],
        SHARED_WITH_NAMED,
        {},
        ["uid-a", "uid-b"],
    ),
    ("nor of one that does not run", [worker("10.9.9.9")], [pod("p", None, "Pending")], {}, []),
    (
        "one that has a node may run, before its kubelet has even told its address",
        [worker("10.9.9.9")],
        [pod("p", None, "Pending", node="node")],
        {},
        ["uid-p"],
    ),
    (
        "though not for ever: what cannot start, as without a volume, does not",
        [worker("10.9.9.9")],
        [pod("p", None, "Pending", node="node", age=300)],
        {},
        [],
    ),
    (
        "but not there, once it has told another one",
        [worker("10.9.9.9")],
        [pod("p", "10.0.0.1", "Pending", node="node")],
        {},
        [],
    ),
    ("one that announces another address is found by its name", [worker("gateway", "b")], [A, B], {"uid-b": 1}, []),
    ("also as one of several", [worker("gateway", "b-0"), worker("gateway", "b-1", 2)], [A, B], {"uid-b": 2}, []),
    ("but not by half a name", [worker("gateway", "b-x")], [A, B], {}, ["uid-a", "uid-b"]),
    ("IPv6 is an address, too", [Member(address="tcp://[fd00::1]:1")], [pod("a", "fd00::1")], {"uid-a": 1}, []),
    ("on a shared address the name tells", [worker("192.0.2.1", "b")], SHARED, {"uid-b": 1}, []),
    ("or nobody can", [worker("192.0.2.1", "x")], SHARED, {}, ["uid-a", "uid-b"]),
    (
        "but for those that are found",
        [worker("192.0.2.1", "x"), worker("192.0.2.1", "b", 2)],
        SHARED,
        {"uid-b": 1},
        ["uid-a"],
    ),
    (
        "on its node's address a Pod may not be alone: its own has its name, and another one joined by hand",
        [worker("192.0.2.1", "h"), worker("192.0.2.1", "mine", 2)],
        [pod("h", "192.0.2.1", shares=True, named=True)],
        {"uid-h": 1},
        [],
    ),
    (
        "a Pod that ended has given its address back",
        [worker("10.0.0.1")],
        [pod("x", "10.0.0.1", "Failed"), A],
        {"uid-a": 1},
        [],
    ),
    ("a Pod without an address has no worker yet", [worker("10.0.0.1")], [pod("a", None, "Pending")], {}, []),
]


@pytest.mark.parametrize(("_fact", "members", "pods", "found", "unclear"), ROWS, ids=[row[0] for row in ROWS])
def test_who_lives_where(
    _fact: str, members: list[Member], pods: list[dict[str, Any]], found: dict[str, int], unclear: list[str]
) -> None:
    """Each worker in one Pod or none."""
    housing = housed(members, pods, NOW)
    assert {uid: len(workers) for uid, workers in housing.members.items()} == found
    assert sorted(housing.unclear) == unclear


@pytest.mark.parametrize(
    ("hosts", "pods", "needed"),
    [
        (["10.0.0.1", "10.0.0.2"], [A, B], False),
        (["10.0.0.1", "10.9.9.9"], [A, B], True),
        (["192.0.2.1"], SHARED, True),
        ([], SHARED, False),
    ],
    ids=["addresses tell", "one is no Pod's", "Pods share one", "there is no worker"],
)
def test_names_are_asked_for_where_addresses_do_not_tell(
    hosts: list[str], pods: list[dict[str, Any]], needed: bool
) -> None:
    """They cost ten times as much."""
    assert names_needed([worker(host).address for host in hosts], pods) is needed


def test_a_pod_keeps_the_order_of_its_workers() -> None:
    """It stands where the last of them does."""
    first, last = worker("10.0.0.1"), worker("10.0.0.1", port=2)
    assert housed([first, worker("10.0.0.2"), last], [A, B], NOW).members["uid-a"] == (first, last)
