"""What a node needs before its components start: their configuration, its namespaces, its cgroup."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import yaml

from devcluster import cgroups, network
from devcluster.cluster import INIT
from devcluster.components import REGISTRY_PORT, Site
from devcluster.home import make_folder
from devcluster.image import PAUSE
from devcluster.instances import Instance, Kind, Started
from devcluster.nodes import FIRST, Node, nodes
from devcluster.packages import Tools
from devcluster.processes import NewNamespaces, start

WITHOUT_IMAGES = ("ghcr.io", "docker.io", "registry.k8s.io", "quay.io", "localhost:5000")
"""Registries in whose place the cluster's own answers that it has no image. Any other cannot be reached."""

DNS_OPTIONS = "search default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"


def begin(instance: Instance, tools: Tools, pause: Path) -> tuple[Started, network.Link]:
    """The namespaces of a node, held by their first process, and their network."""
    folder = make_folder(instance.folder / "own")
    resolv = folder / "resolv.conf"
    resolv.touch()
    command = (tools.find("tini-static"), "-s", "--", str(pause))
    log = instance.logs / f"{INIT}.log"
    init = start(command, log=log, environment=tools.environment(), place=NewNamespaces(folder))
    try:
        link = network.connect(tools, init, first=sum(instance.name.encode()) % network.SLOTS)
    except BaseException:
        init.kill()  # nothing else remembers it yet
        raise
    # The file that is mounted inside is written, not replaced: it is seen there.
    resolv.write_text(f"nameserver {link.node}\n{DNS_OPTIONS}")
    return Started(process=init), link


def configure(instance: Instance, site: Site, tools: Tools, kind: Kind) -> None:
    """Write every configuration file of the nodes' components."""
    folder = site.folder
    for node in nodes(kind):
        configure_one(instance, site, tools, node)
    (folder / "pod-resolv.conf").write_text("")
    (folder / "Corefile").write_text(corefile(site))
    for host in WITHOUT_IMAGES:
        (make_folder(folder / "registries" / host) / "hosts.toml").write_text(no_images(site))


def configure_one(instance: Instance, site: Site, tools: Tools, node: Node) -> None:
    """Those that each node has for itself."""
    folder, suffix = site.folder, node.suffix
    cgroups.make(cgroup(instance, node))
    (folder / f"containerd{suffix}.toml").write_text(containerd(site, tools, node))
    (folder / f"kubelet{suffix}.yaml").write_text(yaml.safe_dump(kubelet(instance, site, node)))
    conflist = {"cniVersion": "0.4.0", "name": f"{instance.name}{suffix}", "plugins": plugins(folder, node)}
    (make_folder(folder / f"cni{suffix}") / "10-bridge.conflist").write_text(json.dumps(conflist))


def cgroup(instance: Instance, node: Node = FIRST) -> str:
    """The name of a node's cgroup. Two kubelets under one would delete each other's Pods."""
    return f"dask-k8s-{instance.name}{node.suffix}"


def containerd(site: Site, tools: Tools, node: Node) -> str:
    """Containerd's configuration; the first one's files lie in their usual places, which are the node's own."""
    cri = "plugins.'io.containerd.grpc.v1.cri'"
    # Root may lack CAP_SYS_RESOURCE: a container that asks for a lower OOM score than its parent's would not start.
    return f"""\
version = 2
root = '/var/lib/containerd{node.suffix}'
state = '{node.runtime}'
[grpc]
address = '{node.containerd}'
[debug]
address = '{node.runtime}/debug.sock'
[{cri}]
sandbox_image = '{PAUSE}'
disable_apparmor = true
restrict_oom_score_adj = true
[{cri}.containerd]
snapshotter = 'overlayfs'
[{cri}.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'
[{cri}.containerd.runtimes.runc.options]
BinaryName = '{tools.find("runc")}'
[{cri}.cni]
bin_dir = '{tools.cni}'
conf_dir = '{site.folder}/cni{node.suffix}'
[{cri}.registry]
config_path = '{site.folder}/registries'
"""


def kubelet(instance: Instance, site: Site, node: Node) -> Mapping[str, object]:
    """The kubelet's configuration."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(site.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(site.pki / f"{FIRST.name}.crt"),
        "tlsPrivateKeyFile": str(site.pki / f"{FIRST.name}.key"),
        "containerRuntimeEndpoint": f"unix://{node.containerd}",
        "port": node.port,
        "healthzPort": node.health_port,
        "podLogsDir": f"/var/log/pods{node.suffix}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup(instance, node)}",
        "enforceNodeAllocatable": [],
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [site.host],
        "clusterDomain": "cluster.local",
        "resolvConf": str(site.folder / "pod-resolv.conf"),
        "volumePluginDir": str(site.folder / "volume-plugins"),
        "maxPods": 250,
        # The disk and the images are a person's own matter on their own machine.
        "evictionHard": {"memory.available": "100Mi"},
        "imageGCHighThresholdPercent": 100,
    }


def plugins(folder: Path, node: Node) -> list[Mapping[str, object]]:
    """CNI's plug-ins: one bridge that all Pods of a node are on."""
    addresses = {
        "type": "host-local",
        "dataDir": str(folder / f"cni-addresses{node.suffix}"),
        "ranges": [[{"subnet": node.pods}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": node.bridge, "isGateway": True, "hairpinMode": True, "ipam": addresses}
    return [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}]


def corefile(site: Site) -> str:
    """CoreDNS' configuration: it knows the cluster's names, and says at once that any other does not exist."""
    # In one block "template" would answer before "kubernetes", whatever their order here: CoreDNS has one of its own.
    return f"""\
cluster.local:53 in-addr.arpa:53 ip6.arpa:53 {{
    bind {site.host}
    errors
    ready {site.host}:8181
    kubernetes {{
        kubeconfig {site.pki}/admin.kubeconfig
        pods insecure
        ttl 5
    }}
    cache 5 {{
        denial 9984 1
    }}
}}
.:53 {{
    bind {site.host}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"""


def no_images(site: Site) -> str:
    """Where containerd asks instead of a registry."""
    server = f"http://{site.host}:{REGISTRY_PORT}"
    return f"server = '{server}'\n[host.'{server}']\ncapabilities = ['pull', 'resolve']\n"
