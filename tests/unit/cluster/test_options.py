"""KubeCluster's arguments and the configuration: what is decided, and what is refused before anything is sent."""

from __future__ import annotations

from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import dask
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dask_k8s import ConflictingArguments, CreateMode, InvalidResource, make_cluster_spec, names, settings
from dask_k8s.cluster.options import Arguments, OperatorMode, Options, decide, differences
from dask_k8s.cluster.spec import default_image
from dask_k8s.kinds.cluster import Cluster
from dask_k8s.kinds.worker_group import WorkerGroup
from dask_k8s.manifests.worker_group import default_group
from tests.unit import given as g


def decided(**arguments: Any) -> Options:
    """What is done for these arguments under the present configuration."""
    return decide(Arguments(**arguments), settings.read())


@pytest.fixture(autouse=True)
def ann(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests is Ann, and in no JupyterHub."""
    for name in ("JUPYTERHUB_USER", "JUPYTER_IMAGE_SPEC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOGNAME", "ann")


def test_the_defaults_of_the_contract() -> None:
    """Nothing given, nothing configured."""
    options = decided()
    assert options.create_mode is CreateMode.CREATE_OR_CONNECT
    assert options.operator is OperatorMode.AUTO
    assert (options.resource_timeout, options.namespace, options.shutdown_on_close) == (600, None, None)
    assert options.manifest == make_cluster_spec(options.name, n_workers=3)
    assert "resources" not in options.manifest["spec"]["worker"]["spec"]["containers"][0]


def test_the_name_holds_the_user_and_chance() -> None:
    """``dask-{user}-{10 hex}``; two clusters of one user differ."""
    one, other = decided().name, decided().name
    assert one != other
    prefix, _, chance = one.rpartition("-")
    assert (prefix, len(chance), int(chance, 16) >= 0) == ("dask-ann", 10, True)


def test_in_jupyterhub_user_and_image_are_the_hubs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log-in's name there is always the same, and the notebook's own image has the notebook's packages."""
    monkeypatch.setenv("JUPYTERHUB_USER", "Bob@lab")
    monkeypatch.setenv("JUPYTER_IMAGE_SPEC", "lab/notebook:1")
    options = decided()
    assert options.name.startswith("dask-bob-lab-")
    assert options.manifest["spec"]["scheduler"]["spec"]["containers"][0]["image"] == "lab/notebook:1"


def test_the_default_image_has_this_processs_dask_and_python() -> None:
    """A client and its cluster have to understand each other's pickles."""
    repository, _, tag = default_image().partition(":")
    assert repository == "ghcr.io/dask/dask"
    assert tag.startswith(f"{dask.__version__}-py3.")


EMBEDDED = names.managed_by("embedded-1")

EVERYTHING: dict[str, Any] = {
    "name": "mine",
    "image": "my/image",
    "n_workers": 0,
    "resources": {"limits": {"memory": "1Gi"}},
    "env": {"A": "1"},
    "worker_command": "dask worker --nthreads 2",
    "scheduler_service_type": "NodePort",
}


def test_what_is_sent_is_what_make_cluster_spec_gives() -> None:
    """Argument for argument; a command in one text is split at its spaces."""
    command = ["dask", "worker", "--nthreads", "2"]
    expected = make_cluster_spec(**EVERYTHING)
    assert decided(**EVERYTHING).manifest == expected
    assert decided(**{**EVERYTHING, "worker_command": command}).manifest == expected


def test_what_is_sent_is_what_the_operator_reads() -> None:
    """From the arguments to the values that plans work with, and on to the default group's."""
    cluster = Cluster.from_manifest(g.read_back(decided(**EVERYTHING).manifest))
    assert (cluster.head.ref.name, cluster.spec.worker.replicas) == ("mine", 0)
    assert cluster.spec.scheduler.service["type"] == "NodePort"
    group = WorkerGroup.from_manifest(g.read_back(default_group(cluster), uid="uid-2"))
    assert (group.head.ref.name, group.cluster, group.worker.replicas) == ("mine-default", "mine", 0)
    assert group.worker.template.spec == cluster.spec.worker.template.spec
    (worker,) = group.worker.template.spec["containers"]
    assert worker["image"] == "my/image"
    assert worker["resources"] == {"limits": {"memory": "1Gi"}}
    assert worker["env"] == [{"name": "A", "value": "1"}]
    assert worker["args"][:4] == ["dask", "worker", "--nthreads", "2"]


@pytest.mark.parametrize("argument", ["image", "resources", "env", "worker_command", "scheduler_service_type"])
def test_an_argument_beside_a_spec_is_refused(argument: str) -> None:
    """It would have to lose silently against the spec, or to edit it somewhere."""
    with pytest.raises(ConflictingArguments, match=f"{argument}= and custom_cluster_spec= exclude each other"):
        decided(custom_cluster_spec=make_cluster_spec("custom"), **{argument: EVERYTHING[argument]})


def test_name_namespace_and_n_workers_are_laid_over_a_spec() -> None:
    """The rest of it is sent as it is, also what we do not know; the user's own object stays untouched."""
    custom: dict[str, Any] = make_cluster_spec("custom", n_workers=5)
    custom["metadata"].update(namespace="lab", labels={"a": "b"})
    custom["spec"]["unknown"] = {"x": 1}
    before = deepcopy(custom)
    plain = decided(custom_cluster_spec=custom)
    assert plain.manifest == custom
    assert plain.namespace == "lab"
    laid = decided(custom_cluster_spec=custom, name="mine", namespace="other", n_workers=1)
    assert (laid.name, laid.namespace) == ("mine", "other")
    assert laid.manifest["spec"] == {**custom["spec"], "worker": {**custom["spec"]["worker"], "replicas": 1}}
    assert laid.manifest["metadata"]["labels"] == {"a": "b"}
    assert decided(custom_cluster_spec=custom, n_workers=0).manifest["spec"]["worker"]["replicas"] == 0
    assert custom == before


def test_a_spec_without_a_name_gets_one() -> None:
    """And one without kind or version too: a hand-written ``spec`` is enough."""
    spec = make_cluster_spec("any")["spec"]
    options = decided(custom_cluster_spec={"spec": spec})
    assert options.name.startswith("dask-ann-")
    assert (options.manifest["kind"], options.manifest["apiVersion"]) == ("DaskCluster", "kubernetes.dask.org/v1")


def test_a_spec_can_stand_in_a_file(tmp_path: Path) -> None:
    """A path is read as YAML, given as a text or as a Path."""
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump(make_cluster_spec("custom")))
    assert decided(custom_cluster_spec=path).manifest == make_cluster_spec("custom")
    assert decided(custom_cluster_spec=str(path)).manifest == make_cluster_spec("custom")


