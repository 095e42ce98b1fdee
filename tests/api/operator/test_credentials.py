"""A log-in that ends while the operator runs: a token that is replaced in its file, as a kubelet does it."""

from __future__ import annotations

from pathlib import Path

from dask_k8s.kube import credentials
from dask_k8s.kube.client import Client
from dask_k8s.kube.resources import SERVICE_ACCOUNT
from dask_k8s.operator.rights import DEPLOYED, RIGHTS, rules
from tests.api.conftest import ApiServer, provide_service_account
from tests.api.install.test_rights import kubeconfig_with, token_of
from tests.api.operator.conftest import Serve, World, seed_cluster


async def test_a_token_that_was_replaced_is_read_again(
    world: World, serve: Serve, apiserver: ApiServer, tmp_path: Path
) -> None:
    """The account is made anew, so that its old tokens are refused: the operator goes on with the new one."""
    await allowed(world)
    token = tmp_path / "token"
    token.write_text(await token_of(apiserver, world.namespace))
    kubeconfig = kubeconfig_with({"tokenFile": str(token)}, apiserver, tmp_path / "kubeconfig")
    own = await credentials.from_kubeconfig(kubeconfig, apiserver.context)
    async with Client(own) as client, serve(client=client):
        await world.make(seed_cluster())
        await world.workers(2)
        await world.client.delete(SERVICE_ACCOUNT, world.namespace, "default")
        await provide_service_account(world.client, world.namespace)
        token.write_text(await token_of(apiserver, world.namespace))
        await world.scale(4)
        await world.workers(4)


async def allowed(world: World) -> None:
    """What an operator needs in its namespace, for the namespace's own account."""
    about = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "operator"}}
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": world.namespace}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "operator"}
    await world.make({**about, "kind": "Role", "rules": rules((*RIGHTS, *DEPLOYED))})
    await world.make({**about, "kind": "RoleBinding", "roleRef": reference, "subjects": [subject]})
