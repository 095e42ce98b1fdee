"""What the builders add to a user's own, and what they leave alone."""

from __future__ import annotations

import ast
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_k8s import InvalidResource, make_cluster_spec, make_scheduler_spec, make_worker_spec
from dask_k8s.kinds.cluster import Cluster
from dask_k8s.kinds.value import Manifest
from dask_k8s.kinds.worker_group import WorkerGroup
from dask_k8s.manifests import handover
from dask_k8s.manifests.scheduler import comm_port, dashboard_port, scheduler_pod
from dask_k8s.manifests.service import scheduler_service
from dask_k8s.manifests.worker import bears_its_name, worker_pod
from dask_k8s.manifests.worker_group import default_group
from tests.unit import given as g

SIDECAR = {"name": "sidecar", "image": "busybox", "args": ["dask-ship"], "env": [{"name": "A", "value": "1"}]}


def _worker(**fields: Any) -> dict[str, Any]:
    return {"name": "worker", "image": "dask", "args": ["dask-worker"], **fields}


def _pod_of(*containers: Manifest, **spec: Any) -> dict[str, Any]:
    return worker_pod(g.group(spec={"containers": list(containers), **spec}), "simple-default-worker-0")


def _option(container: Manifest, name: str) -> str:
    args = container["args"]
    value: str = args[args.index(name) + 1]
    return value


def test_a_worker_finds_its_name_and_its_scheduler() -> None:
    """The seed: ``DASK_WORKER_NAME`` is the Pod's name, ``DASK_SCHEDULER_ADDRESS`` leads to the cluster's Service."""
    (container,) = _pod_of(_worker())["spec"]["containers"]
    env = {each["name"]: each["value"] for each in container["env"]}
    assert env["DASK_WORKER_NAME"] == "simple-default-worker-0"
    assert env["DASK_SCHEDULER_ADDRESS"] == "tcp://simple.default.svc:8786"


def test_a_users_environment_is_not_overridden() -> None:
    """Their value under one of our names wins, and ours stand before theirs."""
    theirs = [{"name": "DASK_SCHEDULER_ADDRESS", "value": "tcp://elsewhere:1"}, {"name": "X", "value": "1"}]
    (container,) = _pod_of(_worker(env=theirs))["spec"]["containers"]
    assert container["env"][-2:] == theirs
    assert [each["name"] for each in container["env"]].count("DASK_SCHEDULER_ADDRESS") == 1


@pytest.mark.parametrize(
    ("fields", "bears"),
    [
        ({"args": ["dask", "worker", "--name", "$(DASK_WORKER_NAME)"]}, True),
        ({"args": ["dask-worker", "--name=$(DASK_WORKER_NAME)", "--nworkers", "2"]}, True),
        ({"command": ["tini", "--", "dask", "worker"], "args": ["--name", "$(DASK_WORKER_NAME)"]}, True),
        ({"args": ["dask", "worker"]}, False),
        ({"args": ["dask", "worker", "--name", "mine"]}, False),
        ({"args": ["dask", "worker", "--name"]}, False),
        ({"args": ["dask", "worker", "--name", "$(DASK_WORKER_NAME)", "--name", "mine"]}, False),
        ({"args": ["sh", "-c", "dask worker --name $(DASK_WORKER_NAME)"]}, False),
        ({"args": ["my-worker", "--name", "$(DASK_WORKER_NAME)"]}, True),
        (
            {
                "args": ["dask", "worker", "--name", "$(DASK_WORKER_NAME)"],
                "env": [{"name": "DASK_WORKER_NAME", "value": "mine"}],
            },
            False,
        ),
    ],
)
def test_it_is_known_whether_workers_bear_their_pods_name(fields: dict[str, Any], bears: bool) -> None:
    """Those that do are found by it, and no other worker is theirs."""
    assert bears_its_name(_pod_of(SIDECAR, _worker(**fields))) is bears


def test_sidecars_are_left_alone() -> None:
    """Only Dask's container is changed, wherever it stands."""
    containers = _pod_of(SIDECAR, _worker())["spec"]["containers"]
    assert containers[0] == SIDECAR
    assert containers[1]["args"][:2] == ["dask", "worker"]


def test_init_containers_and_all_other_fields_are_passed_through() -> None:
    """A PodSpec of a newer Kubernetes than ours comes through whole."""
    spec = {"initContainers": [SIDECAR], "restartPolicy": "OnFailure", "aFieldOfTomorrow": {"x": [1]}}
    made = _pod_of(_worker(), **spec)["spec"]
    assert {key: made[key] for key in spec} == spec


@pytest.mark.parametrize(
    ("spec", "grace", "limit"),
    [
        ({}, 300, 225),
        ({"terminationGracePeriodSeconds": 60}, 60, 45),
        ({"terminationGracePeriodSeconds": 0}, 0, 1),
        ({"terminationGracePeriodSeconds": 1}, 1, 1),
        ({"terminationGracePeriodSeconds": "soon"}, "soon", 225),
    ],
)
def test_the_hand_over_fits_into_the_grace_period(spec: Manifest, grace: object, limit: int) -> None:
    """The user's grace period stays, and three quarters of it are for the data."""
    pod = _pod_of(_worker(), **spec)["spec"]
    assert pod["terminationGracePeriodSeconds"] == grace
    assert _option(pod["containers"][0], "--preload-nanny") == handover.of_nanny(limit)


