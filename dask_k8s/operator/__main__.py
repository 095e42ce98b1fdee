"""``python -m dask_k8s.operator``: the command line of the deployed operator."""

from __future__ import annotations

import asyncio
import logging
import sys

import click

from dask_k8s import settings
from dask_k8s.errors import DaskK8sError
from dask_k8s.operator import app
from dask_k8s.operator.deployed import Options, serve

logger = logging.getLogger("dask_k8s.operator")


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("-A", "--all-namespaces", is_flag=True, help="Serve every namespace.")
@click.option("-n", "--namespace", "namespaces", multiple=True, help="Serve this namespace; may be repeated.")
@click.option("--lease-namespace", help="Where the Lease is held.  [default: the Pod's, or where KubeCluster looks]")
@click.option("--log-format", type=click.Choice(["plain", "json"]), default="plain", help="How log lines look.")
@click.option("-v", "--verbose", is_flag=True, help="Log what helps to find bugs, too.")
@click.option("-q", "--quiet", is_flag=True, help="Log warnings and errors alone.")
@click.option(
    "--probes-port", type=click.IntRange(0, 65535), default=8080, help="Of /livez, /readyz and /metrics; 0 for none."
)
@click.option(
    "--kubeconfig", help="The file to log in with.  [default: KUBECONFIG, ~/.kube/config, or the Pod's account]"
)
@click.option("--context", help="The context of the kubeconfig.  [default: its current one]")
def main(
    all_namespaces: bool,
    namespaces: tuple[str, ...],
    lease_namespace: str | None,
    log_format: str,
    verbose: bool,
    quiet: bool,
    probes_port: int,
    kubeconfig: str | None,
    context: str | None,
) -> None:
    """Serve Dask clusters on Kubernetes, until a signal comes."""
    if all_namespaces == bool(namespaces):
        raise click.UsageError("Say --all-namespaces, or --namespace once or more.")
    if verbose and quiet:
        raise click.UsageError("--verbose and --quiet contradict each other.")
    app.configure_logs(json=log_format == "json", verbose=verbose, quiet=quiet)
    configured = settings.read()
    options = Options(
        namespaces=tuple(dict.fromkeys(namespaces)) or None,
        lease_namespace=lease_namespace,
        lease_duration=configured.lease_duration,
        max_workers=configured.max_workers,
        timing=configured.timing,
        probes_port=probes_port or None,
        kubeconfig=kubeconfig,
        context=context,
    )
    sys.exit(run(options))


def run(options: Options) -> int:
    """Serve; the exit code: 0 after a signal, 1 for what a sentence explains, 70 for a bug."""
    try:
        asyncio.run(app.run(lambda stop: serve(options, stop)))
    except (DaskK8sError, OSError) as error:
        logger.error("%s", error)
        return 1
    except Exception:
        logger.critical("The operator ends by a bug of its own", exc_info=True)
        return 70
    return 0


if __name__ == "__main__":
    main(prog_name="python -m dask_k8s.operator")
