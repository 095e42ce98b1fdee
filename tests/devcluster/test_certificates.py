"""Who trusts whom in a cluster."""

from __future__ import annotations

import ipaddress
import stat
from base64 import b64decode
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from devcluster.certificates import Authority, kubeconfig, write_secret


def verify(authority: Authority, certificate: bytes, address: str) -> None:
    """Check a server's certificate as strictly as Python 3.13 and newer do."""
    policy = PolicyBuilder().store(Store([authority.certificate]))
    subject = x509.IPAddress(ipaddress.ip_address(address))
    policy.build_server_verifier(subject).verify(x509.load_pem_x509_certificate(certificate), [])


def test_a_server_is_trusted_under_its_addresses_alone() -> None:
    """And by nobody who trusts another cluster's authority."""
    authority = Authority()
    server = authority.issue("kube-apiserver", addresses=["198.18.1.1", "kubernetes.default"])
    verify(authority, server.certificate, "198.18.1.1")
    with pytest.raises(VerificationError):
        verify(authority, server.certificate, "198.18.1.2")
    with pytest.raises(VerificationError):
        verify(Authority(), server.certificate, "198.18.1.1")


def test_a_client_is_known_by_user_and_group() -> None:
    """As Kubernetes reads them."""
    certificate = x509.load_pem_x509_certificate(Authority().issue("u", group="g").certificate)
    assert certificate.subject.rfc4514_string() == "CN=u,O=g"


def test_a_kubeconfig_is_whole_in_one_file() -> None:
    """It can be taken elsewhere: nothing in it is a path."""
    authority = Authority()
    identity = authority.issue("admin")
    content = yaml.safe_load(kubeconfig("https://198.18.1.1:6443", authority.pem, identity))
    (cluster,), (user,) = content["clusters"], content["users"]
    assert cluster["cluster"]["server"] == "https://198.18.1.1:6443"
    assert b64decode(cluster["cluster"]["certificate-authority-data"]) == authority.pem
    assert b64decode(user["user"]["client-key-data"]) == identity.key
    assert content["current-context"] == content["contexts"][0]["name"]


def test_a_secret_is_its_owners_alone(tmp_path: Path) -> None:
    """Also where a file of wider rights was before."""
    path = tmp_path / "key"
    path.touch(0o644)
    write_secret(path, b"secret")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