@pytest.mark.parametrize("content", [None, "", "- a list", "{", "just words"])
def test_a_file_that_holds_no_cluster_is_refused(tmp_path: Path, content: str | None) -> None:
    """Missing, empty, broken, or something else."""
    path = tmp_path / "cluster.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InvalidResource, match="custom_cluster_spec"):
        decided(custom_cluster_spec=path)


GOOD = make_cluster_spec("custom")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"name": "Mine"}, "name: 'Mine' must begin with a letter"),
        ({"name": "a" * 54}, "at most 53"),
        ({"name": ""}, "name: '' must begin"),
        ({"n_workers": -1}, "n_workers: must be a whole number of 0 or more, not -1"),
        ({"n_workers": True}, "not True"),
        ({"n_workers": 2.5}, "not 2.5"),
        ({"n_workers": "3"}, "not '3'"),
        ({"worker_command": " "}, "worker_command: must name a program"),
        ({"scheduler_service_type": "nodeport"}, "must be one of ClusterIP, NodePort, LoadBalancer, not 'nodeport'"),
        ({"create_mode": "CREATE"}, "create_mode: must be one of 'CREATE_ONLY', 'CREATE_OR_CONNECT', 'CONNECT_ONLY'"),
        ({"operator": "helm"}, "operator: must be one of 'auto', 'deployed', 'embedded', not 'helm'"),
        ({"resource_timeout": 0}, "resource_timeout: must be more than 0 s, not 0"),
        ({"resource_timeout": "soon"}, "resource_timeout: must be a time such as 30s or 5 minutes, not 'soon'"),
        ({"custom_cluster_spec": {**GOOD, "kind": "DaskJob"}}, "custom_cluster_spec.kind: must be DaskCluster"),
        ({"custom_cluster_spec": {**GOOD, "spec": None}}, "custom_cluster_spec.spec: is required"),
        ({"custom_cluster_spec": {**GOOD, "spec": {"scheduler": {}}}}, "custom_cluster_spec.spec.worker: is required"),
        (
            {"custom_cluster_spec": {**GOOD, "metadata": {"name": 7}}},
            "custom_cluster_spec.metadata.name: must be a text",
        ),
        ({"custom_cluster_spec": {**GOOD, "metadata": {"name": "A"}}}, "name: 'A' must begin with a letter"),
        ({"custom_cluster_spec": {**GOOD, "metadata": {"namespace": 7}}}, "metadata.namespace: must be a text"),
        ({"custom_cluster_spec": GOOD, "n_workers": -1}, "n_workers"),
    ],
)
def test_what_cannot_be_right_is_named(arguments: dict[str, Any], problem: str) -> None:
    """One sentence, with the argument or the field in front."""
    with pytest.raises(InvalidResource) as caught:
        decided(**arguments)
    assert problem in str(caught.value)