@pytest.mark.parametrize(
    ("args", "option", "text"),
    [
        (["dask-worker"], "--preload-nanny", handover.of_nanny(225)),
        (["dask", "worker", "--preload", "x"], "--preload-nanny", handover.of_nanny(225)),
        (["dask", "worker", "--preload-nanny", "mine"], "--preload-nanny", handover.of_nanny(225)),
        (["dask", "worker", "--no-nanny"], "--preload", handover.of_worker(225, load_configured=True)),
        (
            ["dask", "worker", "--no-nanny", "--preload", "x"],
            "--preload",
            handover.of_worker(225, load_configured=False),
        ),
    ],
)
def test_which_process_hands_over(args: list[str], option: str, text: str) -> None:
    """The nanny does where there is one; the user's own options follow ours."""
    (container,) = _pod_of(_worker(args=args))["spec"]["containers"]
    assert container["args"][:4] == ["dask", "worker", option, text]
    assert container["args"][4:] == args[1 + (args[0] == "dask") :]


def test_what_a_user_does_before_the_end_is_kept() -> None:
    """A ``preStop`` of their own runs before SIGTERM, within the same grace period."""
    lifecycle = {"preStop": {"exec": {"command": ["save"]}}}
    (container,) = _pod_of(_worker(lifecycle=lifecycle))["spec"]["containers"]
    assert container["lifecycle"] == lifecycle


def test_a_container_that_does_not_start_a_worker_gets_the_environment_alone() -> None:
    """An image with an entrypoint of its own has to find the scheduler too."""
    (container,) = _pod_of(_worker(args=["start-my-worker"]))["spec"]["containers"]
    assert container["args"] == ["start-my-worker"]
    assert container["env"][0]["name"] == "DASK_WORKER_NAME"


