"""``dask k8s install`` and ``uninstall`` on a real API server.

One after the other, since an operator's ClusterRole is there once, and the command looks at all namespaces. A lock
does it: pytest-xdist 3.8 takes no notice of its groups under pytest 9.2. Where Kubernetes' controllers would act, the
test does.
"""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import sys
import venv
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from sysconfig import get_path

import aiohttp
import pytest
import yaml
from click.testing import CliRunner

from dask_k8s import names
from dask_k8s.cli import foreign, k8s, manifest, packed
from dask_k8s.cli.applied import Outcome, apply
from dask_k8s.cli.install import Wish, install
from dask_k8s.cli.uninstall import uninstall
from dask_k8s.errors import DaskK8sError, Missing, StartError, StartTimeout
from dask_k8s.kinds.value import Manifest
from dask_k8s.kube.client import Client
from dask_k8s.kube.resources import (
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    CUSTOM_RESOURCE_DEFINITION,
    DEPLOYMENT,
    LEASE,
    POD,
    SERVICE_ACCOUNT,
)
from tests.api.conftest import ApiServer, alone

pytestmark = pytest.mark.usefixtures("crds", "one_at_a_time")

CHECKOUT = Path(__file__).parents[2]
WITHIN = 30.0


class Said(list[str]):
    """What a command said, line by line."""

    def __call__(self, line: str) -> None:
        self.append(line)

    def about(self, kind: str) -> list[str]:
        """What became of the objects of a kind."""
        return [line.rpartition(": ")[2] for line in self if line.startswith(f"{kind} ")]


@pytest.fixture
def one_at_a_time(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No other test of this file runs meanwhile, in whatever worker."""
    with alone(tmp_path_factory.getbasetemp().parent / "install.lock"):
        yield


@pytest.fixture
def said() -> Said:
    """Listens to a command."""
    return Said()


@pytest.fixture
async def wish(one_at_a_time: None, client: Client, namespace: str) -> AsyncIterator[Wish]:
    """An installation into the test's namespace, which is taken away again."""
    yield Wish(namespace=namespace, timeout=WITHIN)
    await uninstall(client, namespace, Said())


async def the_deployment(client: Client, namespace: str) -> Manifest:
    """The operator's, once it is there."""
    async with asyncio.timeout(WITHIN):
        while True:
            with suppress(Missing):
                return await client.get(DEPLOYMENT, namespace, names.OPERATOR)
            await asyncio.sleep(0.05)


async def report(client: Client, namespace: str, **status: object) -> None:
    """Plays the Deployment's controller."""
    deployment = await the_deployment(client, namespace)
    observed = {"observedGeneration": deployment["metadata"]["generation"], **status}
    await client.patch(DEPLOYMENT, namespace, names.OPERATOR, {"status": observed}, subresource="status")


async def report_available(client: Client, namespace: str) -> None:
    await report(client, namespace, replicas=1, updatedReplicas=1, readyReplicas=1, availableReplicas=1)


async def a_pod_that(client: Client, namespace: str, waiting: Manifest) -> None:
    """Plays controller and kubelet: a Pod of the operator whose container waits for a reason."""
    template = (await the_deployment(client, namespace))["spec"]["template"]
    metadata = {**template["metadata"], "name": "operator-pod", "namespace": namespace}
    await client.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
    image = template["spec"]["containers"][0]["image"]
    container = {"name": "operator", "image": image, "imageID": "", "ready": False, "restartCount": 0}
    status = {"phase": "Pending", "containerStatuses": [{**container, "state": {"waiting": waiting}}]}
    await client.patch(POD, namespace, "operator-pod", {"status": status}, subresource="status")
    await report(client, namespace, replicas=1, updatedReplicas=1)


async def test_it_installs_waits_and_says_what_it_did(client: Client, wish: Wish, said: Said) -> None:
    """Each object is created, the end is told when the operator is available, and not before."""
    async with asyncio.TaskGroup() as group:
        installing = group.create_task(install(client, wish, said))
        await the_deployment(client, wish.namespace)
        await asyncio.sleep(0.2)
        assert not installing.done()
        await report_available(client, wish.namespace)
    for kind in ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "Deployment"):
        assert said.about(kind) == ["created"]
    assert said.about("CustomResourceDefinition") in (["unchanged"] * 2, ["changed"] * 2)
    assert any(line.startswith("The operator is ready after ") for line in said)