@pytest.mark.parametrize("mode", CreateMode)
@pytest.mark.parametrize("spelled", [lambda mode: mode, lambda mode: mode.value, lambda mode: mode.name.lower()])
def test_a_create_mode_can_be_a_text(mode: CreateMode, spelled: Any) -> None:
    """The peer takes its Enum alone; a configuration can only hold texts."""
    assert decided(name="mine", create_mode=spelled(mode)).create_mode is mode


CONFIGURED = {
    "name": "dask-of-{user}",
    "namespace": "lab",
    "image": "configured/image",
    "count.start": 7,
    "resources": {"requests": {"cpu": 1}},
    "env": {"C": "3"},
    "worker-command": "dask worker --memory-limit 0",
    "scheduler-service-type": "LoadBalancer",
    "create-mode": "connect_only",
    "shutdown-on-close": False,
    "resource-timeout": "2 minutes",
    "operator": "deployed",
}


def test_everything_can_be_configured() -> None:
    """Through dask.config under ``kubernetes``, with the peer's keys."""
    with dask.config.set({f"kubernetes.{key}": content for key, content in CONFIGURED.items()}):
        options = decided()
    expected = make_cluster_spec(
        "dask-of-ann",
        image="configured/image",
        n_workers=7,
        resources={"requests": {"cpu": 1}},
        env={"C": "3"},
        worker_command=["dask", "worker", "--memory-limit", "0"],
        scheduler_service_type="LoadBalancer",
    )
    assert options == Options(
        manifest=expected,
        namespace="lab",
        create_mode=CreateMode.CONNECT_ONLY,
        operator=OperatorMode.DEPLOYED,
        asked=frozenset(),
        shutdown_on_close=False,
        resource_timeout=120,
    )


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, []),
        ({"n_workers": 3}, []),
        ({"n_workers": 2}, ["its spec.worker.replicas differs (3 and not 2)"]),
        ({"image": "mine"}, ["its spec.worker.spec differs", "its spec.scheduler.spec differs"]),
        ({"worker_command": "my worker"}, ["its spec.worker.spec differs"]),
        ({"scheduler_service_type": "NodePort"}, ["its spec.scheduler.service differs"]),
    ],
)
def test_what_differs_in_a_cluster_that_is_joined(given: dict[str, Any], told: list[str]) -> None:
    """Of what was asked for, and nothing else."""
    there = make_cluster_spec("there", n_workers=3)
    assert differences(decided(name="there", **given), there) == told


