"""The schedulers that tests and benchmarks play are held to a real one: op by op, the same answers in one scene."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import distributed
import pytest

from dask_k8s import metadata
from dask_k8s.errors import SchedulerRefused, SchedulerSilent
from dask_k8s.scheduler.connection import Connection, connect
from dask_k8s.scheduler.rpc import SchedulerRpc
from dask_k8s.scheduler.wire import Limits
from tests.played.scene import SCENE, Behaviour
from tests.played.scheduler import VERSION
from tests.played.server import serving
from tests.played.stage import Stage
from tests.unit.scheduler.conftest import Partner

Start = Callable[[int], Awaitable[Partner]]
GONE = "tcp://127.0.0.1:1"
Json = dict[str, Any]


def pod(name: str, ip: str, labels: Mapping[str, str], **scene: Any) -> Json:
    """A Pod that runs, with what its scene says."""
    annotations = {SCENE: json.dumps(scene)}
    meta = {"name": name, "namespace": "default", "uid": name, "labels": labels, "annotations": annotations}
    return {"metadata": meta, "status": {"phase": "Running", "podIP": ip}}


def scheduler_pod(**scene: Any) -> Json:
    return pod("simple-scheduler", "127.0.0.1", metadata.scheduler_labels("simple"), **scene)


def worker_pod(number: int, **scene: Any) -> Json:
    labels = metadata.worker_labels("simple", "simple-default")
    return pod(f"worker-{number}", f"10.0.0.{number}", labels, **scene)


class Play:
    """A played scheduler, a connection to it, and what was told."""

    def __init__(self, stage: Stage, port: int, told: list[str]) -> None:
        self.stage = stage
        self.told = told
        self._port = port

    @asynccontextmanager
    async def connected(self, seconds: float = 5.0) -> AsyncIterator[Connection]:
        connection = await connect("127.0.0.1", self._port, limits=Limits(seconds=seconds), timeout=seconds)
        async with aclosing(connection):
            yield connection

    async def says(self, what: str, times: int = 1) -> None:
        async with asyncio.timeout(10):
            while self.told.count(what) < times:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def played(*workers: Json, **scene: Any) -> AsyncIterator[Play]:
    """A scheduler with these workers, all of them joined."""
    told: list[str] = []

    def tell(what: str, cluster: str, **details: Any) -> None:
        told.append(what)

    stage = Stage(tell)
    stage.on_pod(None, scheduler_pod(**scene))
    for worker in workers:
        stage.on_pod(None, worker)
    async with serving(stage, "127.0.0.1", 0, tell) as port:
        play = Play(stage, port, told)
        await play.says("joined", len(workers))
        yield play


async def named(connection: Connection) -> dict[str, str]:
    """The name of each worker by its address."""
    return {address: found.name for address, found in (await SchedulerRpc(connection).identity()).workers.items()}


def seen(reply: Any, called: Mapping[str, str]) -> Any:
    """A reply without what differs between two runs: workers by their names, other texts and numbers by their types.

    Metrics and the like have more in a real one: they are compared as the product reads them.
    """
    match reply:
        case dict():
            kept = {key: told for key, told in reply.items() if key not in ("metrics", "services")}
            return {called.get(key, key): seen(told, called) for key, told in kept.items()}
        case list() | tuple():
            return [seen(each, called) for each in reply]
        case str():
            return called.get(reply, "text")
        case _:
            return type(reply).__name__


async def answered(connection: Connection, op: str, called: Mapping[str, str], **arguments: Any) -> Any:
    """What is seen of an answer, or that it was an error; arguments name workers."""
    addresses = {name: address for address, name in called.items()}
    if "workers" in arguments:
        arguments["workers"] = [addresses.get(name, GONE) for name in arguments["workers"]]
    try:
        return seen(await connection.call(op, **arguments), called)
    except SchedulerRefused:
        return SchedulerRefused


def retire(worker: str, *, remove: bool) -> tuple[str, Json]:
    return "retire_workers", {"workers": [worker], "close_workers": False, "remove": remove}


QUESTIONS: list[tuple[str, Json]] = [
    ("identity", {}),
    ("identity", {"n_workers": 0}),
    ("identity", {"n_workers": -1}),
    ("adaptive_target", {}),
    ("check_idle", {}),
    ("workers_to_close", {"n": 1_000_000, "attribute": "address"}),
    ("workers_to_close", {"n": 2, "attribute": "address"}),
    ("ncores", {}),
    ("ncores", {"workers": ["worker-1", "gone"]}),
    ("ncores_running", {}),
    ("processing", {"workers": ["worker-0", "worker-1"]}),
    ("processing", {"workers": ["worker-1", "gone"]}),
    ("has_what", {"workers": ["worker-0", "gone"]}),
    ("nobody_knows_this", {}),
    retire("gone", remove=False),
    retire("worker-0", remove=False),
    ("ncores_running", {}),
    ("has_what", {"workers": ["worker-0"]}),
    retire("worker-0", remove=True),
    ("ncores", {}),
    retire("worker-1", remove=True),
    ("processing", {"workers": ["worker-2"]}),
    retire("worker-2", remove=False),
]
"""In their order, to three workers of which one holds data and one is at work."""


@pytest.mark.locked
async def test_a_played_scheduler_answers_as_a_real_one(partner: Start, tmp_path: Path) -> None:
    """The release is the one of the lock: a newer one that answers otherwise is told by this test."""
    assert distributed.__version__ == VERSION
    real = await partner(3)
    at = await real.workers()
    await real.scene("scatter", count=2, worker=at["worker-0"])
    await real.scene("submit", task="work", key="k", path=str(tmp_path / "ran"), seconds=30.0, worker=at["worker-1"])
    real_names = {address: name for name, address in at.items()}
    workers = (worker_pod(0, data=[28, 28]), worker_pod(1, tasks=[30.0]), worker_pod(2))
    async with played(*workers) as play, play.connected() as connection:
        played_names = await named(connection)
        assert sorted(played_names.values()) == sorted(real_names.values())
        for number, (op, arguments) in enumerate(QUESTIONS):
            expected = await answered(real.connection, op, real_names, **arguments)
            assert await answered(connection, op, played_names, **arguments) == expected, f"{number}: {op}"


@pytest.mark.locked
async def test_the_end_of_a_retirement_is_noted(partner: Start) -> None:
    """Of that one, whether it was done or refused."""
    real = await partner(2)
    async with played(worker_pod(0), worker_pod(1), worker_pod(2)) as play, play.connected() as connection:
        for rpc in (real.rpc, SchedulerRpc(connection)):
            worker, other = (await rpc.leaving_order())[:2]
            await rpc.retire([worker], remove=False, mark="one")
            found = [await rpc.has_ended("one", worker), await rpc.has_ended("one", other)]
            await rpc.retire([other], remove=False, mark="two")
            assert [*found, await rpc.has_ended("two", other)] == [True, False, True]


async def test_what_a_worker_is_at_stands_in_its_heartbeats(partner: Start, tmp_path: Path) -> None:
    """As the product reads them."""
    real = await partner(2)
    worker = (await real.workers())["worker-1"]
    await real.scene("submit", task="work", key="k", path=str(tmp_path / "ran"), seconds=30.0, worker=worker)

    async def facts(rpc: SchedulerRpc) -> dict[str, tuple[str, int, int | None]]:
        told = (await rpc.identity()).workers.values()
        return {worker.name: (worker.status, worker.nthreads, worker.executing) for worker in told}

    expected = {"worker-0": ("running", 1, 0), "worker-1": ("running", 1, 1)}
    async with asyncio.timeout(10):
        while await facts(real.rpc) != expected:
            await asyncio.sleep(0.05)
    async with played(worker_pod(0), worker_pod(1, tasks=[30.0, 30.0])) as play, play.connected() as connection:
        await connection.call("processing")
        assert await facts(SchedulerRpc(connection)) == expected


async def test_a_rest_begins_anew_after_work(partner: Start, tmp_path: Path) -> None:
    """Its mark stays while nothing is done, and is another one after a task: in both."""

    async def mark(rpc: SchedulerRpc) -> str:
        async with asyncio.timeout(10):
            while (found := await rpc.idle_since()) is None:
                await asyncio.sleep(0.05)
        assert await rpc.idle_since() == found
        return found

    real = await partner(1)
    (worker,) = await real.rpc.leaving_order()
    before = await mark(real.rpc)
    await real.scene("submit", task="work", key="k", path=str(tmp_path / "ran"), seconds=0.5, worker=worker)
    assert await real.rpc.idle_since() is None
    assert await mark(real.rpc) != before
    async with played(worker_pod(1)) as play, play.connected() as connection:
        rpc = SchedulerRpc(connection)
        before = await mark(rpc)
        play.stage.on_pod(worker_pod(1), worker_pod(1, tasks=[0.2]))
        assert await rpc.idle_since() is None
        assert await mark(rpc) != before


async def test_tasks_end_and_what_waits_goes_elsewhere() -> None:
    """A worker that retires begins no other task; the first worker that comes takes what nobody could."""
    async with played(worker_pod(1, tasks=[0.05, 30.0])) as play, play.connected() as connection:
        rpc = SchedulerRpc(connection)
        (worker,) = await rpc.leaving_order()
        await rpc.retire([worker], remove=False)
        async with asyncio.timeout(10):
            while (await rpc.processing([worker]))[worker] == 2:
                await asyncio.sleep(0.01)
        assert [found.executing for found in (await rpc.identity()).workers.values()] == [0]
        await rpc.retire([worker], remove=True)
        assert await rpc.idle_since() is None
        play.stage.on_pod(None, worker_pod(2))
        await play.says("joined", 2)
        assert list((await rpc.processing(await rpc.leaving_order())).values()) == [1]


async def test_a_pod_that_goes_without_a_drain_is_told() -> None:
    """So a test can ask for it, and for what was lost with it."""
    first, second = worker_pod(1, data=[1]), worker_pod(2)
    async with played(first, second) as play, play.connected() as connection:
        rpc = SchedulerRpc(connection)
        await rpc.retire(await rpc.running() - {"tcp://10.0.0.1:40000"}, remove=True)
        play.stage.on_pod(second, None)
        play.stage.on_pod(first, None)
        assert [word for word in play.told if word in ("retired", "gone", "undrained")] == [
            "retired",
            "gone",
            "undrained",
        ]


async def test_a_pod_whose_address_changes_joins_anew() -> None:
    """With what its scene says by then, and once."""
    there = worker_pod(1)
    async with played(there) as play, play.connected() as connection:
        moved = worker_pod(1, data=[1])
        moved["status"]["podIP"] = "10.0.0.9"
        play.stage.on_pod(there, moved)
        await play.says("performs")
        assert await SchedulerRpc(connection).leaving_order() == ("tcp://10.0.0.9:40000",)


async def test_a_scheduler_whose_address_changes_is_another_process_there() -> None:
    """Nobody is at the old address, unless another Pod has it by then."""
    here = scheduler_pod()
    there = {**here, "status": {**here["status"], "podIP": "10.0.0.8"}}
    other = pod("other-scheduler", "127.0.0.1", metadata.scheduler_labels("other"))
    async with played(worker_pod(1)) as play:
        play.stage.on_pod(here, there)
        assert play.stage.role_at("127.0.0.1") is None
        play.stage.on_pod(None, other)
        play.stage.on_pod(there, here)
        play.stage.on_pod(other, None)
        await play.says("joined", 2)
        async with play.connected() as connection:
            assert list((await named(connection)).values()) == ["worker-1"]


async def test_a_new_life_is_another_process() -> None:
    """Connections end, its id is another, and workers join it again."""
    async with played(worker_pod(1)) as play:
        async with play.connected() as connection:
            before = await SchedulerRpc(connection).identity()
            play.stage.on_pod(scheduler_pod(), scheduler_pod(life=1))
            with pytest.raises(SchedulerSilent):
                await SchedulerRpc(connection).identity()
        await play.says("joined", 2)
        async with play.connected() as connection:
            after = await SchedulerRpc(connection).identity()
        assert before.id != after.id
        assert before.workers.keys() == after.workers.keys()


@pytest.mark.parametrize("behaviour", [Behaviour.SILENT, Behaviour.FROZEN, Behaviour.ABSENT])
async def test_a_scheduler_that_does_not_answer(behaviour: Behaviour) -> None:
    """In each way it is silent for who asks, and told to answer it does."""
    async with played(worker_pod(1), behaviour=behaviour) as play:
        with pytest.raises(SchedulerSilent):
            async with play.connected(seconds=0.3) as connection:
                await SchedulerRpc(connection).identity()
        play.stage.on_pod(scheduler_pod(), scheduler_pod(target=3))
        async with play.connected() as connection:
            assert await SchedulerRpc(connection).adaptive_target() == 3


async def test_a_refusal_and_an_error_and_a_slow_answer() -> None:
    """What a scene may say of single ops and workers."""
    scene = {"refuses": ["worker-1"], "fails": ["adaptive_target"], "slow": {"check_idle": 0.5}, "moves": 0.1}
    async with played(worker_pod(1), worker_pod(2, data=[1]), **scene) as play:
        async with play.connected() as connection:
            rpc = SchedulerRpc(connection)
            asked = await rpc.running()
            assert await rpc.retire(asked, remove=False) == frozenset()  # it has nowhere to put its data
            assert await rpc.running() == asked
            with pytest.raises(SchedulerRefused, match="it went wrong"):
                await rpc.adaptive_target()
        async with play.connected(seconds=0.3) as connection:
            with pytest.raises(SchedulerSilent):
                await SchedulerRpc(connection).idle_since()
