"""Who is who in a cluster: every key, certificate and kubeconfig that its components have."""

from __future__ import annotations

from devcluster.certificates import Authority, kubeconfig, write_secret, write_signing_key
from devcluster.components import API_SERVICE, Site
from devcluster.home import give, make_folder
from devcluster.instances import Instance
from devcluster.nodes import FIRST, SECOND


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
    authority.issue(f"system:node:{FIRST.name}", addresses=[FIRST.name, site.host]).write(pki, FIRST.name)
    users = {
        "admin": authority.issue("admin", group="system:masters"),
        "controller-manager": authority.issue("system:kube-controller-manager"),
        "scheduler": authority.issue("system:kube-scheduler"),
        **{
            f"kubelet{node.suffix}": authority.issue(f"system:node:{node.name}", group="system:nodes")
            for node in (FIRST, SECOND)
        },
        "proxy": authority.issue("system:kube-proxy"),
    }
    for user, identity in users.items():
        write_secret(pki / f"{user}.kubeconfig", kubeconfig(site.server, authority.pem, identity).encode())
    users["admin"].write(pki, "admin")
    # Written last: where it is, all of it is.
    write_secret(each.kubeconfig, (pki / "admin.kubeconfig").read_bytes())
    give(each.kubeconfig)
