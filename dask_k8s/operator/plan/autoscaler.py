"""DaskAutoscaler: the default group's count follows the scheduler's target; up at once, down with patience.

The count that the group asks for is what is compared, and not the workers that are there: Pods that are still pending
are capacity on its way. Down it goes to the highest target of the window, and only when the answers span the window
without a gap; so nothing is taken away right after a restart, ours or the scheduler's. A silent scheduler changes
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from dask_k8s.kinds.autoscaler import Autoscaler
from dask_k8s.kinds.fields import Fields
from dask_k8s.kinds.value import value
from dask_k8s.operator.actions import NOTHING, Action, Ask, Patch, Plan, Question
from dask_k8s.operator.observed import Home, Known, ObservedAutoscaler, Silent, Targets
from dask_k8s.operator.plan import conditions
from dask_k8s.operator.plan.adoption import adopted, follows_the_dead
from dask_k8s.operator.plan.conditions import SOUND, Condition, Type, degraded, timestamp

_OFTEN = ("TooFewReplicas", "WithinRange")
"""What comes and goes with each burst of work is a condition, and no news."""

FRESH = timedelta(seconds=5)
"""How much older than its interval an answer may be: a scheduler that is slow is not known to need fewer workers."""


@value
class Decision:
    """What the count should be.

    Parameters
    ----------
    recommended
        What the scheduler's targets come to, before any limit.
    replicas
        The same within the limits.
    """

    target: int
    recommended: int
    replicas: int


def plan(autoscaler: Autoscaler, observed: ObservedAutoscaler, limit: int, now: datetime) -> Plan:
    """What the group's count becomes.

    Parameters
    ----------
    limit
        The operator's own: no scheduler, which is a user's program, gets more.
    """
    home = observed.home
    if autoscaler.head.deleting or follows_the_dead(autoscaler.head, home):
        return NOTHING
    serves = home is not None and observed.first == autoscaler.head.ref.name
    decision = _decision(autoscaler, observed, limit, now) if serves else None
    wanted = list(_conditions(autoscaler, observed, decision, limit))
    return Plan(
        status=_status(autoscaler, observed, decision, wanted, now),
        events=tuple(each for each in conditions.changes(autoscaler.status, wanted) if each.reason not in _OFTEN),
        actions=() if home is None else tuple(_actions(autoscaler, observed, home, decision)),
        ask=frozenset(_questions(autoscaler, home)) if serves else frozenset(),
        wake_at=min(_deadlines(autoscaler, observed, now), default=None),
    )


def _decision(autoscaler: Autoscaler, observed: ObservedAutoscaler, limit: int, now: datetime) -> Decision | None:
    if observed.group is None or not isinstance(observed.targets, Known):
        return None
    if not _is_fresh(observed.targets, autoscaler, now):
        return None
    targets = observed.targets.answer
    recommended = _recommended(targets, observed.replicas, now - timedelta(seconds=autoscaler.stabilization))
    replicas = min(max(recommended, autoscaler.minimum), _most(autoscaler, limit))
    return Decision(target=targets.latest, recommended=recommended, replicas=replicas)


def _is_fresh(targets: Known[Targets], autoscaler: Autoscaler, now: datetime) -> bool:
    """Neither old nor, after a step of our clock, of the future."""
    return timedelta() <= now - targets.at <= FRESH + timedelta(seconds=autoscaler.interval)


def _recommended(targets: Targets, replicas: int, begin: datetime) -> int:
    """Up to the latest target; down to the highest since the window began, where the answers span it."""
    if targets.latest >= replicas:
        return targets.latest
    return min(replicas, targets.highest(begin)) if targets.since <= begin else replicas


def _most(autoscaler: Autoscaler, limit: int) -> int:
    return limit if autoscaler.maximum is None else min(limit, autoscaler.maximum)


def _questions(autoscaler: Autoscaler, home: Home | None) -> Iterator[Question]:
    if home is not None and home.scheduled:
        yield Question(ask=Ask.TARGET, every=float(autoscaler.interval))


def _actions(
    autoscaler: Autoscaler, observed: ObservedAutoscaler, home: Home, decision: Decision | None
) -> Iterator[Action]:
    yield from adopted(autoscaler.head, home)
    if decision is not None and observed.group is not None and decision.replicas != observed.replicas:
        yield Patch(target=observed.group, patch={"spec": {"worker": {"replicas": decision.replicas}}})


def _status(
    autoscaler: Autoscaler,
    observed: ObservedAutoscaler,
    decision: Decision | None,
    wanted: list[Condition],
    now: datetime,
) -> dict[str, Any]:
    """Without a decision the numbers stay as they were: not known is not zero."""
    known = Fields(autoscaler.status, "status")
    scales = decision is not None and decision.replicas != observed.replicas
    numbers = {
        "target": (known.count("target", 0) if known.has("target") else None) if decision is None else decision.target,
        "replicas": (observed.replicas if observed.group is not None else None)
        if decision is None
        else decision.replicas,
        "lastScaleTime": timestamp(now) if scales else known.text_or_none("lastScaleTime"),
    }
    return {
        "observedGeneration": autoscaler.head.generation,
        **{key: each for key, each in numbers.items() if each is not None},
        "conditions": conditions.merged(autoscaler.status, wanted, now, generation=autoscaler.head.generation),
    }


def _conditions(
    autoscaler: Autoscaler, observed: ObservedAutoscaler, decision: Decision | None, limit: int
) -> Iterator[Condition]:
    trouble = next(_troubles(autoscaler, observed), None)
    if trouble is not None:
        active = (trouble.reason, "")
    elif isinstance(observed.targets, Known) and observed.group is not None:
        active = ("TargetKnown", f"The scheduler could use {observed.targets.answer.latest} workers.")
    else:
        active = ("SchedulerStarting", "The scheduler has not been heard of yet.")
    holds = active[0] == "TargetKnown"
    yield Condition(type=Type.SCALING_ACTIVE, holds=holds, reason=active[0], message=active[1])
    yield _limited(autoscaler, decision, limit)
    yield trouble or SOUND


def _limited(autoscaler: Autoscaler, decision: Decision | None, limit: int) -> Condition:
    reason, message = "WithinRange", ""
    if decision is not None:
        wish = max(decision.recommended, autoscaler.minimum)
        if wish > limit and limit <= _most(autoscaler, limit):
            reason, message = "OperatorLimit", f"The operator allows {limit} workers (kubernetes.max-workers)."
        elif decision.recommended > decision.replicas:
            reason, message = "TooManyReplicas", f"spec.maximum allows {decision.replicas} workers."
        elif decision.recommended < decision.replicas:
            reason, message = "TooFewReplicas", f"spec.minimum keeps {decision.replicas} workers."
    return Condition(type=Type.SCALING_LIMITED, holds=reason != "WithinRange", reason=reason, message=message)


def _troubles(autoscaler: Autoscaler, observed: ObservedAutoscaler) -> Iterator[Condition]:
    """What keeps it from scaling, the gravest first."""
    home = observed.home
    if home is None:
        yield degraded("ClusterNotFound", f"There is no DaskCluster {autoscaler.cluster} in this namespace.")
        return
    if observed.first != autoscaler.head.ref.name:
        message = f"The DaskAutoscaler {observed.first} serves the cluster {autoscaler.cluster}: this one does nothing."
        yield degraded("AnotherAutoscaler", message)
        return
    for refusal in observed.refusals:
        yield degraded(refusal.reason, refusal.message)
    if home.ready and isinstance(observed.targets, Silent):
        since = timestamp(observed.targets.since)
        message = f"The number of workers stays while the scheduler does not answer. Since {since}: "
        yield degraded("SchedulerSilent", message + observed.targets.why)


def _deadlines(autoscaler: Autoscaler, observed: ObservedAutoscaler, now: datetime) -> Iterator[datetime]:
    """When the window will have grown full, or when a higher target will have left it."""
    window = timedelta(seconds=autoscaler.stabilization)
    candidates = [refusal.retry_at for refusal in observed.refusals]
    if isinstance(observed.targets, Known):
        targets = observed.targets.answer
        candidates += [targets.since + window]
        # The first moment at which it no longer counts.
        candidates += [at + window + timedelta(milliseconds=1) for at, n in targets.recent if n > targets.latest]
        if not _is_fresh(observed.targets, autoscaler, now):
            candidates += [now + timedelta(seconds=autoscaler.interval)]
    yield from (moment for moment in candidates if moment > now)