async def test_a_second_time_changes_nothing(client: Client, wish: Wish, said: Said) -> None:
    """Everything is unchanged, a count of replicas that somebody else has set included."""
    async with asyncio.TaskGroup() as group:
        group.create_task(install(client, wish, Said()))
        await report_available(client, wish.namespace)
    await client.patch(DEPLOYMENT, wish.namespace, names.OPERATOR, {"spec": {"replicas": 2}})
    await report(client, wish.namespace, replicas=2, updatedReplicas=2, readyReplicas=2, availableReplicas=2)

    await install(client, wish, said)
    outcomes = [line.rpartition(": ")[2] for line in said if ": " in line]
    assert outcomes[:9] == ["unchanged"] * 9
    assert (await the_deployment(client, wish.namespace))["spec"]["replicas"] == 2


async def test_another_image_changes_the_deployment_alone(client: Client, wish: Wish, said: Said) -> None:
    """And is waited for: what is told about the version before does not count."""
    async with asyncio.TaskGroup() as group:
        group.create_task(install(client, wish, Said()))
        await report_available(client, wish.namespace)

    async with asyncio.TaskGroup() as group:
        again = group.create_task(install(client, replace(wish, image="registry.example/op:2"), said))
        async with asyncio.timeout(WITHIN):
            while "Deployment" not in "".join(said):
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.2)
        assert not again.done()
        await report_available(client, wish.namespace)
    assert said.about("Deployment") == ["changed"]
    assert said.about("ClusterRole") == ["unchanged"]
    pod = (await the_deployment(client, wish.namespace))["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "registry.example/op:2"


async def test_a_dry_run_changes_nothing(client: Client, said: Said) -> None:
    """It says what would be created, even in a namespace that is not there yet."""
    wish = Wish(namespace=f"absent-{secrets.token_hex(4)}", dry_run=True)
    await install(client, wish, said)
    for kind in ("Namespace", "ServiceAccount", "ClusterRole", "Role", "Deployment"):
        assert said.about(kind) == ["would be created"]
    for resource in (CLUSTER_ROLE, CLUSTER_ROLE_BINDING):
        with pytest.raises(Missing):
            await client.get(resource, None, names.OPERATOR)


async def test_what_keeps_the_operator_from_running_is_told_at_once(client: Client, wish: Wish) -> None:
    """An image that does not exist ends the waiting, with the kubelet's words and the option that mends it."""
    message = 'Back-off pulling image "x": not found'
    installing = asyncio.create_task(install(client, wish, Said()))
    await a_pod_that(client, wish.namespace, {"reason": "ImagePullBackOff", "message": message})
    with pytest.raises(StartError) as told:
        await installing
    assert not isinstance(told.value, StartTimeout)
    assert told.value.cause == f"Pod operator-pod: the image {manifest.IMAGE} cannot be pulled: {message}"
    assert told.value.mend == "Name an image that is there, by --image."


async def test_time_that_is_over_is_told_with_the_reason(client: Client, wish: Wish) -> None:
    """Without any Pod it is what the Deployment's conditions say."""
    quota = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: small"}
    installing = asyncio.create_task(install(client, replace(wish, timeout=2), Said()))
    await report(client, wish.namespace, conditions=[quota])
    with pytest.raises(StartTimeout, match="FailedCreate: exceeded quota: small"):
        await installing


async def test_without_controllers_it_says_that_nobody_looked(client: Client, wish: Wish) -> None:
    """As on a bare API server."""
    with pytest.raises(StartTimeout, match="Kubernetes has not looked at the Deployment"):
        await install(client, replace(wish, timeout=1), Said())


async def make_peer(client: Client, namespace: str) -> None:
    """dask-kubernetes' operator, as its chart makes it."""
    labels = {"app.kubernetes.io/name": "dask-kubernetes-operator"}
    container = {"name": "operator", "image": "ghcr.io/dask/dask-kubernetes-operator:2025.7.0"}
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
    }
    metadata = {"name": "peer", "namespace": namespace, "labels": labels}
    await client.create({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec})


@pytest.fixture
async def peer(one_at_a_time: None, client: Client, namespace: str) -> AsyncIterator[str]:
    """The namespace in which dask-kubernetes' operator runs."""
    await make_peer(client, namespace)
    yield namespace
    await client.delete(DEPLOYMENT, namespace, "peer")


