"""``dask k8s install``: the kinds, then the operator, each waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from dask_k8s import names
from dask_k8s.cli import foreign, manifest, packed, rollout
from dask_k8s.cli.applied import Outcome, apply, gone, label
from dask_k8s.cli.foreign import Foreign
from dask_k8s.cli.session import Say
from dask_k8s.errors import StartTimeout
from dask_k8s.kinds.value import Manifest, value
from dask_k8s.kube.client import Client
from dask_k8s.kube.resources import CUSTOM_RESOURCE_DEFINITION, DEPLOYMENT

EVERY = 0.1


@value
class Wish:
    """What is to be installed, and how.

    Parameters
    ----------
    replace
        Whether dask-kubernetes may be taken over from.
    image
        None for the one of this version.
    timeout
        Seconds for all waiting.
    """

    crds_only: bool = False
    dry_run: bool = False
    replace: bool = False
    image: str | None = None
    namespace: str = names.OPERATOR_NAMESPACE
    timeout: float = 300.0


async def install(client: Client, wish: Wish, say: Say) -> None:
    """Install, and say line by line what was done.

    Raises
    ------
    DaskK8sError
        When something stands in the way, or does not come about; what was installed before stays.
    """
    crds = packed.crds()
    say(f"Kubernetes {(await client.version())['gitVersion']} at {client.credentials.server}")
    in_the_way = await foreign.look(client, crds, wish.namespace)
    if in_the_way and not wish.replace:
        raise foreign.refusal(in_the_way)
    await _scale_down(client, in_the_way, wish, say)
    deadline = asyncio.get_running_loop().time() + wish.timeout
    await _apply(client, crds, wish, say)
    if not wish.dry_run:
        await _established(client, crds, wish.timeout)
    if not wish.crds_only:
        await _install_operator(client, wish, say, deadline)


async def _install_operator(client: Client, wish: Wish, say: Say, deadline: float) -> None:
    await _apply(client, manifest.operator(wish.image or manifest.IMAGE, wish.namespace), wish, say)
    if wish.dry_run:
        return
    say(f"Waiting for the operator, {wish.timeout:g} s at most")
    now = asyncio.get_running_loop().time
    began = now()
    await rollout.available(client, wish.namespace, names.OPERATOR, say, max(deadline - began, 1.0))
    say(f"The operator is ready after {now() - began:.0f} s")
    if wish.namespace != names.OPERATOR_NAMESPACE:
        say(f"KubeCluster looks for it where DASK_KUBERNETES__OPERATOR_NAMESPACE says: {wish.namespace}")


async def _apply(client: Client, manifests: Iterable[Manifest], wish: Wish, say: Say) -> None:
    for each in manifests:
        if not wish.dry_run:
            await _wait_for_deletion(client, each, wish.timeout)
        outcome = await apply(client, each, dry_run=wish.dry_run)
        say(f"{label(each)}: {_would(outcome) if wish.dry_run else outcome}")


async def _wait_for_deletion(client: Client, each: Manifest, within: float) -> None:
    try:
        async with asyncio.timeout(within):
            await gone(client, each)
    except TimeoutError:
        step = f"{label(each)} is being deleted, and was not gone within {within:.0f} s"
        raise StartTimeout(step, "something in it holds it.", f"Look at it: kubectl describe {each['kind']}") from None


async def _scale_down(client: Client, found: Foreign, wish: Wish, say: Say) -> None:
    """Before the kinds change, which dask-kubernetes' operator would not understand."""
    for deployment in found.operators:
        metadata = deployment["metadata"]
        if not wish.dry_run:
            patch = {"metadata": {"uid": metadata["uid"]}, "spec": {"replicas": 0}}
            await client.patch(DEPLOYMENT, metadata["namespace"], metadata["name"], patch)
        done = "would be scaled down" if wish.dry_run else "scaled down"
        say(f"{foreign.named(deployment)}: {done}; to undo it: {foreign.undo(deployment)}")


async def _established(client: Client, crds: Iterable[Manifest], within: float) -> None:
    """Until the API server serves the kinds."""
    waiting: str | None = None
    try:
        async with asyncio.timeout(within):
            for crd in crds:
                name = crd["metadata"]["name"]
                while waiting := _not_established(await client.get(CUSTOM_RESOURCE_DEFINITION, None, name)):
                    await asyncio.sleep(EVERY)
    except TimeoutError:
        step = f"The API server did not serve the kinds within {within:g} s"
        raise StartTimeout(step, waiting or "it did not answer.", "Look at the CRD: kubectl describe crd") from None


def _not_established(crd: Manifest) -> str | None:
    """Why a kind is not served; None once it is."""
    conditions = {each["type"]: each for each in (crd.get("status") or {}).get("conditions") or ()}
    if conditions.get("Established", {}).get("status") == "True":
        return None
    refused = conditions.get("NamesAccepted", {})
    said = refused.get("message") if refused.get("status") == "False" else None
    return f"{crd['metadata']['name']}: {said or 'not established'}"


def _would(outcome: Outcome) -> str:
    return "would stay unchanged" if outcome is Outcome.UNCHANGED else f"would be {outcome}"
