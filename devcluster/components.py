"""The table of what runs: each component's name, command line, and the question that tells that it is ready.

A command line is a function of the site and the kind alone. A component that is to have another one than it runs with,
or other files, is started again; so a node becomes one at scale, and back.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

from devcluster.instances import Kind
from devcluster.nodes import FIRST, Node, nodes

PODS = "10.244.0.0/16"
SERVICES = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
"""The address of the Service ``kubernetes``: the first one of ``SERVICES``."""

PLAYED_PODS = "10.245.0.0/16"
"""The addresses of Pods on nodes that KWOK plays: none has a network, and inside the node's they lead to itself."""

FAKE_NODES = "kwok.x-k8s.io/node=fake"
"""The annotation by which KWOK knows the nodes that it plays, and the taint that keeps other Pods from them."""

REGISTRY_PORT = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where a cluster's files lie, and where its servers listen."""

    folder: Path
    bin: Path
    tools: Path
    """The folder of the unpacked Debian packages; without a node there is none."""
    host: str
    api_port: int
    etcd_ports: tuple[int, int]

    @property
    def pki(self) -> Path:
        """The folder of keys, certificates and kubeconfigs."""
        return self.folder / "pki"

    @property
    def server(self) -> str:
        """The URL of the API server."""
        return f"https://{self.host}:{self.api_port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One long-running program of the cluster."""

    name: str
    command: tuple[str, ...]
    files: tuple[Path, ...] = ()
    """Its configuration; when that changes, the component is started again."""
    ready: str | Path | None = None
    """A URL that answers 200, or a socket of the node that takes connections, when the component serves."""

    @property
    def digest(self) -> str:
        """Changes with what the component is started with."""
        told = "\0".join(self.command).encode() + b"".join(path.read_bytes() for path in self.files)
        return hashlib.sha256(told).hexdigest()[:16]


def components(site: Site, kind: Kind) -> tuple[Component, ...]:
    """Everything that a cluster of this kind runs, in the order in which it is started."""
    if kind == "api":
        return (etcd(site), api_server(site, kind))
    at_scale = (kwok(site),) if kind == "scale" else ()
    # containerd comes first: importing the image takes longest, and goes on beside the rest.
    return (
        *(containerd(site, node) for node in nodes(kind)),
        etcd(site),
        api_server(site, kind),
        controller_manager(site, kind),
        scheduler(site, kind),
        *(kubelet(site, node) for node in nodes(kind)),
        proxy(site),
        coredns(site),
        registry(site),
        *at_scale,
    )


def etcd(site: Site) -> Component:
    """The store, without waiting for the disk: what it holds ends with the cluster."""
    clients, peers = (f"http://127.0.0.1:{port}" for port in site.etcd_ports)
    options = {
        "data-dir": site.folder / "etcd",
        "listen-client-urls": clients,
        "advertise-client-urls": clients,
        "listen-peer-urls": peers,
        "initial-advertise-peer-urls": peers,
        "initial-cluster": f"default={peers}",
        "log-level": "warn",
    }
    # That it serves is told by the API server, which waits for it: its port cannot be seen from outside a node.
    return Component(name="etcd", command=(str(site.bin / "etcd"), "--unsafe-no-fsync", *flags(options)))


def api_server(site: Site, kind: Kind) -> Component:
    """The API server; without a node it serves the machine itself alone, and asks for no ServiceAccount in a Pod."""
    pki = site.pki
    options: dict[str, object] = {
        "etcd-servers": f"http://127.0.0.1:{site.etcd_ports[0]}",
        "secure-port": site.api_port,
        "tls-cert-file": pki / "api-server.crt",
        "tls-private-key-file": pki / "api-server.key",
        "client-ca-file": pki / "ca.crt",
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": pki / "service-accounts.pub",
        "service-account-signing-key-file": pki / "service-accounts.key",
        "service-cluster-ip-range": SERVICES,
        "authorization-mode": "Node,RBAC",
        "allow-privileged": "true",
    }
    if kind == "api":
        # No controller manager makes the ServiceAccount that each Pod would be refused without. The server wants to
        # advertise an address that is not the loopback's: this one is kept for documentation, and nothing asks for it.
        options |= {
            "bind-address": site.host,
            "advertise-address": "192.0.2.1",
            "endpoint-reconciler-type": "none",
            "disable-admission-plugins": "ServiceAccount",
        }
    else:
        options |= {
            "bind-address": "0.0.0.0",
            "advertise-address": site.host,
            "enable-admission-plugins": "NodeRestriction",
            "kubelet-certificate-authority": pki / "ca.crt",
            "kubelet-client-certificate": pki / "api-server-to-kubelet.crt",
            "kubelet-client-key": pki / "api-server-to-kubelet.key",
            "kubelet-preferred-address-types": "InternalIP",
        }
    command = (str(site.bin / "kube-apiserver"), *flags(options))
    return Component(name="kube-apiserver", command=command, ready=f"{site.server}/readyz")


