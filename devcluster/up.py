"""Brings a cluster up: builds what is missing, starts what does not run, and leaves alone what runs."""

from __future__ import annotations

import os
import socket
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

from devcluster import api, check, fakes, network, node
from devcluster.build import FOR_PEOPLE
from devcluster.cluster import INIT, Cluster
from devcluster.components import Component, Site, components
from devcluster.console import say
from devcluster.down import take_down
from devcluster.home import give_all, make_folder
from devcluster.image import Given
from devcluster.instances import Instance, Kind, Record, instance_of
from devcluster.nodes import Node, nodes
from devcluster.pki import certify
from devcluster.processes import boot_id, wait_for
from devcluster.starting import PATIENCE, Starter
from devcluster.supplies import NodeSupplies, Supplies, supply

ETCD_PORTS = (2379, 2380)
API_PORT = 6443


def up(kind: Kind, instance: str = "") -> Cluster:
    """The running cluster of this clone and kind; progress goes to stderr.

    Asked again it repairs: a component that was killed is started, a changed source of the package is imported, a node
    becomes one at scale or is one no more. ``instance`` names a further cluster of the kind. Raises ``Refused`` with
    what is missing, and its mend.
    """
    each = instance_of(kind, instance)
    check.require(kind, runs=each.record is not None)
    supplies = supply(kind)
    with each.lock():
        began = time.monotonic()
        record = each.record
        if record is None or not reusable(record):
            take_down(each)
            record = begin(each, kind, supplies)
        started = serve(each, record, kind, supplies)
        for made in (each.logs, each.folder / "pki"):
            give_all(made)
    report(each, kind, started, time.monotonic() - began)
    return Cluster(kind=kind, instance=each, bin=supplies.bin / FOR_PEOPLE, images=supplies.tags)


def reusable(record: Record) -> bool:
    """Whether a cluster can be mended: a node while its namespaces live, an API server until the next boot."""
    if record.interface:
        return record.started[INIT].process.alive
    return all(started.process.boot == boot_id() for started in record.started.values())


def begin(each: Instance, kind: Kind, supplies: Supplies) -> Record:
    """A new cluster: its folder and addresses, and for a node its namespaces."""
    make_folder(each.logs)
    if supplies.node is None:
        ports = free_ports(3)
        record = Record(kind=kind, host="127.0.0.1", api_port=ports[0], etcd_ports=(ports[1], ports[2]))
    else:
        init, link = node.begin(each, supplies.node.tools, supplies.bin / "pause")
        record = Record(
            kind=kind,
            host=link.node,
            api_port=API_PORT,
            etcd_ports=ETCD_PORTS,
            interface=link.interface,
            started={INIT: init},
        )
    each.write(record)
    return record


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def site_of(each: Instance, record: Record, supplies: Supplies) -> Site:
    """Where the cluster's files lie and its servers listen."""
    return Site(
        folder=each.folder,
        bin=supplies.bin,
        tools=supplies.node.tools.root if supplies.node else supplies.bin,
        host=record.host,
        api_port=record.api_port,
        etcd_ports=record.etcd_ports,
    )


def serve(each: Instance, record: Record, kind: Kind, supplies: Supplies) -> list[str]:
    """Start what does not run, wait until all of it serves, and return the names of what was started."""
    site = site_of(each, record, supplies)
    if not each.kubeconfig.exists():
        certify(each, site)
    if supplies.node is not None:
        node.configure(each, site, supplies.node.tools, kind)
    wanted = components(site, kind)
    environment = supplies.node.tools.environment() if supplies.node else {"PATH": os.defpath}
    each.write(replace(record, kind=kind))
    starter = Starter(each, replace(record, kind=kind), site, environment)
    starter.stop_others(wanted)
    runtimes = {f"containerd{one.suffix}": one for one in nodes(kind)}
    with ThreadPoolExecutor(2) as beside:
        imports: list[Future[None]] = []
        for component in wanted:
            starter.start(component)
            if component.name == "kube-apiserver":
                starter.wait(component)  # the others would try in vain, and wait longer each time
            if component.name in runtimes and supplies.node is not None:
                given = (each, starter, component, runtimes[component.name], supplies.node)
                imports.append(beside.submit(import_images, *given))
        for component in wanted:
            starter.wait(component)
        for one in nodes(kind):
            log = each.logs / f"kubelet{one.suffix}.log"
            wait_for(lambda one=one: node_serves(site, one), PATIENCE, f"{one.name} is not ready. Its log: {log}")  # type: ignore[misc]
        for each_import in imports:
            each_import.result()
    if kind == "scale" and supplies.node is not None:
        network.play(supplies.node.tools, record.started[INIT].process)
        fakes.add(site)
    elif record.kind == "scale":
        fakes.remove(site)
    return starter.started


def node_serves(site: Site, node: Node) -> bool:
    """Whether a Pod that is made now would run at once."""
    try:
        found = api.request(site.pki, f"{site.server}/api/v1/nodes/{node.name}")
        api.request(site.pki, f"{site.server}/api/v1/namespaces/default/serviceaccounts/default")
    except api.UNANSWERED:
        return False
    ready = {"Ready": "True"}.items() <= {one["type"]: one["status"] for one in found["status"]["conditions"]}.items()
    return ready and not found["spec"].get("taints")


def import_images(each: Instance, starter: Starter, containerd: Component, node: Node, supplies: NodeSupplies) -> None:
    """Give containerd the images that it does not have."""
    starter.wait(containerd)
    marks = each.folder / f"images{node.suffix}.json"
    given = Given(marks=marks, socket=starter.reached(node.containerd), tools=supplies.tools)
    given.give(supplies.pause)
    given.give(supplies.dask)


def report(each: Instance, kind: Kind, started: list[str], seconds: float) -> None:
    """Say what was done."""
    if started:
        say(each.name, f"started {', '.join(started)}")
        say(each.name, f"ready as SIZE={kind} after {seconds:.1f} s")
    else:
        say(each.name, f"runs already, as SIZE={kind}")
