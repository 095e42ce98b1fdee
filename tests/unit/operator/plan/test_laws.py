"""Laws of plans, in any world: they come to rest, lose no data, never make too many, and leave their input alone."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st

from dask_k8s import names
from dask_k8s.kinds.value import Ref
from dask_k8s.operator.actions import Action, Create, Delete, Patch, Plan
from dask_k8s.operator.observed import Drain, Drained, Known, Phase, Presence, Worker
from dask_k8s.operator.plan import cluster as cluster_plan
from dask_k8s.operator.plan import worker_group as group_plan
from dask_k8s.operator.plan.leavers import FRESH
from tests.unit import crds
from tests.unit import given as g
from tests.unit.given import HOME, NOW, later
from tests.unit.operator.plan.words import deeds
from tests.unit.world import JOINED, ClusterWorld, GroupWorld

PASSES = 60
"""More than any world of these sizes needs: a drain that is refused, begun again, done; two back-offs."""

LONGEST_WAIT = timedelta(minutes=10)
"""More than a plan waits for anything: the longest back-off, after an end that another clock has dated."""

TIMEOUT = 30  # drainTimeout of all groups here
UNSEEN = (Phase.EXPECTED, Phase.IN_DOUBT)

ages = st.floats(0, 900).map(lambda seconds: later(-seconds))


@st.composite
def workers(draw: st.DrawFn, name: str) -> Worker:
    """A Pod in any state that it can be in."""
    phase = draw(st.sampled_from(Phase))
    if phase in UNSEEN:
        return Worker(ref=Ref(kind="Pod", namespace="default", name=name), phase=phase, template="", created=NOW)
    created = draw(ages)
    retiring = draw(st.none() | st.floats(0, 90).map(lambda seconds: max(created, later(-seconds))))
    # Who was refused may have been taken back since.
    drain = draw(st.none() | st.sampled_from(Drain if retiring else [Drain.REFUSED]))
    lived = draw(st.floats(0, 1)) * (NOW - created)
    return Worker(
        ref=g.pod(name),
        phase=phase,
        template="v1",
        created=created,
        ended=created + lived if phase is Phase.ENDED else None,
        retiring_since=None if retiring is None else retiring.replace(microsecond=0),
        drained=None if drain is None else Drained(state=drain, why="It has no room."),
        node_leaves=draw(st.sampled_from(["", "", "", "Its node goes."])),
    )


early_ends = st.one_of(
    st.just({}),
    st.builds(
        lambda count, last: {"earlyEnds": {"count": count, "last": last.strftime("%Y-%m-%dT%H:%M:%SZ")}},
        st.integers(1, 8),
        ages,
    ),
)


@st.composite
def worlds(draw: st.DrawFn) -> GroupWorld:
    """A group with up to eight Pods, whatever became of it so far."""
    home = draw(st.sampled_from([HOME, replace(HOME, scheduled=False, ready=False), None]))
    owned = home is not None and draw(st.booleans())  # what belongs to a cluster that is gone is left to its end
    manifest = g.group_manifest(owned=owned, replicas=draw(st.integers(0, 6)), drainTimeout=TIMEOUT)
    count = draw(st.integers(0, 8))
    orphans = draw(st.integers(0, 2))
    return GroupWorld(
        manifest={**manifest, "status": draw(early_ends)},
        workers={name: draw(workers(name)) for name in (f"w{index}" for index in range(count))},
        orphans={name: g.pod(name) for name in (f"o{index}" for index in range(orphans))},
        home=home,
        silent=draw(st.booleans()),
        asked=draw(st.booleans()),
    )


def planned(world: GroupWorld) -> Plan:
    """One plan, with the laws that hold for each single one."""
    resource, seen = world.group(), world.observe()
    before = pickle.dumps((resource, seen))
    made = group_plan.plan(resource, seen, world.now)
    assert pickle.dumps((resource, seen)) == before, "a plan wrote into its input"
    assert made == group_plan.plan(resource, seen, world.now), "a plan is not a function"
    _lose_nothing(world, made)
    _never_too_many(world, made)
    _no_pod_without_an_heir(world, made)
    assert len({_target(action) for action in made.actions}) == len(made.actions), "two deeds on one object"
    assert made.wake_at is None or made.wake_at > world.now, "a pass without end"
    assert made.status is not None
    if made.status != resource.status:
        assert crds.problems(made.status, "daskworkergroups", "status") == []
    return made


def _target(action: Action) -> object:
    match action:
        case Create(manifest=manifest):
            return (manifest["kind"], manifest["metadata"]["name"])
        case Delete(target=target) | Patch(target=target):
            return (target.kind, target.name)
        case retire:
            return retire


def _lose_nothing(world: GroupWorld, made: Plan) -> None:
    """Who joined goes only drained, or past ``drainTimeout`` where nobody is to stay."""
    for action in made.actions:
        if isinstance(action, Delete):
            worker = world.workers[action.target.name]
            if worker.phase in JOINED:
                over = worker.retiring_since is not None and world.now >= worker.retiring_since + timedelta(
                    seconds=TIMEOUT
                )
                assert worker.drain in (Drain.EMPTY, Drain.ABSENT) or (world.group().worker.replicas == 0 and over)
            assert worker.phase is not Phase.LEAVING


def _no_pod_without_an_heir(world: GroupWorld, made: Plan) -> None:
    """What is made goes with the group, and that with its cluster."""
    makes = any(isinstance(action, Create) for action in made.actions)
    assert not makes or world.group().head.controller is not None


def _never_too_many(world: GroupWorld, made: Plan) -> None:
    """New Pods never make what counts more than what is asked for."""
    new = [
        each
        for each in made.actions
        if isinstance(each, Create) and each.manifest["metadata"]["name"] not in world.workers
    ]
    assert not new or world.stays() + len(new) <= world.group().worker.replicas


def at_rest(world: GroupWorld, made: Plan) -> bool:
    """Whether there is nothing to do, nothing to write, and nothing under way."""
    return (
        not made.actions
        and made.status == world.manifest["status"]
        and all(w.phase is Phase.READY for w in world.workers.values())
    )


def come_to_rest(
    world: GroupWorld, some: Callable[[Sequence[Action]], Sequence[Action]], longest: timedelta = timedelta.max
) -> int:
    """Pass after pass until nothing is left to do; how many it took. None comes later than after the longest wait."""
    made: Plan | None = None
    for number in range(PASSES):
        if number == 3:  # nothing can come to rest without a cluster, its scheduler's node, and its answers
            world.home, world.silent = HOME, False
        made = planned(world)
        if number > 3 and at_rest(world, made):
            return number
        world.apply(made, some(made.actions) if number < PASSES // 3 else made.actions)
        sooner = longest != timedelta.max and made.wake_at is not None and made.wake_at - world.now > longest
        world.goes_on(world.now + longest if sooner else made.wake_at)
    pytest.fail(f"no rest after {PASSES} passes: {made}")


def settled(world: GroupWorld) -> None:
    """As many workers as were asked for, each ready and none retiring; the group and all its Pods are owned."""
    assert len(world.workers) == world.stays() == world.group().worker.replicas
    assert world.orphans == {}
    assert world.group().head.controller == "uid-1"


@given(worlds())
def test_carrying_out_plans_leaves_nothing_to_plan(world: GroupWorld) -> None:
    """Whatever there was, the group comes to what it asks for, and stays there."""
    passes = come_to_rest(world, lambda actions: actions)
    event(f"passes: {passes // 5 * 5}+")
    settled(world)


@given(worlds(), st.randoms(use_true_random=False))
def test_any_part_of_a_plan_planned_again_comes_to_the_same(world: GroupWorld, chance: Any) -> None:
    """Any subset of the deeds, in any order, may have happened before the next pass."""

    def some(actions: Sequence[Action]) -> Sequence[Action]:
        chosen: Sequence[Action] = chance.sample(actions, chance.randint(0, len(actions)))
        return chosen

    come_to_rest(world, some)
    settled(world)


@given(worlds(), st.lists(st.integers(0, 6), min_size=1, max_size=3))
def test_a_count_that_changes_in_the_middle_of_it_is_followed(world: GroupWorld, counts: list[int]) -> None:
    """A user scales up and down while drains are under way."""
    world.home = HOME
    for replicas in counts:
        world.manifest["spec"]["worker"]["replicas"] = replicas
        for _ in range(2):
            made = planned(world)
            world.apply(made, made.actions)
            world.goes_on(made.wake_at)
    come_to_rest(world, lambda actions: actions)
    settled(world)


@given(worlds(), st.floats(0, 0.999))
def test_until_it_wants_to_be_woken_a_plan_stays_the_same(world: GroupWorld, fraction: float) -> None:
    """What time alone would change is in ``wake_at``: else nobody would look, and a deadline would pass unseen."""
    assume(world.home is not None)
    world.asked = False  # a scheduler's order grows old, and is polled anyway
    first = group_plan.plan(world.group(), world.observe(), world.now)
    world.manifest["status"] = first.status
    made = planned(world)
    assert made.status == first.status
    until = made.wake_at or world.now + timedelta(days=1)
    moment = world.now + fraction * (until - world.now)
    then = group_plan.plan(world.group(), world.observe(), moment)
    assert (deeds(then), then.status, then.wake_at) == (deeds(made), made.status, made.wake_at)


@given(worlds(), st.lists(st.timedeltas(timedelta(days=-2), timedelta(days=2)), min_size=1, max_size=4))
def test_a_clock_that_is_set_loses_nobody_and_holds_nothing_up(world: GroupWorld, steps: list[timedelta]) -> None:
    """Forwards or backwards, in the middle of anything: no plan waits for the time that was, and all comes to rest."""
    world.home = HOME
    for step in steps:
        world.now += step
        made = planned(world)
        world.apply(made, made.actions)
        world.goes_on(None)
    come_to_rest(world, lambda actions: actions, LONGEST_WAIT)
    settled(world)


@given(worlds())
def test_a_restart_of_the_operator_changes_no_choice(world: GroupWorld) -> None:
    """What must survive stands in the API: with all memory lost, the same workers stay, and the same go."""
    made = planned(world)
    world.apply(made, made.actions)
    stays = {name for name, worker in world.workers.items() if worker.stays and worker.phase not in UNSEEN}
    for name, worker in world.workers.items():
        world.workers[name] = replace(worker, drained=None)
    world.asked = False
    assume(world.stays() <= world.group().worker.replicas)
    again = planned(world)
    chosen = {each.target.name for each in again.actions if isinstance(each, Delete | Patch)}
    assert not chosen & stays


@given(
    st.integers(0, 6),
    st.fixed_dictionaries({kind: st.sampled_from(Presence) for kind in ("Pod", "Service", names.WORKER_GROUP)}),
    st.sampled_from([Phase.PENDING, Phase.RUNNING, Phase.READY, Phase.ENDED]),
    st.integers(0, 6),
    st.none() | st.integers(0, 6),
    st.randoms(use_true_random=False),
)
def test_a_cluster_comes_to_rest_too(
    asked: int, parts: dict[str, Presence], phase: Phase, replicas: int, flowed: int | None, chance: Any
) -> None:
    """With any subset of its deeds done a pass: all three parts stand, the count flowed, and nothing is left to say."""
    manifest = g.cluster_manifest(worker={**g.cluster_manifest()["spec"]["worker"], "replicas": asked})
    world = ClusterWorld({**manifest, "status": {}}, parts, phase=phase, replicas=replicas, flowed=flowed)
    for number in range(PASSES):
        cluster, seen = world.cluster(), world.observe()
        before = pickle.dumps((cluster, seen))
        made = cluster_plan.plan(cluster, seen, world.now)
        assert pickle.dumps((cluster, seen)) == before
        assert made.status is not None
        if made.status != cluster.status:
            assert crds.problems(made.status, "daskclusters", "status") == []
        still = not made.actions and made.status == world.manifest["status"]
        few = chance.randint(0, len(made.actions)) if number < PASSES // 3 else len(made.actions)
        world.apply(made, chance.sample(made.actions, few))
        if not world.goes_on() and still and number > PASSES // 3:
            break
    else:
        pytest.fail("no rest")
    assert set(world.parts.values()) == {Presence.THERE}
    assert world.phase is Phase.READY
    assert world.flowed == asked


@pytest.mark.parametrize("since", [-FRESH.total_seconds() - 0.1, -100.0])
def test_an_order_that_is_too_old_condemns_nobody(since: float) -> None:
    """A worker that joined after it would look as if it never had."""
    world = GroupWorld(g.group_manifest(replicas=0, drainTimeout=TIMEOUT), {"w": g.worker("w")})
    old = replace(world.observe(), order=Known(at=later(since), answer=()))
    assert group_plan.plan(world.group(), old, NOW).actions == ()