def controller_manager(site: Site, kind: Kind) -> Component:
    """The built-in controllers; their own limit on requests is lifted at scale only."""
    options: dict[str, object] = {
        "kubeconfig": site.pki / "controller-manager.kubeconfig",
        "leader-elect": "false",
        "root-ca-file": site.pki / "ca.crt",
        "service-account-private-key-file": site.pki / "service-accounts.key",
        "use-service-account-credentials": "true",
        "allocate-node-cidrs": "false",
        "cluster-cidr": PODS,
        "bind-address": "127.0.0.1",
        **(limits(500, 1000) if kind == "scale" else {}),
    }
    return Component(
        name="kube-controller-manager", command=(str(site.bin / "kube-controller-manager"), *flags(options))
    )


def scheduler(site: Site, kind: Kind) -> Component:
    """The scheduler; its own limit on requests is lifted at scale only."""
    options: dict[str, object] = {
        "kubeconfig": site.pki / "scheduler.kubeconfig",
        "leader-elect": "false",
        "bind-address": "127.0.0.1",
        **(limits(1000, 2000) if kind == "scale" else {}),
    }
    return Component(name="kube-scheduler", command=(str(site.bin / "kube-scheduler"), *flags(options)))


def limits(qps: int, burst: int) -> dict[str, object]:
    """How many requests a second a component allows itself; the defaults are 20 and 30, or 50 and 100."""
    return {"kube-api-qps": qps, "kube-api-burst": burst}


def containerd(site: Site, node: Node) -> Component:
    """The container runtime."""
    configuration = site.folder / f"containerd{node.suffix}.toml"
    command = (str(site.tools / "usr/bin/containerd"), "--config", str(configuration))
    name = f"containerd{node.suffix}"
    return Component(name=name, command=command, files=(configuration,), ready=node.containerd)


def kubelet(site: Site, node: Node) -> Component:
    """The node's agent."""
    options = {
        "kubeconfig": site.pki / f"kubelet{node.suffix}.kubeconfig",
        "config": site.folder / f"kubelet{node.suffix}.yaml",
        "root-dir": f"/var/lib/kubelet{node.suffix}",
        "hostname-override": node.name,
        "node-ip": site.host,
    }
    command = (str(site.bin / "kubelet"), *flags(options))
    files = (site.folder / f"kubelet{node.suffix}.yaml",)
    url = f"https://{site.host}:{node.port}/healthz"
    return Component(name=f"kubelet{node.suffix}", command=command, files=files, ready=url)


def proxy(site: Site) -> Component:
    """What makes Services reachable. It leaves conntrack's limits alone, which are the whole machine's."""
    options = {
        "kubeconfig": site.pki / "proxy.kubeconfig",
        "hostname-override": FIRST.name,
        "proxy-mode": "iptables",
        "cluster-cidr": PODS,
        "healthz-bind-address": f"{site.host}:10256",
        "metrics-bind-address": "127.0.0.1:10249",
        "conntrack-max-per-core": 0,
        "conntrack-min": 0,
        "conntrack-tcp-timeout-established": "0s",
        "conntrack-tcp-timeout-close-wait": "0s",
    }
    command = (str(site.bin / "kube-proxy"), *flags(options))
    return Component(name="kube-proxy", command=command, ready=f"http://{site.host}:10256/healthz")


def coredns(site: Site) -> Component:
    """The cluster's names."""
    configuration = site.folder / "Corefile"
    command = (str(site.bin / "coredns"), "-conf", str(configuration))
    return Component(name="coredns", command=command, files=(configuration,), ready=f"http://{site.host}:8181/ready")


def registry(site: Site) -> Component:
    """The registry that has no image."""
    script = Path(__file__).with_name("registry.py")
    command = (sys.executable, "-I", "-S", str(script), site.host, str(REGISTRY_PORT))
    return Component(name="registry", command=command, files=(script,), ready=f"http://{site.host}:{REGISTRY_PORT}/v2/")


def kwok(site: Site) -> Component:
    """What plays the nodes that exist in the API only."""
    options = {
        "kubeconfig": site.pki / "admin.kubeconfig",
        "manage-nodes-with-annotation-selector": FAKE_NODES,
        "cidr": PLAYED_PODS,
        "node-lease-duration-seconds": 40,
    }
    return Component(name="kwok", command=(str(site.bin / "kwok"), *flags(options)))


def flags(options: dict[str, object] | dict[str, str] | dict[str, Path | str]) -> tuple[str, ...]:
    """``--name=value`` for each."""
    return tuple(f"--{name}={value}" for name, value in options.items())
