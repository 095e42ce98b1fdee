"""The node's network: nothing leaves it, and the machine reaches its API server by one pair of interfaces."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path

from devcluster.bridges import BridgeFilter
from devcluster.components import PLAYED_PODS, PODS, SERVICES
from devcluster.console import Refused
from devcluster.packages import Tools
from devcluster.processes import Process

RANGE = ipaddress.ip_network("198.18.0.0/16")
"""Kept by RFC 2544 for tests of network devices, so that no real network has it; each cluster takes a /30 of it."""

SLOTS = 250
PREFIX = "dask-k8s-"


@dataclass(frozen=True, slots=True)
class Link:
    """One cluster's pair of interfaces."""

    slot: int

    @property
    def interface(self) -> str:
        """The interface on the machine's side; a name that another cluster has cannot be taken."""
        return f"{PREFIX}{self.slot}"

    @property
    def node(self) -> str:
        """The address of the node."""
        return str(RANGE[self.slot * 256 + 1])

    @property
    def machine(self) -> str:
        """The address of the machine, as the node sees it."""
        return str(RANGE[self.slot * 256 + 2])

    @property
    def barriers(self) -> list[str]:
        """Routes that let nothing for the cluster's own addresses leave the machine; each cluster's has its own metric.

        Outside of the cluster's network they lead nowhere, as on a laptop. Else a program that tries one would
        ask the machine's gateway, and might get an answer from a stranger.
        """
        ranges = (PODS, SERVICES, PLAYED_PODS)
        return [f"unreachable {addresses} metric {19_800 + self.slot}" for addresses in ranges]


def connect(tools: Tools, init: Process, first: int) -> Link:
    """Give the namespace of a process a network, in the first free slot from one on."""
    link = occupy(tools, init, first)
    BridgeFilter().load(tools)  # after the interface is there, by which a cluster that goes sees that it is needed
    tools.run("ip", "address", "add", f"{link.machine}/30", "dev", link.interface)
    tools.run("ip", "link", "set", link.interface, "up")
    for words in link.barriers:
        tools.run("ip", "route", "replace", *words.split())
    inside = ["nsenter", f"--net=/proc/{init.pid}/ns/net"]
    for words in (
        "link set lo up",
        f"address add {link.node}/30 dev eth0",
        "link set eth0 up",
        # Nobody answers behind it. But without a route a Service's address is refused before iptables can change it.
        "route add default dev eth0",
    ):
        tools.run("ip", *words.split(), before=inside)
    tools.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward", before=inside)
    return link


def play(tools: Tools, init: Process) -> None:
    """Let the addresses of played Pods lead to the node itself, where one process may speak for all of them.

    The route lies in the node's own namespace: other clusters have the same one, and it goes with the node.
    """
    inside = ["nsenter", f"--net=/proc/{init.pid}/ns/net"]
    tools.run("ip", *f"route replace local {PLAYED_PODS} dev lo".split(), before=inside)


def occupy(tools: Tools, init: Process, first: int) -> Link:
    """Make the pair of interfaces under the first free name; the kernel decides between two clusters at once."""
    taken = addresses(tools)
    refusals = []
    for step in range(SLOTS):
        link = Link((first + step) % SLOTS)
        if link.machine in taken:
            continue
        try:
            words = f"link add {link.interface} type veth peer name eth0 netns {init.pid}"
            tools.run("ip", *words.split())
        except Refused as refusal:
            if "exists" not in str(refusal):
                raise
            refusals.append(str(refusal))
            continue
        return link
    raise Refused(f"No network is left for this cluster: {refusals[-1] if refusals else 'every address is taken'}")


def addresses(tools: Tools) -> set[str]:
    """Every IPv4 address of the machine."""
    told = json.loads(tools.run("ip", "-json", "-4", "address") or "[]")
    return {entry["local"] for interface in told for entry in interface.get("addr_info", [])}


def disconnect(tools: Tools, interface: str) -> None:
    """Remove the pair, if it is still there, the routes, and with the last cluster what was loaded for all of them."""
    tools.run("ip", "link", "delete", interface, check=False)
    for words in Link(int(interface.removeprefix(PREFIX))).barriers:
        tools.run("ip", "route", "delete", *words.split(), check=False)
    BridgeFilter().unload(tools, needed=lambda: any(Path("/sys/class/net").glob(f"{PREFIX}*")))
