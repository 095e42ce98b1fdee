"""Which kinds of objects there are, and where the API server serves them."""

from __future__ import annotations

from urllib.parse import quote

from dask_k8s import names
from dask_k8s.errors import InvalidResource
from dask_k8s.kinds.value import Manifest, value


@value
class Resource:
    """One kind of objects, by its group, version and plural.

    Parameters
    ----------
    group
        Empty for Kubernetes' core.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """What manifests say: ``v1``, or ``apps/v1``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """Where the API server serves one object, or the collection where no name is given.

        Parameters
        ----------
        namespace
            None for a collection means all namespaces; one object of a namespaced kind needs it.

        Raises
        ------
        InvalidResource
            When a part is empty or no single segment of a path. An empty name would turn the deletion of one
            object into that of all.
        """
        parts = ["api" if not self.group else f"apis/{self.group}", self.version]
        if self.namespaced and namespace is None and name is not None:
            raise InvalidResource("metadata.namespace", f"is needed for {self.kind} {name}")
        if self.namespaced and namespace is not None:
            parts += ["namespaces", _segment("metadata.namespace", namespace)]
        parts.append(self.plural)
        if name is not None:
            parts.append(_segment("metadata.name", name))
        if subresource is not None:
            parts.append(subresource)
        return "/" + "/".join(parts)


def _segment(field: str, text: str) -> str:
    if text in ("", ".", "..") or "/" in text:
        raise InvalidResource(field, f"cannot be {text!r}")
    return quote(text, safe="")


NAMESPACE = Resource(group="", version="v1", plural="namespaces", kind="Namespace", namespaced=False)
NODE = Resource(group="", version="v1", plural="nodes", kind="Node", namespaced=False)
POD = Resource(group="", version="v1", plural="pods", kind="Pod")
SERVICE = Resource(group="", version="v1", plural="services", kind="Service")
EVENT = Resource(group="", version="v1", plural="events", kind="Event")
"""As people and kubectl read them, whoever wrote them."""

RECORDED_EVENT = Resource(group="events.k8s.io", version="v1", plural="events", kind="Event")
"""The same objects as they are written today; the API server converts one into the other."""

SECRET = Resource(group="", version="v1", plural="secrets", kind="Secret")
CONFIG_MAP = Resource(group="", version="v1", plural="configmaps", kind="ConfigMap")
SERVICE_ACCOUNT = Resource(group="", version="v1", plural="serviceaccounts", kind="ServiceAccount")
DEPLOYMENT = Resource(group="apps", version="v1", plural="deployments", kind="Deployment")
DISRUPTION_BUDGET = Resource(group="policy", version="v1", plural="poddisruptionbudgets", kind="PodDisruptionBudget")
LEASE = Resource(group="coordination.k8s.io", version="v1", plural="leases", kind="Lease")

_RBAC = "rbac.authorization.k8s.io"
ROLE = Resource(group=_RBAC, version="v1", plural="roles", kind="Role")
ROLE_BINDING = Resource(group=_RBAC, version="v1", plural="rolebindings", kind="RoleBinding")
CLUSTER_ROLE = Resource(group=_RBAC, version="v1", plural="clusterroles", kind="ClusterRole", namespaced=False)
CLUSTER_ROLE_BINDING = Resource(
    group=_RBAC, version="v1", plural="clusterrolebindings", kind="ClusterRoleBinding", namespaced=False
)
CUSTOM_RESOURCE_DEFINITION = Resource(
    group="apiextensions.k8s.io",
    version="v1",
    plural="customresourcedefinitions",
    kind="CustomResourceDefinition",
    namespaced=False,
)
SELF_SUBJECT_ACCESS_REVIEW = Resource(
    group="authorization.k8s.io",
    version="v1",
    plural="selfsubjectaccessreviews",
    kind="SelfSubjectAccessReview",
    namespaced=False,
)

DASK_CLUSTER = Resource(group=names.GROUP, version=names.VERSION, plural="daskclusters", kind=names.CLUSTER)
DASK_WORKER_GROUP = Resource(
    group=names.GROUP, version=names.VERSION, plural="daskworkergroups", kind=names.WORKER_GROUP
)
DASK_JOB = Resource(group=names.GROUP, version=names.VERSION, plural="daskjobs", kind=names.JOB)
DASK_AUTOSCALER = Resource(group=names.GROUP, version=names.VERSION, plural="daskautoscalers", kind=names.AUTOSCALER)

KNOWN = (
    NAMESPACE,
    NODE,
    POD,
    SERVICE,
    EVENT,
    SECRET,
    CONFIG_MAP,
    SERVICE_ACCOUNT,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    LEASE,
    ROLE,
    ROLE_BINDING,
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    CUSTOM_RESOURCE_DEFINITION,
    SELF_SUBJECT_ACCESS_REVIEW,
    DASK_CLUSTER,
    DASK_WORKER_GROUP,
    DASK_JOB,
    DASK_AUTOSCALER,
)
_BY_KIND = {resource.kind: resource for resource in KNOWN}
_BY_VERSION = {(resource.api_version, resource.kind): resource for resource in (*KNOWN, RECORDED_EVENT)}


def named(kind: str) -> Resource:
    """The resource of a kind that this package works with.

    Raises
    ------
    InvalidResource
        For any other kind.
    """
    if kind not in _BY_KIND:
        raise InvalidResource("kind", f"{kind} is none that dask-k8s works with")
    return _BY_KIND[kind]


def of(manifest: Manifest) -> Resource:
    """The resource that a manifest belongs to, by its ``apiVersion`` and ``kind``.

    Raises
    ------
    InvalidResource
        When one of the two is missing, or the pair is none that this package works with.
    """
    for field in ("apiVersion", "kind"):
        if not isinstance(manifest.get(field), str):
            raise InvalidResource(field, "is missing")
    resource = named(manifest["kind"])
    found = _BY_VERSION.get((manifest["apiVersion"], manifest["kind"]))
    if found is None:
        raise InvalidResource(
            "apiVersion", f"must be {resource.api_version} for {resource.kind}, not {manifest['apiVersion']}"
        )
    return found
