"""Old Dask in a user's image: the hand-over under the oldest that is promised, and a scheduler that is older still."""

from __future__ import annotations

import sys
from pathlib import Path

from dask_k8s.scheduler.rpc import FIRST_SIDE_BY_SIDE
from tests.environments import OLDEST, passes, uv
from tests.unit.scheduler.conftest import connected, process

BESIDE = ("pytest", "pytest-asyncio", "pyyaml", "hypothesis")

DRAINS = tuple(f"tests/unit/scheduler/{each}.py" for each in ("test_drain", "test_moves"))
LATER = (
    "test_drain.py::test_tasks_that_may_run_there_alone_are_told[tuple]",
    "test_drain.py::test_more_tasks_than_are_listened_to_hold_nobody_up",
    "test_moves.py::test_an_answer_that_was_lost_is_found_out",
    "test_moves.py::test_a_value_that_cannot_be_moved_holds_up_nobody_else",
    "test_moves.py::test_a_late_result_that_cannot_be_moved_holds_up_nobody_else",
    "test_moves.py::test_an_answer_is_not_waited_for_where_all_have_gone",
    "test_moves.py::test_what_is_not_answered_beside_a_move_does_not_disturb_it",
    "test_moves.py::test_who_stays_for_its_actor_is_told_while_others_move",
)
"""Keys were texts then, notes of retirements and of statuses did not say of which retirement they were, and one
retirement waited for another's end."""


WITHOUT_CHECK_IDLE = "2023.3.0"


def made(folder: Path, release: str, *beside: str) -> Path:
    """An environment with this release of Dask."""
    environment = folder / "environment"
    uv("venv", "--python", sys.executable, environment, environment=environment)
    releases = [f"dask=={release}", f"distributed=={release}", *beside]
    uv("pip", "install", "--python", environment, *releases, environment=environment)
    return environment


def test_the_hand_over_works_with_the_oldest_dask(tmp_path: Path) -> None:
    """All of its tests, in an environment of their own."""
    environment = made(tmp_path, OLDEST, *BESIDE)
    report = passes(environment, "-W", "ignore", "tests/integration/test_handover.py")
    assert " passed" in report
    assert "skipped" not in report


def test_drains_work_with_the_oldest_dask(tmp_path: Path) -> None:
    """All of their tests: its scheduler moves, refuses and forgets as the newest one does."""
    environment = made(tmp_path, OLDEST, *BESIDE)
    report = passes(
        environment, "-W", "ignore", *DRAINS, *(f"--deselect=tests/unit/scheduler/{each}" for each in LATER)
    )
    assert " passed" in report
    assert "skipped" not in report


def test_one_value_holds_up_nobody_from_when_retirements_go_side_by_side(tmp_path: Path) -> None:
    """The release from which on the product counts on it; with the one before these tests fail."""
    assert FIRST_SIDE_BY_SIDE == (2023, 10)
    environment = made(tmp_path, "2023.10.0", *BESIDE)
    report = passes(environment, "-W", "ignore", "tests/unit/scheduler/test_moves.py", "-k", "cannot_be_moved")
    assert "3 passed" in report


async def test_a_scheduler_that_does_not_know_its_rests_is_looked_at(tmp_path: Path) -> None:
    """Idle without a mark; at work; and nothing is said of one without workers, where tasks may wait unseen."""
    environment = made(tmp_path, WITHOUT_CHECK_IDLE)
    with process("scheduler", python=str(environment / "bin" / "python")) as running:
        assert running.stdout is not None
        async with connected(running.stdout.readline().strip()) as scheduler:
            assert await scheduler.rpc.idle_since() is None
            await scheduler.scene("begin", count=1)
            assert await scheduler.rpc.idle_since() == ""
            (worker,) = (await scheduler.workers()).values()
            ran = str(tmp_path / "ran")
            await scheduler.scene("submit", task="work", key="key", path=ran, seconds=1.0, worker=worker)
            assert await scheduler.rpc.idle_since() is None
            await scheduler.scene("gather")
            assert await scheduler.rpc.idle_since() == ""