async def test_beside_dask_kubernetes_it_refuses(client: Client, peer: str, said: Said) -> None:
    """And has done nothing then; a dry run refuses as well."""
    for dry_run in (True, False):
        with pytest.raises(DaskK8sError, match=f"scale down Deployment {peer}/peer"):
            await install(client, Wish(namespace=peer, dry_run=dry_run), said)
    assert len(said) == 2
    assert (await client.get(DEPLOYMENT, peer, "peer"))["spec"]["replicas"] == 1
    with pytest.raises(Missing):
        await client.get(SERVICE_ACCOUNT, peer, names.OPERATOR)


async def test_replace_scales_dask_kubernetes_down_first(client: Client, peer: str, wish: Wish, said: Said) -> None:
    """Before the kinds are touched, and with the command that undoes it."""
    await install(client, replace(wish, crds_only=True, replace=True), said)
    assert (await client.get(DEPLOYMENT, peer, "peer"))["spec"]["replicas"] == 0
    assert said[1].startswith(f"Deployment {peer}/peer (ghcr.io/dask/dask-kubernetes-operator:2025.7.0): scaled down;")
    assert said[1].endswith(f"kubectl -n {peer} scale deployment peer --replicas=1")
    assert said[2].startswith("CustomResourceDefinition ")
    await install(client, replace(wish, crds_only=True), Said())


async def test_a_replacing_dry_run_leaves_dask_kubernetes_alone(client: Client, peer: str, said: Said) -> None:
    """It says what would be done to it."""
    await install(client, Wish(namespace=peer, dry_run=True, replace=True), said)
    assert "would be scaled down" in said[1]
    assert (await client.get(DEPLOYMENT, peer, "peer"))["spec"]["replicas"] == 1


async def test_a_second_operator_of_ours_is_refused(client: Client, wish: Wish) -> None:
    """Two of them in two namespaces would serve the same clusters under two Leases."""
    async with asyncio.TaskGroup() as group:
        group.create_task(install(client, wish, Said()))
        await report_available(client, wish.namespace)
    with pytest.raises(DaskK8sError, match=f"--namespace {wish.namespace} to change that one"):
        await install(client, Wish(namespace="elsewhere"), Said())


async def test_kinds_without_our_label_are_foreign(client: Client) -> None:
    """Whoever made them; with the label they are ours."""
    group = f"g{secrets.token_hex(4)}.example.org"
    crd: dict[str, object] = {
        "apiVersion": CUSTOM_RESOURCE_DEFINITION.api_version,
        "kind": CUSTOM_RESOURCE_DEFINITION.kind,
        "metadata": {"name": f"things.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": "Thing", "plural": "things"},
            "versions": [
                {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
            ],
        },
    }
    assert not await foreign.look(client, [crd], "any")
    assert await apply(client, crd, dry_run=False) is Outcome.CREATED
    try:
        assert (await foreign.look(client, [crd], "any")).crds == (f"things.{group}",)
        ours = {**crd, "metadata": {"name": f"things.{group}", "labels": {manifest.PART_OF: manifest.PACKAGE}}}
        assert await apply(client, ours, dry_run=True) is Outcome.CHANGED
        assert await apply(client, ours, dry_run=False) is Outcome.CHANGED
        assert await apply(client, ours, dry_run=False) is Outcome.UNCHANGED
        assert not await foreign.look(client, [crd], "any")
    finally:
        await client.delete(CUSTOM_RESOURCE_DEFINITION, None, f"things.{group}")


async def test_uninstall_takes_away_what_is_ours(client: Client, wish: Wish, said: Said) -> None:
    """What bears an operator's name without our label stays."""
    async with asyncio.TaskGroup() as group:
        group.create_task(install(client, wish, Said()))
        await report_available(client, wish.namespace)
    theirs = {"metadata": {"labels": {manifest.PART_OF: None}}}
    await client.patch(SERVICE_ACCOUNT, wish.namespace, names.OPERATOR, theirs)

    await uninstall(client, wish.namespace, said)
    assert said.about("Deployment") == ["deleted"]
    assert "left, since it is not ours" in next(line for line in said if line.startswith("ServiceAccount "))
    await client.get(SERVICE_ACCOUNT, wish.namespace, names.OPERATOR)
    with pytest.raises(Missing):
        await client.get(DEPLOYMENT, wish.namespace, names.OPERATOR)


