"""``make demo``: a cluster from Python, then one from kubectl, on a Kubernetes of this machine or on one that is
named.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from devcluster import Refused, exit_code, up

BURST = """
from time import sleep
from dask.distributed import Client
client = Client("localhost:{port}")
tasks = [0.5] * 30 * sum(client.nthreads().values())
client.gather(client.map(sleep, tasks, pure=False))
workers = len(client.nthreads())
print(len(tasks), "tasks of half a second; the autoscaler has made", workers, "workers for them")
"""

GO_ON_HERE = """\
Go on in a shell of your own:

    eval "$(make cluster)"              # KUBECONFIG, and kubectl on the PATH
    source .venv/bin/activate
    kubectl apply -f examples/cluster.yaml
    python -c 'from dask_k8s import KubeCluster; print(KubeCluster().get_client().submit(sum, [1, 2]).result())'

In a notebook: uv pip install jupyterlab && jupyter lab, then KubeCluster() and cluster.dashboard_link.

The operator and the definitions stay: dask k8s uninstall. make down takes everything away but the cache."""

GO_ON_THERE = """\
Go on in a shell of your own:

    kubectl config use-context {context}
    source .venv/bin/activate
    python -c 'from dask_k8s import KubeCluster; print(KubeCluster().get_client().submit(sum, [1, 2]).result())'

In a notebook: uv pip install jupyterlab && jupyter lab, then KubeCluster() and cluster.dashboard_link.

{what} stay in {context}: dask k8s uninstall --context {context}
takes an operator away, and with --crds the definitions, too."""

WITHOUT_IMAGE = """
A cluster from kubectl, and a job, need an operator in {context}, whose image is not published. To see them, build
deploy/Dockerfile, push it where the nodes can pull it, and name it: make demo KUBECONTEXT={context} IMAGE=…"""

ROOT = Path(__file__).parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    """The demo; its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip())
    parser.add_argument("--kubecontext", metavar="NAME", help="a context of your kubeconfig, instead of a cluster here")
    parser.add_argument("--image", help="the operator's image there, since none is published; without it, no operator")
    asked = parser.parse_args(arguments)
    if asked.image and not asked.kubecontext:
        parser.error("--image is for --kubecontext: the cluster here has its image, and can pull no other")
    return exit_code(lambda: existing(asked.kubecontext, asked.image) if asked.kubecontext else own())


def own() -> int:
    """On a Kubernetes of this machine's own."""
    began = begin()
    os.environ.update(up("node").environment())
    with own_namespace() as namespace:
        from_python()
        from_kubectl(namespace)
    end(began, GO_ON_HERE)
    return 0


def existing(context: str, image: str | None) -> int:
    """On a cluster that is there."""
    if shutil.which("kubectl") is None:
        raise Refused("kubectl is not on the PATH: https://kubernetes.io/docs/tasks/tools/")
    began = begin()
    with own_namespace("--context", context) as namespace:
        from_python()
        if image:
            from_kubectl(namespace, "--image", image)
        else:
            print(WITHOUT_IMAGE.format(context=context))
    what = "The operator and the definitions" if image else "The definitions"
    end(began, GO_ON_THERE.format(context=context, what=what))
    return 0


@contextmanager
def own_namespace(*of: str) -> Iterator[str]:
    """A namespace that is nobody else's, and goes with all in it; a kubeconfig that leads there, and goes, too."""
    name = f"dask-demo-{secrets.token_hex(3)}"
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "kubeconfig"
        config.write_text(kubeconfig(*of))
        os.environ["KUBECONFIG"] = str(config)
        run("kubectl", "get", "nodes")
        print("\nA namespace of the demo's own, in a copy of the kubeconfig:")
        run("kubectl", "create", "namespace", name)
        try:
            run("kubectl", "config", "set-context", "--current", f"--namespace={name}")
            yield name
        finally:
            run("kubectl", "delete", "namespace", name, "--wait=false")


def kubeconfig(*of: str) -> str:
    """One context, with all that it needs."""
    argv = ["kubectl", "config", "view", "--raw", "--minify", "--flatten", *of]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(f"There is no such context: {done.stderr.strip()}")
    return done.stdout


def from_python() -> None:
    """What a data scientist does."""
    title("2  As a data scientist: a cluster from Python")
    run("dask", "k8s", "install", "--crds-only")
    run(sys.executable, "examples/first_cluster.py")


def from_kubectl(namespace: str, *image: str) -> None:
    """What needs a deployed operator."""
    title("3  As an administrator: the operator, and a cluster from kubectl")
    run("dask", "k8s", "install", *image)
    cluster()
    title("4  A program that runs to its end, with a cluster of its own")
    job(namespace)


def cluster() -> None:
    """Apply, connect, scale, delete."""
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


def job(namespace: str) -> None:
    """Apply, wait for its end, look at what is left, delete; the manifest names a namespace, and here another one."""
    shell(f"sed 's/namespace: default/namespace: {namespace}/' examples/job.yaml | kubectl apply -f -")
    run("kubectl", "wait", "--for=condition=Complete", "daskjob/simple-job", "--timeout=180s")
    run("kubectl", "get", "daskjobs,pods", "--show-kind")
    run("kubectl", "delete", "daskjob", "simple-job")


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
                raise Refused(f"kubectl port-forward said: {line}")
            yield int(found[1])
        finally:
            process.terminate()


def run(*argv: str) -> None:
    """Show a command as a person would type it, and run it."""
    shown = ["python" if word == sys.executable else word for word in argv]
    command = [sys.executable, "-m", "dask", *argv[1:]] if argv[0] == "dask" else list(argv)
    follow(" ".join(repr(word) if " " in word else word for word in shown), command)


def shell(line: str) -> None:
    """The same for a line that takes a shell."""
    follow(line, ["sh", "-c", line])


def follow(shown: str, command: Sequence[str]) -> None:
    """Run a command to its end; what it said against it stands above already."""
    print(f"\n$ {shown}", flush=True)
    if subprocess.run(command, check=False, cwd=ROOT).returncode:
        raise Refused(f"This failed: {shown}")


def begin() -> float:
    """The first heading; when it was."""
    title("1  Kubernetes")
    return time.perf_counter()


def end(began: float, go_on: str) -> None:
    """The last heading, and how to go on."""
    title(f"Done after {time.perf_counter() - began:.0f} s")
    print(go_on)


def title(text: str) -> None:
    """A heading."""
    print(f"\n━━ {text} {'━' * (76 - len(text))}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
