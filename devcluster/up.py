"""Brings a cluster up: builds what is missing, starts what does not run, and leaves alone what runs."""

from __future__ import annotations

import json
import os
import socket
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

from devcluster import api, check, fakes, node
from devcluster.certificates import Authority, kubeconfig, write_secret, write_signing_key
from devcluster.cluster import INIT, Cluster
from devcluster.components import API_SERVICE, CONTAINERD, NODE, Component, Site, components
from devcluster.console import say, told
from devcluster.down import take_down
from devcluster.home import give_all, make_folder
from devcluster.image import import_image
from devcluster.instances import Instance, Kind, Record, instance
from devcluster.processes import boot_id, wait_for
from devcluster.starting import PATIENCE, Starter
from devcluster.supplies import NodeSupplies, Supplies, supply

ETCD_PORTS = (2379, 2380)
API_PORT = 6443


def up(kind: Kind, name: str = "") -> Cluster:
    """The running cluster of this clone and kind; progress goes to stderr.

    Asked again it repairs: a component that was killed is started, a changed source of the package is imported, a node
    becomes one at scale or is one no more. Several clusters of one kind have names. Raises ``Refused`` with what is
    missing, and its mend.
    """
    check.require(kind)
    supplies = supply(kind)
    each = instance(kind, name)
    with each.lock():
        began = time.monotonic()
        record = each.record
        if record is None or not reusable(record):
            take_down(each)
            record = begin(each, kind, supplies)
        started = serve(each, record, kind, supplies)
        give_all(each.logs)
    report(each, kind, started, time.monotonic() - began)
    return Cluster(kind=kind, instance=each, bin=supplies.bin, images=supplies.tags)


def reusable(record: Record) -> bool:
    """Whether a cluster can be mended: a node while its namespaces live, an API server until the next boot."""
    if record.interface:
        return record.started[INIT].process.alive
    return all(started.process.boot == boot_id() for started in record.started.values())


def begin(each: Instance, kind: Kind, supplies: Supplies) -> Record:
    """A new cluster: its folder, addresses and certificates; for a node its namespaces and configuration too."""
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
    certify(each, site_of(each, record, supplies))
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


def certify(each: Instance, site: Site) -> None:
    """Write every key, certificate and kubeconfig of a cluster."""
    pki = make_folder(site.pki)
    pki.chmod(0o700)
    authority = Authority()
    (pki / "ca.crt").write_bytes(authority.pem)
    write_signing_key(pki, "service-accounts")
    service = [f"kubernetes{suffix}" for suffix in ("", ".default", ".default.svc", ".default.svc.cluster.local")]
    addresses = ["localhost", "127.0.0.1", site.host, API_SERVICE, *service]
    authority.issue("kube-apiserver", addresses=addresses).write(pki, "api-server")
    authority.issue("kube-apiserver", group="system:masters").write(pki, "api-server-to-kubelet")
    authority.issue(f"system:node:{NODE}", addresses=[NODE, site.host]).write(pki, NODE)
    users = {
        "admin": authority.issue("admin", group="system:masters"),
        "controller-manager": authority.issue("system:kube-controller-manager"),
        "scheduler": authority.issue("system:kube-scheduler"),
        "kubelet": authority.issue(f"system:node:{NODE}", group="system:nodes"),
        "proxy": authority.issue("system:kube-proxy"),
    }
    for user, identity in users.items():
        write_secret(pki / f"{user}.kubeconfig", kubeconfig(site.server, authority.pem, identity).encode())
    users["admin"].write(pki, "admin")
    write_secret(each.kubeconfig, (pki / "admin.kubeconfig").read_bytes())


def serve(each: Instance, record: Record, kind: Kind, supplies: Supplies) -> list[str]:
    """Start what does not run, wait until all of it serves, and return the names of what was started."""
    site = site_of(each, record, supplies)
    if supplies.node is not None:
        node.configure(each, site, supplies.node.tools)
    wanted = components(site, kind)
    environment = supplies.node.tools.environment() if supplies.node else {"PATH": os.defpath}
    if record.kind == "scale" and kind != "scale":
        fakes.remove(site)
    record = replace(record, kind=kind)
    each.write(record)
    starter = Starter(each, record, site, environment)
    starter.stop_others(wanted)
    with ThreadPoolExecutor(1) as beside:
        imports: Future[None] | None = None
        for component in wanted:
            starter.start(component)
            if component.name == "kube-apiserver":
                starter.wait(component)  # the others would try in vain, and wait longer each time
            if component.name == "containerd" and supplies.node is not None:
                imports = beside.submit(import_images, each, starter, component, supplies.node)
        for component in wanted:
            starter.wait(component)
        if imports is not None:
            wait_for(
                lambda: node_serves(site), PATIENCE, f"the node is not ready. Its log: {each.logs / 'kubelet.log'}"
            )
            imports.result()
    if kind == "scale":
        fakes.add(site)
    return starter.started


def node_serves(site: Site) -> bool:
    """Whether a Pod that is made now would run at once."""
    try:
        found = api.request(site.pki, f"{site.server}/api/v1/nodes/{NODE}")
        api.request(site.pki, f"{site.server}/api/v1/namespaces/default/serviceaccounts/default")
    except api.UNANSWERED:
        return False
    ready = {"Ready": "True"}.items() <= {one["type"]: one["status"] for one in found["status"]["conditions"]}.items()
    return ready and not found["spec"].get("taints")


def import_images(each: Instance, starter: Starter, containerd: Component, supplies: NodeSupplies) -> None:
    """Give containerd the images that it does not have."""
    starter.wait(containerd)
    marks = each.folder / "images.json"
    have: dict[str, str] = json.loads(marks.read_text()) if marks.exists() else {}
    socket_path = starter.reached(CONTAINERD)
    environment = supplies.dask.layers[0]
    for name, image in {"pause": supplies.pause, "dask": supplies.dask}.items():
        if have.get(name) == image.key:
            continue
        with told("image", f"importing {', '.join(image.tags)}"):
            held = environment if name == "dask" and have.get("environment") == environment.digest else None
            import_image(image, supplies.tools, socket_path, held=held)
        have[name] = image.key
    have["environment"] = environment.digest
    marks.write_text(json.dumps(have))


def report(each: Instance, kind: Kind, started: list[str], seconds: float) -> None:
    """Say what was done."""
    if started:
        say(each.name, f"started {', '.join(started)}")
        say(each.name, f"ready as SIZE={kind} after {seconds:.1f} s")
    else:
        say(each.name, f"runs already, as SIZE={kind}")
