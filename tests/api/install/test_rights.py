"""What the installed roles allow, and what happens to who lacks a right; asked of the real authorizer."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest
import yaml
from click.testing import CliRunner

from dask_k8s import names
from dask_k8s.cli import k8s
from dask_k8s.cli.install import Wish
from dask_k8s.kinds.value import Manifest
from dask_k8s.kube.client import Client
from dask_k8s.kube.resources import (
    LEASE,
)
from tests.api.conftest import ApiServer
from tests.api.install.conftest import installed

pytestmark = pytest.mark.usefixtures("crds", "one_at_a_time")


async def test_the_operators_account_may_what_it_needs_and_reads_no_secret(
    client: Client, wish: Wish, apiserver: ApiServer
) -> None:
    """Asked as the account itself, of the real authorizer."""
    await installed(client, wish)

    async def may(user: str, groups: list[str], verb: str, api_group: str, resource: str, name: str = "") -> bool:
        attributes = {"verb": verb, "group": api_group, "resource": resource, "namespace": wish.namespace, "name": name}
        spec = {"user": user, "groups": groups, "resourceAttributes": attributes}
        return await allowed(apiserver, spec)

    account = f"system:serviceaccount:{wish.namespace}:{names.OPERATOR}"
    assert await may(account, [], "create", "", "pods")
    assert await may(account, [], "update", LEASE.group, LEASE.plural)
    assert not await may(account, [], "get", "", "secrets")
    assert not await may(account, [], "create", "", "namespaces")

    everyone = ["system:authenticated"]
    assert await may("anybody", everyone, "get", LEASE.group, LEASE.plural, names.OPERATOR)
    assert not await may("anybody", everyone, "get", LEASE.group, LEASE.plural, "another")
    assert not await may("anybody", everyone, "update", LEASE.group, LEASE.plural, names.OPERATOR)


async def allowed(apiserver: ApiServer, spec: Manifest) -> bool:
    """What the API server's authorizer says about somebody else."""
    own = await apiserver.log_in()
    url = f"{own.server}/apis/authorization.k8s.io/v1/subjectaccessreviews"
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        answer = await session.post(url, json=body, headers=await own.headers(), ssl=own.tls() or True)
        return bool((await answer.json())["status"]["allowed"])


@pytest.fixture
async def nobodys_kubeconfig(apiserver: ApiServer, namespace: str, tmp_path: Path) -> Path:
    """The same API server for an account without any right."""
    return kubeconfig_with({"token": await token_of(apiserver, namespace)}, apiserver, tmp_path / "nobody.kubeconfig")


async def token_of(apiserver: ApiServer, namespace: str) -> str:
    """A token of a namespace's own account."""
    own = await apiserver.log_in()
    url = f"{own.server}/api/v1/namespaces/{namespace}/serviceaccounts/default/token"
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        answer = await session.post(url, json=body, headers=await own.headers(), ssl=own.tls() or True)
        return str((await answer.json())["status"]["token"])


def kubeconfig_with(user: Manifest, apiserver: ApiServer, path: Path) -> Path:
    """The API server's kubeconfig, with one user, such as a token, for all log-ins."""
    content = yaml.safe_load(Path(apiserver.kubeconfig).expanduser().read_text())
    users = [{"name": each["name"], "user": user} for each in content["users"]]
    path.write_text(yaml.safe_dump({**content, "users": users}))
    return path


def test_a_right_that_is_missing_is_named(apiserver: ApiServer, nobodys_kubeconfig: Path) -> None:
    """As the API server says it, with the verb and the kind; exit code 1."""
    context = [] if apiserver.context is None else ["--context", apiserver.context]
    done = CliRunner().invoke(k8s, ["install", "--crds-only", "--kubeconfig", str(nobodys_kubeconfig), *context])
    assert done.exit_code == 1
    assert 'cannot get resource "customresourcedefinitions"' in done.output
    assert done.output.endswith("This takes the rights of an administrator.\n")
