"""What a scheduler answered, and when it is asked again: not asked, silent and zero are three things."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from dask_k8s.operator.actions import Ask, Question
from dask_k8s.operator.answers import Answers
from dask_k8s.operator.observed import Known, Silent, Targets, Unasked
from tests.unit.given import NOW, later

TARGET, IDLE = Question(ask=Ask.TARGET, every=2.0), Question(ask=Ask.IDLE, every=5.0)


class Clock:
    """The present, moved by a test."""

    def __init__(self) -> None:
        self.now = NOW
        self._seconds = 100.0

    def __call__(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        """The same for what no step of the clock touches."""
        return self._seconds

    def passes(self, seconds: float) -> None:
        """Let time go by."""
        self.steps(seconds)
        self._seconds += seconds

    def steps(self, seconds: float) -> None:
        """Somebody sets the clock."""
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def answers(clock: Clock) -> Answers:
    return Answers(clock, clock.seconds)


def targets(answers: Answers) -> Targets:
    """The targets that are known."""
    assert isinstance(answers.targets, Known)
    return answers.targets.answer


def test_a_question_is_due_after_its_time(answers: Answers, clock: Clock) -> None:
    """At once the first time, then when so many seconds have gone by; the most impatient one decides."""
    assert answers.due([TARGET, IDLE]) == {Ask.TARGET, Ask.IDLE}
    clock.passes(2)
    assert answers.due([TARGET, IDLE]) == {Ask.TARGET}
    clock.passes(1)
    assert answers.due([TARGET, IDLE, Question(ask=Ask.TARGET, every=1.0)]) == {Ask.TARGET}


def test_the_pause_ends_when_something_is_due(answers: Answers, clock: Clock) -> None:
    """Nobody looks in between."""
    answers.due([TARGET, IDLE])
    assert answers.pause([TARGET, IDLE]) == 2
    clock.passes(7)
    assert answers.pause([TARGET]) == 0
    assert answers.pause([]) == 0


def test_targets_are_kept_with_their_times(answers: Answers, clock: Clock) -> None:
    """A lower answer keeps the higher ones before it; one that is reached again replaces them."""
    for target in (3, 7, 5, 2):
        answers.answered(Ask.TARGET, target)
        clock.passes(1)
    found = targets(answers)
    assert (found.latest, found.since) == (2, NOW)
    assert found.recent == ((later(1), 7), (later(2), 5), (later(3), 2))
    assert [found.highest(later(second)) for second in (0, 2, 3, 9)] == [7, 5, 2, 2]


def test_only_another_target_is_news(answers: Answers) -> None:
    """The same answer every second wakes nobody."""
    assert [answers.answered(Ask.TARGET, target) for target in (0, 0, 4, 4)] == [True, False, True, False]


def test_silence_ends_what_was_known(answers: Answers, clock: Clock) -> None:
    """The window begins anew after it: what the scheduler would have said meanwhile is not known."""
    answers.asked([TARGET])
    answers.answered(Ask.TARGET, 4)
    assert answers.silent("gone")
    assert answers.targets == Silent(since=NOW, why="gone")
    clock.passes(5)
    answers.silent("still gone")
    assert answers.targets == Silent(since=NOW, why="gone")
    answers.answered(Ask.TARGET, 0)
    assert targets(answers).since == later(5)


def test_what_nobody_asks_any_more_is_forgotten(answers: Answers) -> None:
    """An old answer would look like a present one."""
    answers.answered(Ask.TARGET, 4)
    answers.answered(Ask.IDLE, "1.5")
    answers.answered(Ask.ORDER, ("a",))
    answers.asked([IDLE])
    assert isinstance(answers.targets, Unasked)
    assert isinstance(answers.order, Unasked)
    assert answers.idle == Known(at=NOW, answer="1.5")
    answers.asked([])
    assert isinstance(answers.idle, Unasked)


def test_a_rest_without_a_mark_is_marked_with_its_first_sight(answers: Answers, clock: Clock) -> None:
    """Old schedulers cannot say since when they rest: the mark changes with each rest that is seen."""
    assert answers.answered(Ask.IDLE, "")
    assert isinstance(answers.idle, Known)
    first = answers.idle.answer
    clock.passes(5)
    assert not answers.answered(Ask.IDLE, "")
    assert answers.idle == Known(at=later(5), answer=first)
    assert answers.answered(Ask.IDLE, None)
    clock.passes(5)
    assert answers.answered(Ask.IDLE, "")
    assert answers.idle.answer not in (None, first)


def test_a_clock_that_is_set_back_stops_no_questions(answers: Answers, clock: Clock) -> None:
    """They are asked by seconds that nobody sets; what was known begins anew, since its times are of the future."""
    answers.due([TARGET])
    answers.answered(Ask.TARGET, 9)
    clock.passes(2)
    clock.steps(-600)
    assert answers.due([TARGET]) == {Ask.TARGET}
    answers.answered(Ask.TARGET, 1)
    assert targets(answers) == Targets(latest=1, since=later(-598), recent=((later(-598), 1),))


def test_after_a_gap_nobody_knows_what_was_before(answers: Answers, clock: Clock) -> None:
    """A question that was asked seldom has no gap; one whose answers stayed away has."""
    answers.due([Question(ask=Ask.TARGET, every=60.0)])
    answers.answered(Ask.TARGET, 9)
    clock.passes(60)
    answers.answered(Ask.TARGET, 1)
    assert targets(answers).since == NOW
    clock.passes(71)
    answers.answered(Ask.TARGET, 1)
    assert targets(answers).since == later(131)


def test_an_error_in_place_of_one_answer_is_no_silence(answers: Answers) -> None:
    """The other answers stand."""
    answers.answered(Ask.IDLE, "1.5")
    answers.answered(Ask.TARGET, 4)
    assert answers.refused(Ask.TARGET, "an error")
    assert not answers.refused(Ask.TARGET, "an error")
    assert answers.idle == Known(at=NOW, answer="1.5")
    assert isinstance(answers.targets, Silent)


def test_silence_is_news_once_and_of_what_is_asked_alone(answers: Answers) -> None:
    """Else each attempt at a scheduler that cannot be reached would wake those who ask something else."""
    answers.asked([IDLE])
    assert answers.silent("gone")
    answers.asked([IDLE])
    assert not answers.silent("gone")
    assert isinstance(answers.order, Unasked)