TEXTS = {
    "nanny": handover.of_nanny(225),
    "worker": handover.of_worker(225, load_configured=True),
    "worker with preloads": handover.of_worker(225, load_configured=False),
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_the_hand_over_is_python_3_8(text: str) -> None:
    """The scripts run under the image's Python, which may be older than ours."""
    ast.parse(text, feature_version=(3, 8))


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_the_hand_over_travels_through_kubernetes_and_distributed(text: str) -> None:
    """Kubernetes expands ``$(NAME)`` in args; distributed takes a text of several lines for a script, not a module."""
    assert "$(" not in text
    assert "\n" in text


def test_the_scheduler_pod_is_started_as_today_and_nothing_else_changes() -> None:
    """Of the seed's own scheduler only the program's name differs."""
    manifest = g.read_back(g.example("cluster.yaml"))
    spec = scheduler_pod(Cluster.from_manifest(manifest))["spec"]
    seed = manifest["spec"]["scheduler"]["spec"]
    assert spec["containers"][0]["args"] == ["dask", "scheduler"]
    assert [{**spec["containers"][0], "args": ["dask-scheduler"]}] == seed["containers"]


@pytest.mark.parametrize(("service", "published"), [({}, True), ({"publishNotReadyAddresses": False}, False)])
def test_the_service_leads_to_a_scheduler_that_is_not_ready(service: Manifest, published: bool) -> None:
    """Workers join as soon as the scheduler listens, unless the user decided otherwise."""
    manifest = g.cluster_manifest()["spec"]["scheduler"]
    cluster = g.cluster(scheduler={**manifest, "service": {"type": "LoadBalancer", **service}})
    assert scheduler_service(cluster)["spec"] == {
        "publishNotReadyAddresses": published,
        "type": "LoadBalancer",
        **service,
    }


def test_the_default_group_gets_the_workers_as_they_were_written() -> None:
    """Also fields of a newer release; the count that flowed is remembered."""
    worker = {**make_worker_spec(image="dask"), "drainTimeout": 7, "metadata": {"labels": {"a": "b"}}}
    group = default_group(g.cluster(worker={key: each for key, each in worker.items() if key != "replicas"}))
    assert group["spec"]["worker"] == {"spec": worker["spec"], "drainTimeout": 7, "replicas": 3}
    assert group["metadata"]["annotations"]["dask.org/replicas-from-cluster"] == "3"
    assert group["metadata"]["labels"]["a"] == "b"


@pytest.mark.parametrize(
    ("ports", "comm", "dashboard"),
    [
        ([], 8786, 8787),
        ([{"name": "tcp-comm", "containerPort": 1}, {"name": "http-dashboard", "containerPort": 2}], 1, 2),
        ([{"name": "dashboard", "containerPort": 3}], 8786, 3),
        ([{"containerPort": 4}], 8786, 8787),
        ("rubbish", 8786, 8787),
        ([{"name": "tcp-comm"}, "rubbish", {"name": "tcp-comm", "containerPort": "x"}], 8786, 8787),
        ([{"name": "tcp-comm", "containerPort": 65_536}, {"name": "dashboard", "containerPort": 0}], 8786, 8787),
    ],
)
def test_the_schedulers_ports_are_those_that_are_named(ports: object, comm: int, dashboard: int) -> None:
    """``http-dashboard`` and ``dashboard`` are both in use."""
    spec = {"containers": [SIDECAR, {"name": "scheduler", "ports": ports}]}
    assert (comm_port(spec), dashboard_port(spec)) == (comm, dashboard)


BUILDERS: dict[str, Callable[[Cluster, WorkerGroup], Manifest]] = {
    "scheduler Pod": lambda cluster, _: scheduler_pod(cluster),
    "Service": lambda cluster, _: scheduler_service(cluster),
    "default group": lambda cluster, _: default_group(cluster),
    "worker Pod": lambda _, group: worker_pod(group, "any"),
}


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_builders_leave_their_input_alone(build: Callable[[Cluster, WorkerGroup], Manifest]) -> None:
    """A deep comparison before and after: caches hand out the one copy that they have."""
    metadata = {"labels": {"a": "b"}, "annotations": {"c": "d"}}
    cluster, group = g.cluster(metadata=metadata), g.group(metadata=metadata, spec={"containers": [_worker(), SIDECAR]})
    before = deepcopy((cluster, group))
    build(cluster, group)
    assert (cluster, group) == before


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_what_is_built_belongs_to_what_it_was_built_for(build: Callable[[Cluster, WorkerGroup], Manifest]) -> None:
    """One owner, which controls it; in its namespace."""
    metadata = build(g.cluster(), g.group())["metadata"]
    (owner,) = metadata["ownerReferences"]
    assert (metadata["namespace"], owner["controller"]) == ("default", True)
    assert owner["uid"] in ("uid-1", "uid-2")


rubbish = st.none() | st.integers() | st.text(max_size=3) | st.lists(st.integers() | st.text(max_size=3), max_size=3)
anything = rubbish | st.dictionaries(st.text(max_size=3), rubbish, max_size=2)
containers = st.fixed_dictionaries(
    {"name": st.text(min_size=1, max_size=3)},
    optional={"args": anything, "command": anything, "env": anything, "ports": anything},
)
specs = st.fixed_dictionaries(
    {"containers": st.lists(containers, min_size=1, max_size=2)}, optional={"terminationGracePeriodSeconds": anything}
)


@given(specs)
def test_builders_are_total(spec: dict[str, Any]) -> None:
    """What could be read can be built, however wrong Kubernetes' own fields are: the API server says so, not we."""
    cluster = g.cluster(worker={"spec": spec}, scheduler={"spec": spec, "service": {}})
    for build in BUILDERS.values():
        assert build(cluster, g.group(spec=spec))["metadata"]["name"]
    assert isinstance(comm_port(spec), int)


def test_the_defaults_of_the_public_builders() -> None:
    """What ``make_cluster_spec`` says is what its two halves say."""
    made = make_cluster_spec("simple")
    assert made["metadata"] == {"name": "simple"}
    assert made["spec"] == {"worker": make_worker_spec(), "scheduler": make_scheduler_spec("simple")}
    assert "idleTimeout" not in made["spec"]


@pytest.mark.parametrize(
    ("env", "made"),
    [
        ({"A": "1", "B": 2}, [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]),
        ([{"name": "A", "valueFrom": {}}], [{"name": "A", "valueFrom": {}}]),
    ],
)
def test_env_is_a_dictionary_or_kubernetes_own_list(env: Any, made: list[Manifest]) -> None:
    """Numbers are quoted, since the API takes texts alone; scheduler and workers get the same."""
    spec = make_cluster_spec("simple", env=env)["spec"]
    for part in ("worker", "scheduler"):
        assert spec[part]["spec"]["containers"][0]["env"] == made


@pytest.mark.parametrize(
    ("command", "words"), [("dask cuda worker", ["dask", "cuda", "worker"]), (["a", "b c"], ["a", "b c"])]
)
def test_the_workers_command_stands_before_its_options(command: Any, words: list[str]) -> None:
    """A text is split at its spaces, as dask-kubernetes does it; a list is taken as it is."""
    args = make_worker_spec(worker_command=command)["spec"]["containers"][0]["args"]
    assert args[: len(words) + 1] == [*words, "--name"]


def test_a_result_can_be_edited() -> None:
    """Users edit what they get: it shares nothing with what they gave, nor one part with another."""
    resources = {"limits": {"memory": "1Gi"}}
    env = [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]
    spec = make_cluster_spec("simple", resources=resources, env=env)["spec"]
    worker, scheduler = (spec[part]["spec"]["containers"][0] for part in ("worker", "scheduler"))
    worker["resources"]["limits"]["memory"] = "2Gi"
    worker["env"][0]["valueFrom"]["secretKeyRef"]["name"] = "another"
    assert resources == {"limits": {"memory": "1Gi"}} == scheduler["resources"]
    assert env == scheduler["env"]
    assert env[0]["valueFrom"] == {"secretKeyRef": {"name": "s", "key": "k"}}


def test_a_bad_name_is_refused() -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidResource, match="'Simple' must begin with a letter"):
        make_cluster_spec("Simple")
