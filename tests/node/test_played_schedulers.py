"""Hundreds of workers that leave, on nodes that KWOK plays: the operator in its Pod, one process for all of Dask."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from devcluster import Cluster, up
from tests.node.conftest import Kubectl
from tests.played.playing import Play, manifest, playing
from tests.played.scene import SCENE

NAME = "played"
GROUP = f"daskworkergroup/{NAME}-default"
WORKERS = "dask.org/component=worker"


@pytest.fixture(scope="module")
def play(node: Cluster, deployed: None) -> Iterator[Play]:
    """KWOK's nodes, and who speaks for their Pods."""
    try:
        with playing(up("scale")) as found:
            yield found
    finally:
        up("node")


class Scene:
    """A cluster that is played, and what is done to it."""

    def __init__(self, kubectl: Kubectl, play: Play) -> None:
        self.kubectl = kubectl
        self.play = play
        self.cluster = f"{kubectl.namespace}/{NAME}"

    def begin(self, workers: int, **spec: Any) -> list[str]:
        """Make it, and wait until its workers have joined; their names."""
        self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(manifest(NAME, workers, **spec)))
        self.kubectl.until(lambda: len(set(self.told("joined"))) == workers, "the workers join")
        return sorted(set(self.told("joined")))

    def told(self, what: str) -> list[str]:
        return self.play.workers(what, self.cluster)

    def are(self, workers: list[str], **scene: Any) -> None:
        """Say what workers are like from now on."""
        before = len(self.told("performs"))
        self.kubectl("annotate", "--overwrite", "pods", *workers, f"{SCENE}={json.dumps(scene)}")
        self.kubectl.until(lambda: set(workers) <= set(self.told("performs")[before:]), f"{len(workers)} perform")

    def scheduler_is(self, **scene: Any) -> None:
        """Say what the scheduler is like from now on."""
        self.kubectl("annotate", "--overwrite", "pod", f"{NAME}-scheduler", f"{SCENE}={json.dumps(scene)}")

    def scale(self, workers: int) -> None:
        self.kubectl("scale", GROUP, f"--replicas={workers}")

    def stay(self, count: int) -> set[str]:
        """Wait until so many workers are left; their names."""

        def there() -> set[str] | None:
            found = {pod["metadata"]["name"] for pod in self.kubectl.pods(WORKERS)}
            return found if len(found) == count else None

        found: set[str] = self.kubectl.until(there, f"{count} workers")
        return found

    def nobody_was_cut_off(self, left: int) -> None:
        """Who has left was drained before, and nothing was lost.

        One whose Pod went late may have joined again, empty: forgotten processes are started anew.
        """
        self.kubectl.until(lambda: len(self.gone()) == left, "all that left are gone")
        assert self.gone() == set(self.told("retired"))
        lines = self.play.lines(self.cluster)
        assert [line for line in lines if line.get("keys") or line.get("tasks")] == []

    def gone(self) -> set[str]:
        return {*self.told("gone"), *self.told("undrained")}

    def condition(self, reason: str) -> None:
        """Wait until the group says this of itself."""

        def says() -> bool:
            conditions = self.kubectl.json("get", GROUP).get("status", {}).get("conditions", [])
            return any(each["reason"] == reason for each in conditions)

        self.kubectl.until(says, reason)


@pytest.fixture
def scene(kubectl: Kubectl, play: Play) -> Scene:
    return Scene(kubectl, play)


def test_150_of_200_workers_leave_idle_ones_with_least_data_first(scene: Scene) -> None:
    """Those that work and those that hold most stay; what the others held is somewhere else before they go."""
    workers = scene.begin(200)
    at_work, heavy, light, empty = workers[:30], workers[30:50], workers[50:100], workers[100:]
    scene.are(at_work, tasks=[600])
    scene.are(heavy, data=[1_000_000])
    scene.are(light, data=[1_000])
    scene.scheduler_is(moves=1.0)
    scene.scale(50)
    assert scene.stay(50) == {*at_work, *heavy}
    scene.nobody_was_cut_off(150)
    assert set(scene.told("retired")) == {*light, *empty}


def test_nobody_goes_while_the_scheduler_is_silent(scene: Scene) -> None:
    """Nobody is even chosen, and it is said why; once it answers they leave as ever."""
    workers = set(scene.begin(20))
    scene.scheduler_is(behaviour="silent")
    scene.scale(5)
    scene.condition("SchedulerSilent")
    pods = scene.kubectl.pods(WORKERS)
    assert {pod["metadata"]["name"] for pod in pods} == workers
    assert not any("dask.org/retiring-since" in pod["metadata"]["annotations"] for pod in pods)
    scene.scheduler_is(behaviour="answers")
    scene.stay(5)
    scene.nobody_was_cut_off(15)


def test_a_scheduler_that_is_started_anew_in_the_middle_of_a_drain_loses_nobody(scene: Scene) -> None:
    """Its workers join again with what they hold, and the drain begins anew."""
    workers = scene.begin(6)
    scene.scheduler_is(moves=600)
    scene.are(workers, data=[1])
    scene.scale(2)
    scene.kubectl.until(
        lambda: any("dask.org/retiring-since" in pod["metadata"]["annotations"] for pod in scene.kubectl.pods(WORKERS)),
        "workers are chosen",
    )
    scene.scheduler_is(life=1)
    scene.stay(2)
    scene.nobody_was_cut_off(4)


def test_workers_that_work_leave_when_they_have_finished(scene: Scene) -> None:
    """What runs there ends there; what waits runs elsewhere."""
    workers = scene.begin(4)
    scene.are(workers, tasks=[4, 600])
    scene.scale(2)
    stay = scene.stay(2)
    scene.nobody_was_cut_off(2)
    assert stay < set(workers)


def test_workers_that_are_refused_stay_until_they_are_not(scene: Scene) -> None:
    """The scheduler gives up none of them for a while, and it is said why."""
    workers = set(scene.begin(4))
    scene.scheduler_is(refuses=list(workers))
    scene.scale(2)
    scene.condition("DrainRefused")
    assert scene.stay(4) == workers
    scene.scheduler_is(refuses=[])
    assert scene.stay(2) < workers
    scene.nobody_was_cut_off(2)


def test_others_leave_in_the_place_of_those_that_are_refused(scene: Scene) -> None:
    """As with actors: they hold nothing, and would be the first to go."""
    workers = scene.begin(4)
    kept, others = workers[:2], workers[2:]
    scene.are(others, data=[1_000])
    scene.scheduler_is(refuses=kept)
    scene.scale(2)
    assert scene.stay(2) == set(kept)
    scene.nobody_was_cut_off(2)
