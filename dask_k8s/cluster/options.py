"""What was asked of KubeCluster, checked before anything is sent: arguments and configuration in, one value out."""

from __future__ import annotations

import getpass
import logging
import math
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Any

import yaml

from dask_k8s import names
from dask_k8s.cluster.spec import default_image, make_cluster_spec
from dask_k8s.errors import ConflictingArguments, InvalidResource
from dask_k8s.kinds.fields import Fields
from dask_k8s.kinds.value import Manifest, value
from dask_k8s.settings import Settings, seconds, seconds_or_never

logger = logging.getLogger(__name__)


class CreateMode(Enum):
    """Whether a cluster is made, or one that is there is joined."""

    CREATE_ONLY = "CREATE_ONLY"
    CREATE_OR_CONNECT = "CREATE_OR_CONNECT"
    CONNECT_ONLY = "CONNECT_ONLY"


class OperatorMode(Enum):
    """Who serves the cluster."""

    AUTO = "auto"
    DEPLOYED = "deployed"
    EMBEDDED = "embedded"


@value
class Options:
    """One KubeCluster, decided.

    Parameters
    ----------
    manifest
        The DaskCluster that is sent, but for its namespace where the credentials decide it.
    namespace
        None for the namespace of the credentials.
    asked
        The names of the arguments that were given.
    shutdown_on_close
        None for: if this process made it.
    """

    manifest: Manifest
    namespace: str | None
    create_mode: CreateMode
    operator: OperatorMode
    asked: frozenset[str]
    shutdown_on_close: bool | None
    resource_timeout: float

    @property
    def name(self) -> str:
        """The cluster's name."""
        name: str = self.manifest["metadata"]["name"]
        return name


@value
class Arguments:
    """KubeCluster's arguments as they were given; None where one was not."""

    name: str | None = None
    namespace: str | None = None
    image: str | None = None
    n_workers: int | None = None
    resources: Manifest | None = None
    env: Mapping[str, str] | Sequence[Manifest] | None = None
    worker_command: str | Sequence[str] | None = None
    scheduler_service_type: str | None = None
    custom_cluster_spec: Manifest | str | os.PathLike[str] | None = None
    create_mode: CreateMode | str | None = None
    operator: str | None = None
    shutdown_on_close: bool | None = None
    resource_timeout: float | None = None
    idle_timeout: float | str | None = None


_BESIDE_A_SPEC = ("image", "resources", "env", "worker_command", "scheduler_service_type")
_OF_PODS = {"image", "resources", "env", "custom_cluster_spec"}
_SAID_BY = {
    ("worker", "replicas"): {"n_workers", "custom_cluster_spec"},
    ("worker", "spec"): {*_OF_PODS, "worker_command"},
    ("scheduler", "spec"): _OF_PODS,
    ("scheduler", "service"): {"scheduler_service_type", "custom_cluster_spec"},
    ("idleTimeout",): {"idle_timeout", "custom_cluster_spec"},
}
"""Which arguments say something about a part of the manifest."""

_SERVICE_TYPES = ("ClusterIP", "NodePort", "LoadBalancer")


def decide(arguments: Arguments, settings: Settings) -> Options:
    """From arguments and configuration to what is done.

    Raises
    ------
    ConflictingArguments
        Where one argument would silently lose against another.
    InvalidResource
        Where one cannot be right.
    """
    timeout = settings.resource_timeout
    if arguments.resource_timeout is not None:
        timeout = seconds(arguments.resource_timeout, "resource_timeout")
    manifest = _manifest(arguments, settings)
    return Options(
        asked=frozenset(each.name for each in fields(arguments) if getattr(arguments, each.name) is not None),
        manifest=manifest,
        namespace=arguments.namespace or manifest["metadata"].get("namespace") or settings.namespace,
        create_mode=_create_mode(arguments, settings),
        operator=_member(OperatorMode, arguments.operator or settings.operator, "operator"),
        shutdown_on_close=(
            settings.shutdown_on_close if arguments.shutdown_on_close is None else arguments.shutdown_on_close
        ),
        resource_timeout=timeout,
    )


def differences(options: Options, there: Manifest) -> list[str]:
    """What was asked for and is otherwise in a cluster that is joined; a default is nothing that anybody asked for."""
    found = []
    for path, arguments in _SAID_BY.items():
        wanted, has = (_at(each["spec"], path) for each in (options.manifest, there))
        if path == ("idleTimeout",):
            wanted, has = wanted or 0, has or 0  # absent says never, as 0 does
        if options.asked & arguments and wanted is not None and wanted != has:
            of = f" ({has} and not {wanted})" if isinstance(wanted, int) else ""
            found.append(f"its spec.{'.'.join(path)} differs{of}")
    return [*found, *_served_otherwise(options, there)]


def _served_otherwise(options: Options, there: Manifest) -> Iterator[str]:
    """Who serves a cluster is written into it when it is made."""
    manager = there["spec"].get("managedBy")
    embedded = names.embedded_identity(manager) is not None
    if options.operator is not OperatorMode.AUTO and embedded is not (options.operator is OperatorMode.EMBEDDED):
        yield f"its spec.managedBy ({manager or 'none'}) does not change to operator={options.operator.value!r}"


def _at(spec: Manifest, path: tuple[str, ...]) -> Any:
    content: Any = spec
    for step in path:
        content = content.get(step, {} if step is not path[-1] else None)
    return content


