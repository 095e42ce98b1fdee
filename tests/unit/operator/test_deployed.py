"""Where the deployed operator's Lease is held."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from dask_k8s import names
from dask_k8s.kube.credentials import Credentials
from dask_k8s.operator.deployed import Options, lease_namespace


async def no_headers() -> Mapping[str, str]:
    return {}


async def no_refresh() -> None: ...


def log_in(*, namespace: str | None, in_cluster: bool) -> Credentials:
    return Credentials(
        server="https://api.example",
        tls=lambda: None,
        headers=no_headers,
        refresh=no_refresh,
        namespace=namespace,
        proxy=None,
        server_hostname=None,
        in_cluster=in_cluster,
    )


IN_A_POD = log_in(namespace="ops", in_cluster=True)
IN_A_SHELL = log_in(namespace="mine", in_cluster=False)


@pytest.mark.parametrize(
    ("options", "own", "place"),
    [
        pytest.param(Options(namespaces=None), IN_A_POD, "ops", id="all, in a Pod: the Pod's"),
        pytest.param(Options(namespaces=("a", "b")), IN_A_POD, "ops", id="some, in a Pod: the Pod's"),
        pytest.param(Options(namespaces=None), IN_A_SHELL, names.OPERATOR_NAMESPACE, id="all, in a shell: the usual"),
        pytest.param(Options(namespaces=("a", "b")), IN_A_SHELL, "a", id="some, in a shell: the first"),
        pytest.param(Options(namespaces=None, lease_namespace="x"), IN_A_POD, "x", id="what one says"),
    ],
)
def test_the_lease_is_where_kubecluster_looks_for_it(options: Options, own: Credentials, place: str) -> None:
    """Without a word from anybody it is beside the Pod, in the usual namespace, or in one that is served."""
    assert lease_namespace(options, own) == place
