"""``make demo``: a cluster from Python, then one from kubectl, on a Kubernetes of this machine or on one that is
named.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

BURST = """
from time import sleep
from dask.distributed import Client
client = Client("localhost:{port}")
tasks = [0.5] * 30 * sum(client.nthreads().values())
client.gather(client.map(sleep, tasks, pure=False))
workers = len(client.nthreads())
print(len(tasks), "tasks of half a second; the autoscaler has made", workers, "workers for them")
"""

EXAMPLES = Path(__file__).parent
ROOT = EXAMPLES.parent


def main(arguments: Sequence[str] | None = None) -> None:
    """Both halves, and how to go on."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip())
    parser.add_argument("--kubecontext", metavar="NAME", help="a context of your kubeconfig, instead of a cluster here")
    context = parser.parse_args(arguments).kubecontext
    began = time.perf_counter()
    title("1  Kubernetes")
    go_on = existing(context) if context else own()
    title("2  As a data scientist: a cluster from Python")
    run("dask", "k8s", "install", "--crds-only")
    subprocess.run([sys.executable, str(EXAMPLES / "first_cluster.py")], check=True)
    title("3  As an administrator: the operator, and a cluster from kubectl")
    administrator()
    title("4  A program that runs to its end, with a cluster of its own")
    job()
    title(f"Done after {time.perf_counter() - began:.0f} s")
    print(go_on)


def own() -> str:
    """A Kubernetes of this machine's own; how to go on with it."""
    from devcluster import up

    cluster = up("node")
    os.environ.update(cluster.environment())
    run("kubectl", "get", "nodes")
    return """\
Go on in a shell of your own:

    eval "$(make cluster)"              # KUBECONFIG, and kubectl on the PATH
    source .venv/bin/activate
    kubectl apply -f examples/cluster.yaml
    python -c 'from dask_k8s import KubeCluster; print(KubeCluster().get_client().submit(sum, [1, 2]).result())'

In a notebook: uv pip install jupyterlab && jupyter lab, then KubeCluster() and cluster.dashboard_link.

The operator and the definitions stay: dask k8s uninstall. make down takes everything away but the cache."""


def existing(context: str) -> str:
    """A cluster that is there; how to go on with it."""
    from devcluster.console import Refused

    config = Path(tempfile.mkdtemp()) / "kubeconfig"
    flat = subprocess.run(
        ["kubectl", "config", "view", "--raw", "--minify", "--flatten", "--context", context],
        capture_output=True,
        text=True,
        check=False,
    )
    if flat.returncode:
        raise Refused(f"There is no context {context}: {flat.stderr.strip()}")
    config.write_text(flat.stdout)
    config.chmod(0o600)
    os.environ["KUBECONFIG"] = str(config)
    run("kubectl", "get", "nodes")
    return f"The operator is still installed in {context}: dask k8s uninstall takes it away."


def administrator() -> None:
    """Install, apply, connect, scale, delete."""
    run("dask", "k8s", "install")
    run("kubectl", "apply", "-f", "examples/cluster.yaml")
    run("kubectl", "wait", "--for=condition=SchedulerReady", "daskcluster/simple", "--timeout=120s")
    run("kubectl", "get", "daskclusters")
    run("kubectl", "get", "daskworkergroups,pods,svc", "-l", "dask.org/cluster-name=simple")
    with forwarded("svc/simple", 8786) as port:
        connect = f'from dask.distributed import Client; client = Client("localhost:{port}")'
        code = f"{connect}; print(client, client.submit(sum, [1, 2]).result())"
        run(sys.executable, "-c", code)
    run("kubectl", "scale", "--replicas=4", "daskworkergroup", "simple-default")
    run("kubectl", "wait", "--for=condition=WorkersReady", "daskworkergroup/simple-default", "--timeout=120s")
    run("kubectl", "get", "pods", "-l", "dask.org/cluster-name=simple")
    run("kubectl", "apply", "-f", "examples/autoscaler.yaml")
    with forwarded("svc/simple", 8786) as port:
        run(sys.executable, "-c", BURST.format(port=port))
    run("kubectl", "get", "daskautoscalers")
    run("kubectl", "delete", "daskcluster", "simple")


def job() -> None:
    """Apply, wait for its end, look at what is left, delete."""
    run("kubectl", "apply", "-f", "examples/job.yaml")
    run("kubectl", "wait", "--for=condition=Complete", "daskjob/simple-job", "--timeout=180s")
    run("kubectl", "get", "daskjobs,pods", "--show-kind")
    run("kubectl", "delete", "-f", "examples/job.yaml")


@contextmanager
def forwarded(target: str, port: int) -> Iterator[int]:
    """``kubectl port-forward`` beside what runs in it; the local port."""
    argv = ["kubectl", "port-forward", target, f":{port}"]
    print(f"\n$ {' '.join(argv)} &", flush=True)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            found = re.search(r"127\.0\.0\.1:(\d+)", line)
            if found is None:
                raise RuntimeError(f"kubectl port-forward said: {line}")
            yield int(found[1])
        finally:
            process.terminate()


def run(*argv: str) -> None:
    """Show a command as a person would type it, and run it."""
    shown = ["python" if word == sys.executable else word for word in argv]
    print(f"\n$ {' '.join(repr(word) if ' ' in word else word for word in shown)}", flush=True)
    command = [sys.executable, "-m", "dask", *argv[1:]] if argv[0] == "dask" else list(argv)
    subprocess.run(command, check=True, cwd=ROOT)


def title(text: str) -> None:
    """A heading."""
    print(f"\n━━ {text} {'━' * (76 - len(text))}", flush=True)


if __name__ == "__main__":
    main()
