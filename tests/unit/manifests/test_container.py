"""What is changed in a user's container: how Dask is started and what it finds in its environment; nothing else."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_k8s.kinds.value import Manifest
from dask_k8s.manifests import container
from dask_k8s.manifests.container import Program

TINI = ["tini", "-g", "--"]
IMAGE = [*TINI, "/usr/bin/prepare.sh"]
MODULE = ["python", "-m", "distributed.cli.dask_worker"]


def lists(command: list[str] | None, args: list[str] | None) -> dict[str, Any]:
    """A container with ``command`` and ``args`` where they are given."""
    return {
        "name": "any",
        **({} if command is None else {"command": command}),
        **({} if args is None else {"args": args}),
    }


# What a user wrote; the program that is found; what is started, with the option ``-o`` right behind its name.
STARTS = [
    (None, ["dask-worker", "--name", "x"], Program.WORKER, None, ["dask", "worker", "-o", "--name", "x"]),
    (None, ["dask-scheduler"], Program.SCHEDULER, None, ["dask", "scheduler", "-o"]),
    (["dask-worker"], ["--name", "x"], Program.WORKER, ["dask", "worker", "-o"], ["--name", "x"]),
    (["dask-worker", "--name", "x"], None, Program.WORKER, ["dask", "worker", "-o", "--name", "x"], None),
    (["/opt/conda/bin/dask-worker"], None, Program.WORKER, ["/opt/conda/bin/dask", "worker", "-o"], None),
    (None, ["dask", "worker", "tcp://s:8786"], Program.WORKER, None, ["dask", "worker", "-o", "tcp://s:8786"]),
    (["dask", "scheduler"], ["--port", "1"], Program.SCHEDULER, ["dask", "scheduler", "-o"], ["--port", "1"]),
    (["dask"], ["worker", "--name", "x"], Program.WORKER, ["dask"], ["worker", "-o", "--name", "x"]),
    (["/opt/conda/bin/dask"], ["worker"], Program.WORKER, ["/opt/conda/bin/dask"], ["worker", "-o"]),
    (TINI, ["dask-worker"], Program.WORKER, TINI, ["dask", "worker", "-o"]),
    (IMAGE, ["dask-worker", "x"], Program.WORKER, IMAGE, ["dask", "worker", "-o", "x"]),
    ([*IMAGE, "dask-worker"], ["x"], Program.WORKER, [*IMAGE, "dask", "worker", "-o"], ["x"]),
    (None, [*TINI, "dask-worker"], Program.WORKER, None, [*TINI, "dask", "worker", "-o"]),
    (["env"], ["A=1", "B=2", "dask-worker"], Program.WORKER, ["env"], ["A=1", "B=2", "dask", "worker", "-o"]),
    (
        ["/usr/bin/env", "A=1", "dask-worker"],
        None,
        Program.WORKER,
        ["/usr/bin/env", "A=1", "dask", "worker", "-o"],
        None,
    ),
    (MODULE, ["--name", "x"], Program.WORKER, [*MODULE, "-o"], ["--name", "x"]),
    (["python3.11"], MODULE[1:], Program.WORKER, ["python3.11"], [*MODULE[1:], "-o"]),
    (["python", "-m"], [MODULE[2], "x"], Program.WORKER, ["python", "-m"], [MODULE[2], "-o", "x"]),
    (
        None,
        ["python", "-m", "distributed.cli.dask_scheduler"],
        Program.SCHEDULER,
        None,
        [*MODULE[:2], "distributed.cli.dask_scheduler", "-o"],
    ),
]


@pytest.mark.parametrize(("command", "args", "program", "new_command", "new_args"), STARTS)
def test_a_start_is_found_and_written_as_today(
    command: list[str] | None,
    args: list[str] | None,
    program: Program,
    new_command: list[str] | None,
    new_args: list[str] | None,
) -> None:
    """``dask-worker`` becomes ``dask worker`` wherever it starts; all other words stay where they are."""
    given_container = lists(command, args)
    start = container.start_of(given_container)
    assert start is not None
    assert start.program is program
    assert container.modernised(given_container, start, ["-o"]) == lists(new_command, new_args)


@pytest.mark.parametrize(
    ("command", "args"),
    [
        (None, None),
        (None, []),
        (None, ["--nthreads", "2"]),
        (None, ["--", "dask-worker"]),
        (None, ["A=1", "dask-worker"]),
        (["sh", "-c"], ["dask-worker --name x"]),
        (["bash", "-c", "exec dask-worker"], None),
        (None, ["sh", "-c", "pip install x && dask-worker"]),
        (["jupyter", "lab"], ["dask-worker"]),
        (["dask"], None),
        (["dask", "cuda"], ["worker"]),
        (["dask-cuda-worker"], None),
        (["python", "dask-worker"], None),
        (TINI, None),
    ],
)
def test_anything_else_is_not_touched(command: list[str] | None, args: list[str] | None) -> None:
    """What does not start one of the two programs by itself is the user's own affair."""
    assert container.start_of(lists(command, args)) is None


