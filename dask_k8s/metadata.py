"""Labels and annotations: who passes which on to whom, what marks an object and what finds it again.

One rule (the order ``top level <= subresource <= base``): an object that is made for a resource gets the resource's
own labels and annotations, then those of the ``metadata`` beside the template, then the reserved ones, which always
win. What other tools keep for themselves in a resource's metadata is never passed on.

The labels that mark an object and the selector that finds it come from the same function, so that they cannot drift
apart.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping

from dask_k8s import names
from dask_k8s.kinds.fields import Fields
from dask_k8s.kinds.value import Manifest, Ref, value

FOREIGN_ANNOTATIONS = ("kubectl.kubernetes.io", "kopf.zalando.org", "meta.helm.sh", "argocd.argoproj.io")
"""Domains whose annotations belong to another tool: copied, they would make it act on the copy."""

RESERVED_LABELS = frozenset({names.CLUSTER_NAME, names.WORKER_GROUP_NAME, names.COMPONENT})
"""Labels that tell what an object is: only what makes the object may set them."""

FOREIGN_LABELS = frozenset({"app.kubernetes.io/managed-by"})
"""Labels that belong to another tool: Helm and Argo would take the copies for objects of their own."""


@value
class Metadata:
    """The two maps that are passed on."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    @classmethod
    def read(cls, fields: Fields) -> Metadata:
        """From a ``metadata`` object; both maps may be absent."""
        return cls(labels=fields.texts("labels"), annotations=fields.texts("annotations"))


NOTHING = Metadata(labels={}, annotations={})


SAFE_TO_EVICT = "cluster-autoscaler.kubernetes.io/safe-to-evict"
DO_NOT_DISRUPT = "karpenter.sh/do-not-disrupt"

MAY_GO = {SAFE_TO_EVICT: "true"}
"""For a worker, which hands its data over: without a word the cluster autoscaler keeps the node of a Pod whose owner it
does not know."""

MUST_STAY = {SAFE_TO_EVICT: "false", DO_NOT_DISRUPT: "true"}
"""For what would begin anew: no autoscaler takes its node to save money."""


def merge(top: Metadata, sub: Metadata, base: Metadata, *, defaults: Mapping[str, str] | None = None) -> Metadata:
    """What an object gets that is made for a resource: ``top <= sub <= base``, without what is foreign or reserved.

    Parameters
    ----------
    top
        The resource's own.
    sub
        The ``metadata`` beside the template, such as ``spec.worker.metadata``.
    base
        The reserved ones, which win.
    defaults
        Annotations where nobody says otherwise.
    """
    return Metadata(
        labels={**_passed_labels(top), **_passed_labels(sub), **base.labels},
        annotations={**(defaults or {}), **_passed_annotations(top), **_passed_annotations(sub), **base.annotations},
    )


def _passed_labels(metadata: Metadata) -> dict[str, str]:
    return {key: text for key, text in metadata.labels.items() if key not in FOREIGN_LABELS | RESERVED_LABELS}


def _passed_annotations(metadata: Metadata) -> dict[str, str]:
    return {key: text for key, text in metadata.annotations.items() if not _kept_back(key)}


def _kept_back(annotation: str) -> bool:
    """Whether an annotation stays where it is: another tool's, or a mark of our own on that one object."""
    domain = annotation.partition("/")[0]
    return any(domain == theirs or domain.endswith(f".{theirs}") for theirs in (*FOREIGN_ANNOTATIONS, names.DOMAIN))


def scheduler_labels(cluster: str) -> dict[str, str]:
    """What marks and finds a cluster's scheduler Pod and its Service."""
    return {names.CLUSTER_NAME: cluster, names.COMPONENT: names.Component.SCHEDULER.value}


def worker_group_labels(cluster: str) -> dict[str, str]:
    """What marks and finds the worker groups that were made for a cluster."""
    return {names.CLUSTER_NAME: cluster, names.COMPONENT: names.Component.WORKER_GROUP.value}


def worker_labels(cluster: str, group: str) -> dict[str, str]:
    """What marks and finds the workers of a group."""
    return {
        names.CLUSTER_NAME: cluster,
        names.WORKER_GROUP_NAME: group,
        names.COMPONENT: names.Component.WORKER.value,
    }


def job_runner_labels(job: str) -> dict[str, str]:
    """What marks and finds a job's runner; it belongs to the job's cluster, which bears the same name."""
    return {names.CLUSTER_NAME: names.job_cluster(job), names.COMPONENT: names.Component.JOB_RUNNER.value}


def autoscaler_labels(cluster: str) -> dict[str, str]:
    """What marks and finds an autoscaler that was made for a cluster."""
    return {names.CLUSTER_NAME: cluster, names.COMPONENT: names.Component.AUTOSCALER.value}


def selector(labels: Mapping[str, str]) -> str:
    """A label selector as the API server, ``kubectl`` and a HorizontalPodAutoscaler take it."""
    return ",".join(f"{key}={text}" for key, text in sorted(labels.items()))


def owner_reference(owner: Ref, api_version: str) -> dict[str, object]:
    """Ties an object to its controller: deleted with it, and adopted by nobody else.

    ``blockOwnerDeletion`` is left out: it needs a right on the owner's finalizers and only serves foreground deletion.
    """
    return {"apiVersion": api_version, "kind": owner.kind, "name": owner.name, "uid": owner.uid, "controller": True}


def controller_uid(manifest: Manifest) -> str | None:
    """The uid of the one owner that controls an object, or None for an orphan."""
    found = controller_of(manifest["metadata"].get("ownerReferences") or ())
    return None if found is None else found["uid"]


def controller_of(owners: Iterable[Manifest]) -> Manifest | None:
    """The one among owner references that controls, or None."""
    return next((owner for owner in owners if owner.get("controller")), None)


def template_hash(spec: Manifest) -> str:
    """Tells one version of a Pod template from another, by the user's own input alone.

    Before our defaults and without metadata, so that a new release of the operator, or a label, replaces nobody's
    workers. The prefix names the rule: another rule would get another prefix, and could still tell what this one
    meant.
    """
    text = json.dumps(spec, sort_keys=True, separators=(",", ":"))
    return f"v1-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
