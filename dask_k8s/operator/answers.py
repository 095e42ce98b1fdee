"""What one scheduler answered: a value for each question, and when the question is due again.

Three things are kept apart: a question that nobody asked, one that got no answer, and the answer, which may be zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

from dask_k8s.operator.actions import Ask, Question
from dask_k8s.operator.observed import Known, Silent, Targets, Unasked

KEPT = timedelta(hours=1)
"""How long targets are kept: the longest window that an autoscaler may have."""


class Answers:
    """The answers of one scheduler.

    Parameters
    ----------
    clock
        The present.
    """

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._due: dict[Ask, datetime] = {}
        self.order: Unasked | Silent | Known[tuple[str, ...]] = Unasked()
        self.targets: Unasked | Silent | Known[Targets] = Unasked()
        self.idle: Unasked | Silent | Known[str | None] = Unasked()

    def asked(self, questions: Iterable[Question]) -> None:
        """What is asked from now on; the answer to what nobody asks any more is forgotten."""
        wanted = {question.ask for question in questions}
        if Ask.ORDER not in wanted:
            self.order = Unasked()
        if Ask.TARGET not in wanted:
            self.targets = Unasked()
        if Ask.IDLE not in wanted:
            self.idle = Unasked()

    def due(self, questions: Iterable[Question]) -> set[Ask]:
        """What has to be asked now; it counts as asked."""
        now = self._clock()
        soonest = _soonest(questions)
        due = {ask for ask, every in soonest.items() if now >= self._last(ask) + timedelta(seconds=every)}
        self._due.update(dict.fromkeys(due, now))
        return due

    def pause(self, questions: Iterable[Question], longest: float) -> float:
        """Seconds until something is due."""
        now = self._clock()
        left = ((self._last(ask) - now).total_seconds() + every for ask, every in _soonest(questions).items())
        return max(0.0, min((longest, *left)))

    def silent(self, why: str) -> None:
        """No answer came; what was known before no longer counts."""
        since = Silent(since=self._clock(), why=why)
        self.order = self.order if isinstance(self.order, Silent) else since
        self.targets = self.targets if isinstance(self.targets, Silent) else since
        self.idle = self.idle if isinstance(self.idle, Silent) else since

    def ordered(self, order: tuple[str, ...]) -> None:
        """The order in which workers may leave."""
        self.order = Known(at=self._clock(), answer=order)

    def targeted(self, target: int) -> bool:
        """How many workers it could use; whether that is news."""
        now = self._clock()
        before = self.targets.answer if isinstance(self.targets, Known) else None
        earlier = () if before is None else before.recent
        recent = tuple((at, number) for at, number in earlier if number > target and now - at <= KEPT)
        since = now if before is None else before.since
        self.targets = Known(at=now, answer=Targets(latest=target, since=since, recent=(*recent, (now, target))))
        return before is None or before.latest != target

    def rested(self, mark: str | None) -> bool:
        """Since when it has nothing to do; whether that is news.

        A scheduler that cannot say since when gives an empty mark: then it is marked with the first time of asking.
        """
        before = self.idle.answer if isinstance(self.idle, Known) else None
        if mark == "":
            mark = before or f"seen {self._clock().isoformat()}"
        news = not isinstance(self.idle, Known) or before != mark
        self.idle = Known(at=self._clock(), answer=mark)
        return news

    def _last(self, ask: Ask) -> datetime:
        return self._due.get(ask, datetime.min.replace(tzinfo=UTC))


def _soonest(questions: Iterable[Question]) -> dict[Ask, float]:
    """The most impatient of those who ask the same decides."""
    soonest: dict[Ask, float] = {}
    for question in questions:
        soonest[question.ask] = min(question.every, soonest.get(question.ask, question.every))
    return soonest
