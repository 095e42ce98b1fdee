"""What one scheduler answered: a value for each question, and when the question is due again.

Three things are kept apart: a question that nobody asked, one that got no answer, and the answer, which may be zero.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, assert_never

from dask_k8s.operator.actions import Ask, Question
from dask_k8s.operator.members import Member
from dask_k8s.operator.observed import Known, Silent, Targets, Unasked

T = TypeVar("T")

LATE = 10.0
"""How many seconds later than asked for a target may come: after more, nobody knows what came before it."""

KEPT = timedelta(hours=1)
"""How long targets are kept: the longest window that an autoscaler may have."""


class Answers:
    """The answers of one scheduler.

    Parameters
    ----------
    clock, monotonic
        The present as the answers are dated, and seconds that no step of that clock touches: questions are asked by
        these.
    """

    def __init__(
        self,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._asked_at: dict[Ask, float] = {}
        self._every: dict[Ask, float] = {}
        self._wanted: set[Ask] = set()
        self._targeted_at = float("-inf")
        self.order: Unasked | Silent | Known[tuple[Member, ...]] = Unasked()
        self.targets: Unasked | Silent | Known[Targets] = Unasked()
        self.idle: Unasked | Silent | Known[str | None] = Unasked()

    def asked(self, questions: Iterable[Question]) -> None:
        """What is asked from now on; the answer to what nobody asks any more is forgotten."""
        self._wanted = {question.ask for question in questions}
        if Ask.ORDER not in self._wanted:
            self.order = Unasked()
        if Ask.TARGET not in self._wanted:
            self.targets = Unasked()
        if Ask.IDLE not in self._wanted:
            self.idle = Unasked()

    def due(self, questions: Iterable[Question]) -> set[Ask]:
        """What has to be asked now; it counts as asked."""
        now = self._monotonic()
        self._every = _soonest(questions)
        due = {ask for ask, every in self._every.items() if now >= self._last(ask) + every}
        self._asked_at.update(dict.fromkeys(due, now))
        return due

    def pause(self, questions: Iterable[Question]) -> float:
        """Seconds until something is due; none where nothing is asked."""
        now = self._monotonic()
        return max(0.0, min((self._last(ask) + every - now for ask, every in _soonest(questions).items()), default=0.0))

    def silent(self, why: str) -> bool:
        """No answer came to anything that is asked; what was known before no longer counts. Whether that is news."""
        news = {self.refused(ask, why) for ask in self._wanted}
        return True in news

    def refused(self, ask: Ask, why: str) -> bool:
        """No answer, or an error in its place, came to one question; whether that is news."""
        silence = Silent(since=self._clock(), why=why)
        match ask:
            case Ask.ORDER:
                news, self.order = not isinstance(self.order, Silent), _earlier(self.order, silence)
            case Ask.TARGET:
                news, self.targets = not isinstance(self.targets, Silent), _earlier(self.targets, silence)
            case Ask.IDLE:
                news, self.idle = not isinstance(self.idle, Silent), _earlier(self.idle, silence)
            case _:
                assert_never(ask)
        return news

    def answered(self, ask: Ask, reply: Any) -> bool:
        """The answer to one question; whether it is news."""
        match ask:
            case Ask.ORDER:
                self.order = Known(at=self._clock(), answer=reply)
                return True  # a plan acts on a fresh order alone
            case Ask.TARGET:
                return self._targeted(reply)
            case Ask.IDLE:
                return self._rested(reply)
            case _:
                assert_never(ask)

    def _targeted(self, target: int) -> bool:
        """How many workers it could use; the answers before a gap tell nothing of the time within it."""
        now, seconds = self._clock(), self._monotonic()
        before = self.targets.answer if isinstance(self.targets, Known) else None
        gap = seconds - self._targeted_at - self._every.get(Ask.TARGET, 0.0)
        whole = before is not None and gap <= LATE and before.recent[-1][0] <= now
        earlier = before.recent if before is not None and whole else ()
        recent = tuple((at, number) for at, number in earlier if number > target and now - at <= KEPT)
        since = before.since if before is not None and whole else now
        self._targeted_at = seconds
        self.targets = Known(at=now, answer=Targets(latest=target, since=since, recent=(*recent, (now, target))))
        return before is None or before.latest != target

    def _rested(self, mark: str | None) -> bool:
        """Since when it has nothing to do.

        A scheduler that cannot say since when gives an empty mark: then it is marked with the first time of asking.
        """
        before = self.idle.answer if isinstance(self.idle, Known) else None
        if mark == "":
            mark = before or f"seen {self._clock().isoformat()}"
        news = not isinstance(self.idle, Known) or before != mark
        self.idle = Known(at=self._clock(), answer=mark)
        return news

    def _last(self, ask: Ask) -> float:
        return self._asked_at.get(ask, float("-inf"))


def _earlier(before: Unasked | Silent | Known[T], silence: Silent) -> Silent:
    """Since when it is silent does not move."""
    return before if isinstance(before, Silent) else silence


def _soonest(questions: Iterable[Question]) -> dict[Ask, float]:
    """The most impatient of those who ask the same decides."""
    soonest: dict[Ask, float] = {}
    for question in questions:
        soonest[question.ask] = min(question.every, soonest.get(question.ask, question.every))
    return soonest