@pytest.mark.parametrize(
    ("command", "args", "name"),
    [
        (["sh", "-c"], ["dask-worker --name x"], "dask-worker"),
        (["/bin/bash", "-c", "pip install x; exec dask-scheduler"], None, "dask-scheduler"),
        (None, ["sh", "-c", "dask-worker"], "dask-worker"),
        (TINI, ["sh", "-c", "dask-worker"], "dask-worker"),
        (["sh", "-c", "sleep 1 && exec dask  worker --name x"], None, "dask worker"),
        (["sh", "-c", "dask scheduler"], None, None),
        (["dask-worker"], None, None),
        (["cat", "dask-worker"], None, None),
        (None, None, None),
    ],
)
def test_what_a_shells_text_starts_is_noticed(
    command: list[str] | None, args: list[str] | None, name: str | None
) -> None:
    """It is not rewritten there, so that the user has to be told."""
    assert container.hidden_in_shell(lists(command, args)) == name


def test_our_variables_stand_before_the_users() -> None:
    """Theirs can refer to ours as ``$(NAME)``, which Kubernetes fills in from what stands before."""
    theirs = [{"name": "GREETING", "value": "I am $(DASK_WORKER_NAME)"}]
    changed = container.with_environment({"name": "worker", "env": theirs}, {"DASK_WORKER_NAME": "w"})
    assert changed["env"] == [{"name": "DASK_WORKER_NAME", "value": "w"}, *theirs]


@pytest.mark.parametrize("source", [{"value": "mine"}, {"valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}])
def test_a_users_variable_wins_over_ours(source: Manifest) -> None:
    """Whatever they set under one of our names stays, also where it comes from somewhere else."""
    theirs = [{"name": "DASK_WORKER_NAME", **source}]
    changed = container.with_environment({"name": "worker", "env": theirs}, {"DASK_WORKER_NAME": "ours", "B": "2"})
    assert changed["env"] == [{"name": "B", "value": "2"}, *theirs]


def test_no_environment_is_invented() -> None:
    """Where neither side has a variable there is none."""
    assert container.with_environment({"name": "worker"}, {}) == {"name": "worker"}


@pytest.mark.parametrize(
    ("command", "args", "has"),
    [
        (None, ["dask", "worker", "--no-nanny"], True),
        (["dask", "worker", "--no-nanny"], None, True),
        (None, ["dask", "worker", "--no-nanny=true"], True),
        (None, ["dask", "worker", "--no-nanny-x"], False),
        (None, None, False),
    ],
)
def test_an_option_is_found_in_either_list(command: list[str] | None, args: list[str] | None, has: bool) -> None:
    """Also in its ``--option=value`` form."""
    assert container.has_option(lists(command, args), "--no-nanny") is has


SIDECAR: Manifest = {"name": "log-shipper", "args": ["ship"]}


@pytest.mark.parametrize(
    ("containers", "index"),
    [
        ([{"name": "a", "args": ["dask-worker"]}], 0),
        ([SIDECAR, {"name": "a", "args": ["dask", "worker"]}], 1),
        ([SIDECAR, {"name": "worker", "image": "my/entrypoint"}], 1),
        ([{"name": "worker", "args": ["ship"]}, {"name": "a", "args": ["dask-worker"]}], 1),
        ([{"name": "a", "args": ["dask-scheduler"]}, {"name": "b", "args": ["dask-worker"]}], 1),
        ([{"name": "a", "image": "my/entrypoint"}, SIDECAR], 0),
    ],
)
def test_dasks_container_is_the_one_that_starts_it(containers: list[Manifest], index: int) -> None:
    """Else the one that is called so, else the first."""
    assert container.main_container(containers, Program.WORKER) == index


words = st.lists(
    st.sampled_from(["dask", "worker", "dask-worker", "tini", "--", "-g", "sh", "-c", "env", "A=1", "python", "-m"])
    | st.integers()
    | st.none()
)
rubbish = (
    words | st.text(max_size=3) | st.integers() | st.dictionaries(st.text(max_size=3), words, max_size=2) | st.none()
)
variables = st.lists(st.dictionaries(st.sampled_from(["name", "value"]), rubbish) | st.integers(), max_size=3)


@given(st.fixed_dictionaries({}, optional={"command": rubbish, "args": rubbish, "env": rubbish | variables}))
def test_what_a_user_wrote_wrongly_reaches_the_api_server_as_it_is(content: dict[str, Any]) -> None:
    """Total, and without effect on what is no list of words: the API server has the better words for it."""
    before = deepcopy(content)
    start = container.start_of(content)
    if start is not None:
        changed = container.modernised(content, start, ["--option"])
        for key in ("command", "args"):
            if not (isinstance(content.get(key), list) and all(isinstance(word, str) for word in content[key])):
                assert changed.get(key) == content.get(key)
    container.hidden_in_shell(content)
    container.has_option(content, "--no-nanny")
    changed = container.with_environment(content, {"A": "1"})
    assert isinstance(content.get("env") or [], list) or changed == content
    assert content == before
