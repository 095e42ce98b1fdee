"""``dask k8s …``: what an administrator does from a shell.

Each ``dask`` command loads this module, so it imports nothing but click; commands load what they need when they run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from dask_k8s import names


def _log_in_options(command: Callable[..., Any]) -> Callable[..., Any]:
    context = click.option("--context", metavar="NAME", help="Context of the kubeconfig.  [default: its current one]")
    kubeconfig = click.option(
        "--kubeconfig", metavar="FILE", help="File to log in with.  [default: KUBECONFIG, else ~/.kube/config]"
    )
    return context(kubeconfig(command))


def _namespace_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--namespace", metavar="NAME", default=names.OPERATOR_NAMESPACE, show_default=True, help="The operator's own."
    )(command)


def _timeout_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        default=300.0,
        show_default=True,
        help="How long to wait until all is ready.",
    )(command)


@click.group()
def k8s() -> None:
    """Dask clusters on Kubernetes."""


@k8s.command()
@click.option("--crds-only", is_flag=True, help="Install the kinds, but no operator.")
@click.option(
    "--dry-run", is_flag=True, help="Say what would happen, as far as the API server can tell; change nothing."
)
@click.option("--replace", is_flag=True, help="Take over from dask-kubernetes.")
@click.option("--image", metavar="IMAGE", help="The operator's image.  [default: that of this version]")
@_namespace_option
@_timeout_option
@_log_in_options
def install(
    crds_only: bool,
    dry_run: bool,
    replace: bool,
    image: str | None,
    namespace: str,
    timeout: float,
    context: str | None,
    kubeconfig: str | None,
) -> None:
    """Install the kinds (DaskCluster, DaskWorkerGroup, DaskJob, DaskAutoscaler), and the operator that serves them.

    Repeat it to change to another version, or to mend an installation.
    """
    from dask_k8s.cli.install import Wish, install
    from dask_k8s.cli.session import run

    wish = Wish(
        crds_only=crds_only, dry_run=dry_run, replace=replace, image=image, namespace=namespace, timeout=timeout
    )
    run(lambda client: install(client, wish, click.echo), kubeconfig=kubeconfig, context=context)


@k8s.command()
@click.option("--crds", is_flag=True, help="Take the kinds away, too.")
@click.option("--delete-clusters", is_flag=True, help="Even while there are clusters, which are deleted by that.")
@_namespace_option
@_log_in_options
def uninstall(crds: bool, delete_clusters: bool, namespace: str, context: str | None, kubeconfig: str | None) -> None:
    """Take the operator away. Clusters stay, and run on unserved, until they are deleted."""
    from dask_k8s.cli.session import run
    from dask_k8s.cli.uninstall import uninstall

    if delete_clusters and not crds:
        raise click.UsageError("--delete-clusters means something together with --crds alone.")
    run(
        lambda client: uninstall(client, namespace, click.echo, crds=crds, delete_clusters=delete_clusters),
        kubeconfig=kubeconfig,
        context=context,
    )
