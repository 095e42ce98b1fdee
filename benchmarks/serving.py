"""Operators under measurement, one at a time, and a namespace for each measurement."""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

OURS = (sys.executable, "-m", "dask_k8s.operator", "--probes-port=0", "--quiet")
DEPLOYED = "deployment/dask-operator"
SETTLE = 8.0
"""Seconds for an operator to import what it needs and to fill its caches."""

Environment = Mapping[str, str]


@contextmanager
def namespace(prefix: str, environment: Environment) -> Iterator[str]:
    """A new one, whose Pods are gone before the next measurement begins."""
    name = f"{prefix}-{secrets.token_hex(3)}"
    kubectl(environment, "create", "namespace", name)
    try:
        yield name
    finally:
        subprocess.run(
            ["kubectl", "delete", "namespace", name, "--timeout=120s"], env=environment, check=False, stdout=sys.stderr
        )


@contextmanager
def process(argv: Sequence[str], environment: Environment, settle: float = SETTLE) -> Iterator[subprocess.Popen[bytes]]:
    """An operator that this starts."""
    started = subprocess.Popen(argv, env=environment, stdout=sys.stderr, stderr=subprocess.DEVNULL)
    try:
        time.sleep(settle)
        if started.poll() is not None:
            raise RuntimeError(f"{' '.join(argv)} has ended with {started.returncode}")
        yield started
    finally:
        started.terminate()
        started.wait()


@contextmanager
def deployed(environment: Environment) -> Iterator[None]:
    """Ours in its Pod; it is installed already, and scaled to 0."""
    scale = ("--namespace", "dask-operator", "scale", DEPLOYED)
    kubectl(environment, *scale, "--replicas=1")
    try:
        kubectl(environment, "--namespace", "dask-operator", "rollout", "status", DEPLOYED, "--timeout=120s")
        time.sleep(SETTLE)
        yield
    finally:
        kubectl(environment, *scale, "--replicas=0")
        kubectl(environment, "--namespace", "dask-operator", "wait", "--for=delete", "pod", "--all", "--timeout=60s")


def kubectl(environment: Environment, *words: str, manifests: str | None = None) -> None:
    """Run it, with manifests on its standard input."""
    subprocess.run(["kubectl", *words], env=environment, input=manifests, text=True, check=True, stdout=sys.stderr)