@pytest.mark.parametrize(
    ("operator", "manager", "told"),
    [
        ("auto", EMBEDDED, []),
        ("embedded", EMBEDDED, []),
        ("deployed", None, []),
        ("deployed", EMBEDDED, [f"its spec.managedBy ({EMBEDDED}) does not change to operator='deployed'"]),
        ("embedded", None, ["its spec.managedBy (none) does not change to operator='embedded'"]),
    ],
)
def test_who_serves_a_cluster_that_is_joined(operator: str, manager: str | None, told: list[str]) -> None:
    """It is written into the cluster, and stays."""
    there = make_cluster_spec("there")
    there["spec"] |= {} if manager is None else {"managedBy": manager}
    assert differences(decided(name="there", operator=operator), there) == told


def test_to_join_a_cluster_it_has_to_be_named() -> None:
    """A name that is chance would be looked for in vain; one that is configured is a name."""
    with pytest.raises(InvalidResource, match="name: has to be given with create_mode='CONNECT_ONLY'"):
        decided(create_mode="CONNECT_ONLY")
    with dask.config.set({"kubernetes.name": "of-the-lab"}):
        assert decided(create_mode="CONNECT_ONLY").name == "of-the-lab"
    assert decided(create_mode="CONNECT_ONLY", custom_cluster_spec=make_cluster_spec("custom")).name == "custom"


def test_what_was_given_is_known() -> None:
    """A default is nothing that anybody asked for, when a cluster is joined that is otherwise."""
    assert decided(name="joined", n_workers=0).asked == {"name", "n_workers"}


def test_arguments_win_over_the_configuration() -> None:
    """Also those that are false in Python's sense."""
    with dask.config.set({f"kubernetes.{key}": content for key, content in CONFIGURED.items()}):
        options = decided(
            **EVERYTHING, namespace="n", create_mode="create_only", shutdown_on_close=True, operator="auto"
        )
    assert options.manifest == make_cluster_spec(
        **{**EVERYTHING, "worker_command": ["dask", "worker", "--nthreads", "2"]}
    )
    assert (options.namespace, options.create_mode, options.shutdown_on_close) == ("n", CreateMode.CREATE_ONLY, True)


def test_a_configured_spec_is_used_where_nothing_else_is_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    """An administrator's spec is a default: whoever gives an argument that it would hide gets that, and is told."""
    with dask.config.set({"kubernetes.custom-cluster-spec": make_cluster_spec("custom")}):
        assert decided(name="mine").manifest == {**make_cluster_spec("custom"), "metadata": {"name": "mine"}}
        assert not caplog.records
        assert decided(name="mine", image="i").manifest == make_cluster_spec("mine", image="i")
    assert caplog.messages == ["kubernetes.custom-cluster-spec is left out, since image= was given."]


@pytest.mark.parametrize("text", ["soon", "-1s", "0", [1]])
def test_a_configured_time_that_is_none_is_named(text: object) -> None:
    """With its key."""
    with (
        dask.config.set({"kubernetes.resource-timeout": text}),
        pytest.raises(InvalidResource, match=r"kubernetes\.resource-timeout: must be"),
    ):
        settings.read()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
)


@given(st.sampled_from(["apiVersion", "kind", "metadata", "spec"]), json_values)
def test_a_spec_of_whatever_content_is_taken_or_refused(key: str, content: Any) -> None:
    """Never another error than one that names the field."""
    with suppress(InvalidResource):
        assert decided(custom_cluster_spec={**GOOD, key: content}).name