def _manifest(arguments: Arguments, settings: Settings) -> Manifest:
    custom = arguments.custom_cluster_spec
    if custom is None and settings.custom_cluster_spec is not None:
        if given := [argument for argument in _BESIDE_A_SPEC if getattr(arguments, argument) is not None]:
            logger.warning("kubernetes.custom-cluster-spec is left out, since %s= was given.", "=, ".join(given))
        else:
            custom = settings.custom_cluster_spec
    if custom is not None:
        return _laid_over(arguments, _loaded(custom), settings)
    service_type = arguments.scheduler_service_type or settings.scheduler_service_type
    if service_type not in _SERVICE_TYPES:
        raise InvalidResource(
            "scheduler_service_type", f"must be one of {', '.join(_SERVICE_TYPES)}, not {service_type!r}"
        )
    return make_cluster_spec(
        name=_name(arguments, settings),
        image=arguments.image or settings.image or default_image(),
        n_workers=checked_n_workers(settings.n_workers if arguments.n_workers is None else arguments.n_workers),
        resources=settings.resources if arguments.resources is None else arguments.resources,
        env=settings.env if arguments.env is None else arguments.env,
        worker_command=settings.worker_command if arguments.worker_command is None else arguments.worker_command,
        scheduler_service_type=service_type,
        idle_timeout=_idle_timeout(settings.idle_timeout if arguments.idle_timeout is None else arguments.idle_timeout),
    )


def _laid_over(arguments: Arguments, custom: Manifest, settings: Settings) -> Manifest:
    """A spec of the user's own with the few arguments that mean something beside it."""
    for argument in _BESIDE_A_SPEC:
        if getattr(arguments, argument) is not None:
            raise ConflictingArguments(
                f"{argument}= and custom_cluster_spec= exclude each other: write it into the spec, or leave that out."
            )
    fields = Fields(custom, "custom_cluster_spec")
    if fields.text_or_none("kind") not in (names.CLUSTER, None):
        raise InvalidResource(fields.path("kind"), f"must be {names.CLUSTER}")
    worker = fields.inner("spec").mapping("worker")
    metadata = fields.inner_or_empty("metadata")
    metadata.text_or_none("namespace")
    name = arguments.name or metadata.text_or_none("name") or _name(arguments, settings)
    if problem := names.problem_of_cluster_name(name):
        raise InvalidResource("name", f"{name!r} {problem}")
    replicas = {} if arguments.n_workers is None else {"replicas": checked_n_workers(arguments.n_workers)}
    idle = {} if arguments.idle_timeout is None else {"idleTimeout": _idle_timeout(arguments.idle_timeout)}
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.CLUSTER,
        **custom,
        "metadata": {**fields.mapping_or_empty("metadata"), "name": name},
        "spec": {**custom["spec"], **idle, "worker": {**worker, **replicas}},
    }


def _idle_timeout(given: float | str) -> int:
    """Whole seconds, as the resource has them; a part of a second is not taken for never."""
    return math.ceil(seconds_or_never(given, "idle_timeout"))


def _loaded(custom: Manifest | str | os.PathLike[str]) -> Manifest:
    """A mapping as it is; a path is read as YAML."""
    if isinstance(custom, Mapping):
        return custom
    try:
        content = yaml.safe_load(Path(custom).read_text())
    except (OSError, yaml.YAMLError) as error:
        raise InvalidResource("custom_cluster_spec", f"cannot be read: {error}") from error
    if not isinstance(content, Mapping):
        raise InvalidResource("custom_cluster_spec", f"{os.fspath(custom)} must hold one DaskCluster")
    return content


def _name(arguments: Arguments, settings: Settings) -> str:
    """A given name has to be valid; a generated one is made so."""
    if arguments.name is not None:
        if problem := names.problem_of_cluster_name(arguments.name):
            raise InvalidResource("name", f"{arguments.name!r} {problem}")
        return arguments.name
    if "{uuid}" in settings.name and _create_mode(arguments, settings) is CreateMode.CONNECT_ONLY:
        raise InvalidResource("name", "has to be given with create_mode='CONNECT_ONLY': which cluster is joined?")
    filled = settings.name.replace("{user}", _user()).replace("{uuid}", secrets.token_hex(5))
    return names.valid_cluster_name(filled)


def _create_mode(arguments: Arguments, settings: Settings) -> CreateMode:
    mode: CreateMode = _member(CreateMode, arguments.create_mode or settings.create_mode, "create_mode")
    return mode


def _user() -> str:
    """Who runs this; total, since a container may have no name for its user."""
    try:
        return os.environ.get("JUPYTERHUB_USER") or getpass.getuser()
    except (KeyError, OSError):
        return "user"


def checked_n_workers(number: object, argument: str = "n_workers") -> int:
    """A number of workers, or an error that names the argument."""
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise InvalidResource(argument, f"must be a whole number of 0 or more, not {number!r}")
    return number


def _member(kind: type[Any], given: object, argument: str) -> Any:
    """An Enum's member, also from its value or its name in any case."""
    if isinstance(given, kind):
        return given
    for member in kind:
        if str(given).casefold() in (str(member.value).casefold(), member.name.casefold()):
            return member
    allowed = ", ".join(repr(member.value) for member in kind)
    raise InvalidResource(argument, f"must be one of {allowed}, not {given!r}")
