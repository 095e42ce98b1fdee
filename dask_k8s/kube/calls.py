"""PURE: which verb on which kind of object a request is, in the words of a Role."""

from __future__ import annotations

from dask_k8s.kinds.value import value

_WRITES = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@value
class Call:
    """A verb on a kind of object.

    Parameters
    ----------
    resource
        The plural, with a subresource behind a slash; empty for what is no object, such as ``/version``.
    """

    verb: str
    group: str
    resource: str


def of(method: str, path: str, *, watch: bool = False) -> Call:
    """What a request asks for; the inverse of :meth:`~dask_k8s.kube.resources.Resource.path`."""
    match path.strip("/").split("/"):
        case ["api", _, first, *rest]:
            return _of(method, "", _without_namespace([first, *rest]), watch)
        case ["apis", group, _, first, *rest]:
            return _of(method, group, _without_namespace([first, *rest]), watch)
    return Call(verb=_WRITES.get(method, "get"), group="", resource="")


def _without_namespace(parts: list[str]) -> list[str]:
    return parts[2:] if parts[0] == "namespaces" and len(parts) > 2 else parts


def _of(method: str, group: str, parts: list[str], watch: bool) -> Call:
    plural, *named = parts
    read = "watch" if watch else "get" if named else "list"
    subresource = "".join(f"/{part}" for part in named[1:2])
    return Call(verb=_WRITES.get(method, read), group=group, resource=plural + subresource)
