"""PURE: what an installation of the operator consists of.

``python -m dask_k8s.cli.manifest deploy`` writes it down as the files of that folder.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from dask_k8s import names
from dask_k8s.kinds.value import Manifest
from dask_k8s.operator.rights import BUDGETS, DEPLOYED, EMBEDDED, FORWARDING, OPTIONAL, RIGHTS, Right, rules

VERSION = version("dask-k8s")
IMAGE = f"ghcr.io/dask/dask-k8s-operator:{VERSION}"

PART_OF = "app.kubernetes.io/part-of"
PACKAGE = "dask-k8s"
"""The value of the label ``app.kubernetes.io/part-of`` on all that is ours."""

SELECTOR: Mapping[str, str] = {"app.kubernetes.io/name": names.OPERATOR}
"""The labels that find the operator's Pods."""

USER = "dask-k8s-user"
EMBEDDED_USER = "dask-k8s-embedded-user"

_RBAC = "rbac.authorization.k8s.io"
_LABELS = {**SELECTOR, PART_OF: PACKAGE, "app.kubernetes.io/version": VERSION}
_PROBES_PORT = 8080
_NOBODY = 65532
_SCRAPED = {
    "prometheus.io/scrape": "true",
    "prometheus.io/port": str(_PROBES_PORT),
    "prometheus.io/path": "/metrics",
}
"""What many configurations of Prometheus look for on a Pod."""

_WRITE = ("get", "list", "watch", "create", "update", "patch", "delete")

USER_RIGHTS: tuple[Right, ...] = (
    Right(group=names.GROUP, resource="daskclusters", verbs=_WRITE),
    Right(group=names.GROUP, resource="daskclusters/scale", verbs=("get", "update", "patch")),
    Right(group=names.GROUP, resource="daskworkergroups", verbs=_WRITE),
    Right(group=names.GROUP, resource="daskworkergroups/scale", verbs=("get", "update", "patch")),
    Right(group=names.GROUP, resource="daskjobs", verbs=_WRITE),
    Right(group=names.GROUP, resource="daskautoscalers", verbs=_WRITE),
    Right(group="", resource="pods", verbs=("get", "list", "watch")),
    Right(group="", resource="pods/log", verbs=("get",)),
    Right(group="", resource="services", verbs=("get", "list", "watch")),
    Right(group="", resource="events", verbs=("get", "list", "watch")),
    Right(group="coordination.k8s.io", resource="leases", verbs=("get",)),
    FORWARDING,
)
"""What a person needs who runs clusters that a deployed operator serves."""


def operator(image: str = IMAGE, namespace: str = names.OPERATOR_NAMESPACE) -> list[Manifest]:
    """The operator that serves all namespaces, in the order in which its objects are to be made."""
    metadata = {"name": names.OPERATOR, "namespace": namespace, "labels": _LABELS}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": {PART_OF: PACKAGE}}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        _cluster_role(names.OPERATOR, rules(merged((*RIGHTS, *DEPLOYED, *OPTIONAL)))),
        _cluster_role_binding(namespace),
        *_readers_of_the_lease(namespace),
        _deployment(metadata, image),
    ]


def roles() -> list[Manifest]:
    """What people are given in their namespaces: with a deployed operator, and with embedded ones."""
    embedded = merged((*USER_RIGHTS, *RIGHTS, *EMBEDDED, BUDGETS))
    return [_cluster_role(USER, rules(USER_RIGHTS)), _cluster_role(EMBEDDED_USER, rules(embedded))]


def merged(rights: Iterable[Right]) -> tuple[Right, ...]:
    """The same rights with each resource once."""
    verbs: dict[tuple[str, str], dict[str, None]] = {}
    for right in rights:
        verbs.setdefault((right.group, right.resource), {}).update(dict.fromkeys(right.verbs))
    return tuple(Right(group=group, resource=resource, verbs=tuple(of)) for (group, resource), of in verbs.items())


def _cluster_role(name: str, granted: list[dict[str, Any]]) -> Manifest:
    metadata = {"name": name, "labels": {PART_OF: PACKAGE}}
    return {"apiVersion": f"{_RBAC}/v1", "kind": "ClusterRole", "metadata": metadata, "rules": granted}


def _cluster_role_binding(namespace: str) -> Manifest:
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": names.OPERATOR, "labels": {PART_OF: PACKAGE}},
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": names.OPERATOR},
        "subjects": [{"kind": "ServiceAccount", "name": names.OPERATOR, "namespace": namespace}],
    }


def _readers_of_the_lease(namespace: str) -> Iterator[Manifest]:
    """Whoever is logged in may see that an operator is there: KubeCluster then embeds none."""
    name = f"{names.OPERATOR}-lease-reader"
    metadata = {"name": name, "namespace": namespace, "labels": {PART_OF: PACKAGE}}
    lease = {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "resourceNames": [names.OPERATOR],
        "verbs": ["get"],
    }
    yield {"apiVersion": f"{_RBAC}/v1", "kind": "Role", "metadata": metadata, "rules": [lease]}
    yield {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": name},
        "subjects": [{"apiGroup": _RBAC, "kind": "Group", "name": "system:authenticated"}],
    }


def _deployment(metadata: Manifest, image: str) -> Manifest:
    """Without ``replicas``, which is 1 then: standbys that an administrator adds outlive the next installation."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "selector": {"matchLabels": SELECTOR},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {"metadata": {"labels": _LABELS, "annotations": _SCRAPED}, "spec": _pod(image)},
        },
    }


def _pod(image: str) -> Manifest:
    return {
        "serviceAccountName": names.OPERATOR,
        "terminationGracePeriodSeconds": 30,
        # A standby beside its leader would go with the same node.
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": SELECTOR},
            }
        ],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _NOBODY,
            "runAsGroup": _NOBODY,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "operator",
                "image": image,
                "command": ["python", "-m", "dask_k8s.operator"],
                "args": ["--all-namespaces", "--log-format=json", f"--probes-port={_PROBES_PORT}"],
                "ports": [{"name": "probes", "containerPort": _PROBES_PORT}],
                "livenessProbe": _probe("/livez", every=10, failures=6),
                "readinessProbe": _probe("/readyz", every=2, failures=3),
                "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                    "readOnlyRootFilesystem": True,
                },
            }
        ],
    }


def _probe(path: str, *, every: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": "probes"},
        "periodSeconds": every,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def as_yaml(manifests: Iterable[Manifest], *, about: str) -> str:
    """Manifests as one file of YAML."""
    head = f"# {about}\n# Written by `python -m dask_k8s.cli.manifest deploy`: a test holds it to that.\n"
    return head + yaml.dump_all(manifests, Dumper=_Dumper, sort_keys=False, explicit_start=True, width=120)


class _Dumper(yaml.SafeDumper):
    """Writes what stands in two places twice, instead of as an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def files() -> dict[str, str]:
    """The files of ``deploy``, by their names."""
    return {
        "operator.yaml": as_yaml(
            operator(), about="The operator that serves all namespaces; `dask k8s install` applies the same."
        ),
        "user-role.yaml": as_yaml(
            roles(),
            about="For people, bound in their namespaces: with a deployed operator, and with embedded ones.",
        ),
    }


if __name__ == "__main__":
    for name, text in files().items():
        Path(sys.argv[1], name).write_text(text)
