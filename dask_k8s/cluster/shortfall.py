"""Why fewer workers have joined than somebody waits for: from what Kubernetes says to sentences, pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dask_k8s import names
from dask_k8s.diagnosis import Cause, Diagnosis
from dask_k8s.kinds.value import Manifest, value


@value
class Asked:
    """How many workers a cluster's groups ask for.

    Parameters
    ----------
    now
        At the moment.
    most
        Without a deed of the user's; more than ``now`` where an autoscaler may ask for more, None for no limit.
    """

    now: int
    most: int | None

    @property
    def adaptive(self) -> bool:
        """Whether an autoscaler writes a part of it."""
        return self.most != self.now


def asked(groups: Iterable[Manifest], autoscaler: Manifest | None, cluster: str) -> Asked:
    """From the groups and the autoscaler that serves the cluster's default one."""
    counts = {each["metadata"]["name"]: each["spec"]["worker"].get("replicas", 0) for each in groups}
    now = sum(counts.values())
    if autoscaler is None:
        return Asked(now=now, most=now)
    maximum = autoscaler["spec"].get("maximum")
    others = now - counts.get(names.default_group(cluster), 0)
    return Asked(now=now, most=None if maximum is None else max(now, others + maximum))


def notes(resources: Iterable[Manifest]) -> tuple[str, ...]:
    """What the operator says is wrong with them, beside what is wrong with their Pods."""
    found = (
        condition["message"]
        for each in resources
        for condition in (each.get("status") or {}).get("conditions") or ()
        if condition["type"] == "Degraded" and condition["status"] == "True" and condition["reason"] not in set(Cause)
    )
    return tuple(dict.fromkeys(found))


@value
class Shortfall:
    """How far a cluster is from the number of workers that somebody waits for.

    Parameters
    ----------
    joined
        None while the scheduler does not answer.
    asked
        None while the groups cannot be seen.
    resting
        How many have joined and take no tasks.
    pods
        How many worker Pods there are that have not joined.
    troubles
        What is wrong with them.
    scheduler
        What is wrong with the scheduler's Pod.
    notes
        What the operator says of the cluster and its groups.
    """

    wanted: int
    joined: int | None
    asked: Asked | None
    resting: int
    pods: int
    troubles: tuple[Diagnosis, ...]
    scheduler: Diagnosis | None
    notes: tuple[str, ...]

    @property
    def certain(self) -> bool:
        """Whether enough cannot come, whoever waits.

        A crash may mend itself: workers that lost their scheduler crash until it is there again. That too few are asked
        for may be mended by somebody else.
        """
        lost = sum(trouble.final and trouble.cause is not Cause.CRASHING for trouble in self.troubles)
        most = None if self.asked is None else self.asked.most
        return most is not None and most - lost < self.wanted <= most

    @property
    def too_few(self) -> str | None:
        """That nobody asks for so many workers, as a sentence with its mend; None where somebody does or may."""
        if self.asked is None or self.asked.most is None or self.asked.most >= self.wanted:
            return None
        if self.asked.adaptive:
            return (
                f"The autoscaler's maximum allows {self.asked.most} workers at most, and {self.wanted} are waited for: "
                f"raise it with cluster.adapt(maximum=…)."
            )
        return (
            f"The cluster's worker groups ask for {self.asked.now} workers, and {self.wanted} are waited for: "
            "call cluster.scale(…)."
        )

    def why(self) -> Iterator[str]:
        """What keeps the missing ones, the surest first."""
        if self.joined is None:
            yield "The scheduler does not answer."
        yield from _told((self.scheduler,) if self.scheduler else ())
        yield from self.notes
        yield from _told(self.troubles)
        yield from self._counts()

    def _counts(self) -> Iterator[str]:
        if too_few := self.too_few:
            yield too_few
        elif self.asked is not None and self.asked.now < self.wanted:
            yield (
                f"{self.asked.now} are asked for, and more by the autoscaler when there is work for them: "
                f"cluster.adapt(minimum={self.wanted}) asks for them beforehand."
            )
        if self.resting:
            who = (
                "1 worker has joined and takes" if self.resting == 1 else f"{self.resting} workers have joined and take"
            )
            yield f"{who} no tasks now: paused, since the memory is full, or about to leave."
        if (starting := self.pods - len(self.troubles)) > 0:
            yield f"Pods that start: {starting}."
        if self.asked is not None and (none := self.asked.now - (self.joined or 0) - self.resting - self.pods) > 0:
            yield f"Workers without a Pod yet: {none}."

    def __str__(self) -> str:
        return f"{self.joined or 0} of {self.wanted} workers have joined"


def _told(troubles: tuple[Diagnosis, ...]) -> Iterator[str]:
    """One sentence for each cause, since a hundred Pods have the same trouble."""
    for cause in dict.fromkeys(trouble.cause for trouble in troubles):
        alike = [trouble for trouble in troubles if trouble.cause is cause]
        more = f" ({len(alike) - 1} more alike.)" if len(alike) > 1 else ""
        yield f"{alike[0].sentence}{more} {alike[0].mend}"