async def test_uninstall_never_takes_clusters_unasked(client: Client, namespace: str, said: Said) -> None:
    """With the kinds their objects would go: it refuses, names them, and has done nothing."""
    metadata = {"name": "group", "namespace": namespace}
    pod = {"containers": [{"name": "worker", "image": "any", "args": ["dask", "worker"]}]}
    spec = {"cluster": "absent", "worker": {"replicas": 0, "spec": pod}}
    group = {"apiVersion": names.API_VERSION, "kind": names.WORKER_GROUP, "metadata": metadata, "spec": spec}
    await client.create(group)
    with pytest.raises(DaskK8sError, match="would be deleted: Dask"):
        await uninstall(client, namespace, said, crds=True)
    assert said == []


async def test_the_operators_account_may_what_it_needs_and_reads_no_secret(
    client: Client, wish: Wish, apiserver: ApiServer
) -> None:
    """Asked as the account itself, of the real authorizer."""
    async with asyncio.TaskGroup() as group:
        group.create_task(install(client, wish, Said()))
        await report_available(client, wish.namespace)

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
        answer = await session.post(url, json=body, headers=await own.headers(), ssl=own.ssl or True)
        return bool((await answer.json())["status"]["allowed"])


@pytest.fixture(scope="session")
def clean_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with this package's wheel and what it depends on, and nothing of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=CHECKOUT, check=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=False)
    site_packages = Path(get_path("purelib", vars={"base": str(folder / "venv")}))
    zipfile.ZipFile(wheel).extractall(site_packages)
    # A plain path: the .pth files in it are not read, of which one leads to the checkout.
    site_packages.joinpath("dependencies.pth").write_text(get_path("purelib"))
    return folder / "venv" / "bin" / "python"


def test_the_wheel_alone_installs_the_kinds(apiserver: ApiServer, clean_python: Path, tmp_path: Path) -> None:
    """``dask k8s install`` in a clean environment, through Dask's own command line."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(clean_python), *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    found = run("-c", "import dask_k8s; print(dask_k8s.__file__)").stdout
    assert clean_python.parents[1] in Path(found).parents

    context = [] if apiserver.context is None else ["--context", apiserver.context]
    command = ["k8s", "install", "--crds-only", "--kubeconfig", str(Path(apiserver.kubeconfig).expanduser()), *context]
    done = run("-m", "dask", *command)
    assert (done.returncode, done.stderr) == (0, "")
    said = Said(done.stdout.splitlines())
    assert said[0].startswith("Kubernetes v")
    assert len(said.about("CustomResourceDefinition")) == len(packed.crds())
    assert len(said) == 1 + len(packed.crds())


@pytest.fixture
async def nobodys_kubeconfig(apiserver: ApiServer, namespace: str, tmp_path: Path) -> Path:
    """The same API server for an account without any right."""
    own = await apiserver.log_in()
    url = f"{own.server}/api/v1/namespaces/{namespace}/serviceaccounts/default/token"
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        answer = await session.post(url, json=body, headers=await own.headers(), ssl=own.ssl or True)
        token = (await answer.json())["status"]["token"]
    return kubeconfig_with(token, apiserver, tmp_path / "nobody.kubeconfig")


def kubeconfig_with(token: str, apiserver: ApiServer, path: Path) -> Path:
    """The API server's kubeconfig, with a token for all log-ins."""
    content = yaml.safe_load(Path(apiserver.kubeconfig).expanduser().read_text())
    users = [{"name": user["name"], "user": {"token": token}} for user in content["users"]]
    path.write_text(yaml.safe_dump({**content, "users": users}))
    return path


def test_a_right_that_is_missing_is_named(apiserver: ApiServer, nobodys_kubeconfig: Path) -> None:
    """As the API server says it, with the verb and the kind; exit code 1."""
    context = [] if apiserver.context is None else ["--context", apiserver.context]
    done = CliRunner().invoke(k8s, ["install", "--crds-only", "--kubeconfig", str(nobodys_kubeconfig), *context])
    assert done.exit_code == 1
    assert 'cannot get resource "customresourcedefinitions"' in done.output
    assert done.output.endswith("This takes the rights of an administrator.\n")
