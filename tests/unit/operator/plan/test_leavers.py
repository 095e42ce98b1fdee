"""The decision table of scale-down: who leaves, and how, row by row. The documentation shows these very rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dask_k8s.operator.actions import Ask, Delete, Question
from dask_k8s.operator.observed import Drain, Drained, ObservedGroup, Phase, Silent
from dask_k8s.operator.plan.worker_group import plan
from tests.unit.given import NOW, group, group_manifest, later, observed, worker
from tests.unit.operator.plan.words import SILENT, STALE, deeds, final, order, retiring

a, b, c = worker("a"), worker("b"), worker("c")
pending = worker("p", Phase.PENDING)
placed = worker("p", Phase.PENDING, placed=True)
REFUSED = Drained(state=Drain.REFUSED, why="It has no room.", ended=NOW)
MOVING = Drained(state=Drain.UNDER_WAY, left=1 << 30, moved=later(-59))
starting = worker("e", Phase.EXPECTED)


def frozen(seconds: float) -> Drained:
    """Nothing has come of a drain: its scheduler has not answered for so long."""
    return Drained(state=Drain.UNDER_WAY, silent=Silent(since=later(-seconds), why="it is frozen"))


CHOICES = [
    # what is so; how many are asked for; what there is; what is done; whether the scheduler is asked
    ("a Pod of which no container runs goes first, and nobody is asked", 1, observed(a, pending), ["delete p"], False),
    (
        "but one that has a node may have joined: its kubelet tells late, and the scheduler is asked",
        1,
        observed(a, placed),
        [],
        True,
    ),
    ("where it says no, it goes first, too", 1, observed(a, placed, order=order("a")), ["delete p"], True),
    ("where it has joined, it is drained in its turn", 1, observed(a, placed, order=order("p", "a")), ["mark p"], True),
    ("without an order nobody else goes: the scheduler is asked", 1, observed(a, b), [], True),
    (
        "then one that runs and never joined; it is drained, for it may join yet",
        1,
        observed(a, b, order=order("a")),
        ["mark b"],
        True,
    ),
    ("then the scheduler's first: idle with least data", 1, observed(a, b, order=order("b", "a")), ["mark b"], True),
    (
        "all three in their order",
        1,
        observed(a, b, c, pending, order=order("b", "a")),
        ["delete p", "mark b", "mark c"],
        True,
    ),
    (
        "workers of other groups, or that joined by hand, stand in the order and are not touched",
        1,
        observed(a, b, order=order("zz", "b", "a")),
        ["mark b"],
        True,
    ),
    ("an order that is older than two seconds is none", 1, observed(a, b, order=order("b", "a", age=STALE)), [], True),
    ("a silent scheduler costs nobody who may have joined", 1, observed(a, b, order=SILENT), [], True),
    ("though what does not run goes", 1, observed(a, b, pending, order=SILENT), ["delete p"], True),
    ("as far as its kubelet has told", 1, observed(a, b, placed, order=SILENT), ["delete p"], True),
    (
        "and not for one answer that is late, where it has a node",
        1,
        observed(a, b, placed, order=Silent(since=later(-9), why="no route")),
        [],
        True,
    ),
    (
        "with none to stay, all are marked though the scheduler is silent: their time begins",
        0,
        observed(a, b, order=SILENT),
        ["mark a", "mark b"],
        True,
    ),
    ("but it is asked first", 0, observed(a, b), [], True),
    ("and with its answer all are marked", 0, observed(a, b, order=order("b", "a")), ["mark a", "mark b"], True),
    ("what was asked for and not seen yet has to be seen first", 0, observed(starting), [], False),
    ("nobody who runs leaves in its place", 1, observed(a, starting, order=order("a")), [], True),
    ("unless none is to stay", 0, observed(a, starting, order=order("a")), ["mark a"], True),
    ("who is being deleted is not too many", 1, observed(a, worker("b", Phase.LEAVING)), [], False),
    ("nor is who was chosen before", 1, observed(a, retiring("b", Drain.UNDER_WAY)), [], False),
    (
        "also where it does not run, as far as its kubelet has told; its scheduler has the word",
        0,
        observed(worker("p", Phase.PENDING, placed=True, node_leaves="It goes.")),
        ["mark p"],
        False,
    ),
    (
        "one on a node that is about to go leaves, whatever the number",
        1,
        observed(worker("b", node_leaves="It goes.")),
        ["create Pod", "mark b"],
        False,
    ),
]

EXCHANGES = [
    (
        "one that was refused is exchanged for the scheduler's next",
        2,
        observed(a, b, retiring("c", Drain.REFUSED), order=order("b", "a", "c")),
        ["keep c", "mark b"],
        True,
    ),
    ("or for one that does not run", 1, observed(pending, retiring("c", Drain.REFUSED)), ["delete p", "keep c"], False),
    (
        "where all others were refused as well, it stays chosen and is tried again",
        1,
        observed(worker("a", drain=Drain.REFUSED), retiring("c", Drain.REFUSED)),
        [],
        False,
    ),
    (
        "one that was refused and taken back is not chosen again so soon",
        1,
        observed(a, worker("b", drain=Drain.REFUSED), order=order("b", "a")),
        ["mark a"],
        True,
    ),
    ("unless none is to stay", 0, observed(worker("b", drain=Drain.REFUSED), order=order("b")), ["mark b"], True),
    (
        "when more are asked for again, one that was refused is taken back",
        2,
        observed(a, retiring("c", Drain.REFUSED)),
        ["keep c"],
        False,
    ),
    (
        "and is not tried again, though none was to stay",
        2,
        observed(a, retiring("c", drained=replace(REFUSED, final=later(-5)))),
        ["keep c"],
        False,
    ),
    (
        "one whose data has begun to move is not: another is made",
        2,
        observed(a, retiring("c", Drain.UNDER_WAY)),
        ["create Pod"],
        False,
    ),
    (
        "one that its scheduler keeps out of service is replaced, and drained again",
        2,
        observed(a, retiring("c", Drain.STUCK)),
        ["create Pod"],
        False,
    ),
]

DRAINS = [
    (
        "with none to stay, one is drained before it is given up, also by an operator that has just begun",
        0,
        observed(retiring("b", since=-600)),
        ["retire b"],
        False,
    ),
    ("who was chosen is drained", 1, observed(a, retiring("b")), ["retire b"], False),
    (
        "those chosen together are drained together: data moves once",
        0,
        observed(retiring("a"), retiring("b")),
        ["retire a b"],
        False,
    ),
    (
        "with those that were chosen before and not drained yet: each has its time from when the scheduler is asked",
        0,
        observed(retiring("a", since=-20), retiring("b")),
        ["retire a b"],
        False,
    ),
    ("a drain under way is left alone", 1, observed(a, retiring("b", Drain.UNDER_WAY)), [], False),
    ("however long it takes, while others stay", 1, observed(a, retiring("b", Drain.UNDER_WAY, since=-600)), [], False),
    (
        "one that has not joined goes, with its own grace: it may join just now, and hand over by itself",
        1,
        observed(a, retiring("b", Drain.ABSENT)),
        ["delete b"],
        False,
    ),
    ("an empty one is deleted at once", 1, observed(a, retiring("b", Drain.EMPTY)), ["delete b within 5 s"], False),
    (
        "one that was empty a while ago may have been started again, unseen: it goes with its own grace",
        1,
        observed(a, retiring("b", drained=Drained(state=Drain.EMPTY, ended=later(-2.1)))),
        ["delete b"],
        False,
    ),
    (
        "the last holder of data stays past drainTimeout, while others are to stay",
        1,
        observed(worker("a", drain=Drain.REFUSED), retiring("b", Drain.REFUSED, since=-61)),
        [],
        False,
    ),
    (
        "with none to stay it goes once its time is over",
        0,
        final(observed(retiring("b", Drain.REFUSED, since=-60))),
        ["delete b within 30 s and have it forgotten"],
        False,
    ),
    (
        "but not while its data moves, to workers of other groups",
        0,
        final(observed(retiring("b", drained=MOVING, since=-600))),
        [],
        False,
    ),
    (
        "unless it has stopped moving for that time",
        0,
        final(observed(retiring("b", drained=replace(MOVING, moved=later(-60)), since=-600))),
        ["delete b within 30 s and have it forgotten"],
        False,
    ),
    ("and not before", 0, final(observed(retiring("b", Drain.REFUSED, since=-59))), [], False),
    (
        "nor while it waits for its turn, since others move data: its own has had no time yet",
        0,
        final(observed(retiring("b", Drain.UNDER_WAY, since=-600))),
        [],
        False,
    ),
    (
        "and with its own grace, where its scheduler is silent: it may hand over by itself, once that answers",
        0,
        final(observed(retiring("b", drained=frozen(60), since=-600))),
        ["delete b"],
        False,
    ),
    (
        "once that has been so for all its time, and not for one answer that was late",
        0,
        final(observed(retiring("b", drained=frozen(59), since=-600))),
        [],
        False,
    ),
    (
        "one that was refused while others were to stay is tried again, and has its time from there",
        0,
        observed(retiring("b", drained=REFUSED, since=-600)),
        ["retire b"],
        False,
    ),
    (
        "and is not given up before that is over",
        0,
        observed(retiring("b", drained=replace(REFUSED, final=later(-59)), since=-600)),
        [],
        False,
    ),
    (
        "one whose data moves is told that none is to stay: it has its time from there, too",
        0,
        observed(retiring("b", drained=replace(MOVING, moved=later(-600)), since=-600)),
        ["retire b"],
        False,
    ),
    (
        "where others are to stay after all, that time is none; its drain is told so, and is not begun anew",
        1,
        observed(a, retiring("b", drained=replace(REFUSED, final=later(-600)), since=-600)),
        ["retire b"],
        True,
    ),
    (
        "a refusal is none any more that is older than the choice",
        0,
        final(observed(retiring("b", drained=replace(REFUSED, ended=later(-11)), since=-10))),
        ["retire b"],
        False,
    ),
    (
        "however long ago that choice was",
        0,
        final(observed(retiring("b", drained=replace(REFUSED, ended=later(-601)), since=-600))),
        ["retire b"],
        False,
    ),
    ("nor does one that is stuck go before", 0, final(observed(retiring("b", Drain.STUCK, since=-59))), [], False),
    (
        "one that ended has nothing to hand over",
        1,
        observed(a, retiring("b", phase=Phase.ENDED)),
        ["delete b within 5 s"],
        False,
    ),
    (
        "one of which no container runs any more has nothing either, as long as none has begun to since",
        1,
        observed(a, retiring("b", phase=Phase.PENDING)),
        ["delete b"],
        False,
    ),
    (
        "but one that has a node is drained first: it may run, and its kubelet be late to tell",
        1,
        observed(a, retiring("b", phase=Phase.PENDING, placed=True)),
        ["retire b"],
        False,
    ),
    (
        "unless its scheduler is silent for ten seconds: then it goes, as far as that has told",
        1,
        observed(a, retiring("b", phase=Phase.PENDING, placed=True, drained=frozen(10))),
        ["delete b"],
        False,
    ),
    (
        "and not for one answer that is late",
        1,
        observed(a, retiring("b", phase=Phase.PENDING, placed=True, drained=frozen(9))),
        [],
        False,
    ),
    ("one that is being deleted is left alone", 1, observed(a, retiring("b", phase=Phase.LEAVING)), [], False),
    (
        "after a restart of the operator, who was chosen is drained again",
        1,
        observed(a, retiring("b", since=-30)),
        ["retire b"],
        False,
    ),
]

PRE_STOP = {"lifecycle": {"preStop": {"sleep": {"seconds": 60}}}}

TABLE = [*CHOICES, *EXCHANGES, *DRAINS]


@pytest.mark.parametrize(("_fact", "replicas", "there", "expected", "asks"), TABLE, ids=[row[0] for row in TABLE])
def test_leavers(_fact: str, replicas: int, there: ObservedGroup, expected: list[str], asks: bool) -> None:
    """Who is deleted, marked, kept, drained; and whether the scheduler has to be asked."""
    made = plan(group(replicas=replicas), there, NOW)
    assert deeds(made) == expected
    assert made.ask == (frozenset({Question(ask=Ask.ORDER)}) if asks else frozenset())


@pytest.mark.parametrize(
    ("state", "spec", "grace"),
    [
        (Drain.EMPTY, {}, " within 5 s"),
        (Drain.EMPTY, {"terminationGracePeriodSeconds": 600}, " within 5 s"),
        (Drain.EMPTY, {"terminationGracePeriodSeconds": 1}, " within 1 s"),
        (Drain.REFUSED, {"terminationGracePeriodSeconds": 10}, " within 10 s and have it forgotten"),
        (Drain.EMPTY, {"containers": [{"name": "worker", **PRE_STOP}]}, ""),
        (Drain.EMPTY, {"initContainers": [{"name": "sidecar", "restartPolicy": "Always", **PRE_STOP}]}, ""),
        (Drain.EMPTY, {"initContainers": [{"name": "init", **PRE_STOP}]}, " within 5 s"),
    ],
    ids=[
        "drained",
        "never longer than that",
        "nor than the user's own",
        "given up",
        "a preStop has all its time",
        "a sidecar's, too",
        "what has ended long ago has none",
    ],
)
def test_how_long_a_pod_has_to_end(state: Drain, spec: dict[str, Any], grace: str) -> None:
    """As short as it can be, and never longer than its user has set."""
    template = group_manifest()["spec"]["worker"]["spec"]
    made = plan(group(replicas=0, spec={**template, **spec}), final(observed(retiring("b", state, since=-60))), NOW)
    assert deeds(made) == [f"delete b{grace}"]


def test_a_pod_goes_undrained_only_as_it_was_seen() -> None:
    """Its container may have begun to run since: then the deletion is refused, by the version."""
    seen = replace(pending, ref=replace(pending.ref, version="7"))
    assert plan(group(replicas=0), observed(seen), NOW).actions == (Delete(target=seen.ref),)
