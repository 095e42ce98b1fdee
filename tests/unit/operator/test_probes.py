"""When the kubelet is told to restart the operator, and when to wait."""

from __future__ import annotations

import pytest

from dask_k8s.kinds.value import value
from dask_k8s.kube.resources import DASK_CLUSTER, POD, Resource
from dask_k8s.operator.engine.queue import Key
from dask_k8s.operator.probes import PASS_LIMIT, SILENCE, why_dead, why_unready

NOW = 10_000.0
KEY = Key("DaskCluster", "team", "simple")


@value
class Told:
    """What an informer would say of itself."""

    resource: Resource = POD
    namespace: str | None = None
    trouble: str | None = None
    last_heard: float = NOW


@pytest.mark.parametrize(
    ("follower", "sentences"),
    [
        pytest.param(Told(), [], id="just heard"),
        pytest.param(Told(last_heard=NOW - SILENCE), [], id="at the bound"),
        pytest.param(
            Told(last_heard=NOW - SILENCE - 1),
            ["pods: nothing was heard for 301 s, and no trouble is known."],
            id="silent for no known reason",
        ),
        pytest.param(
            Told(namespace="team", last_heard=NOW - 400),
            ["pods in team: nothing was heard for 400 s, and no trouble is known."],
            id="in one namespace",
        ),
        pytest.param(Told(trouble="pods: refused", last_heard=NOW - 9000), [], id="silent for a known reason"),
    ],
)
def test_silence_without_a_reason_asks_for_a_restart(follower: Told, sentences: list[str]) -> None:
    """A cache that heard nothing and knows of no trouble has a bug; a restart would not bring an API server back."""
    assert list(why_dead([follower], {}, NOW)) == sentences


@pytest.mark.parametrize(
    ("age", "sentences"),
    [
        pytest.param(0.0, [], id="new"),
        pytest.param(PASS_LIMIT, [], id="at the bound"),
        pytest.param(PASS_LIMIT + 1, ["The pass for DaskCluster team/simple hangs for 301 s."], id="hung"),
    ],
)
def test_a_pass_that_hangs_asks_for_a_restart(age: float, sentences: list[str]) -> None:
    """Each call of a pass has a deadline of seconds, so a pass of minutes never ends."""
    assert list(why_dead([Told()], {KEY: NOW - age}, NOW)) == sentences


@pytest.mark.parametrize(
    ("followers", "sentences"),
    [
        pytest.param([Told(), Told(namespace="team")], [], id="in step"),
        pytest.param(
            [Told(), Told(resource=DASK_CLUSTER, trouble="daskclusters.kubernetes.dask.org: no such kind")],
            ["daskclusters.kubernetes.dask.org: no such kind"],
            id="a trouble that names its kind",
        ),
        pytest.param(
            [Told(namespace="team", trouble="has not been listed yet")],
            ["pods in team has not been listed yet"],
            id="a trouble that names none",
        ),
    ],
)
def test_ready_means_that_every_cache_is_in_step(followers: list[Told], sentences: list[str]) -> None:
    """Each cache that is not gives one sentence with its kind in it."""
    assert list(why_unready(followers)) == sentences
