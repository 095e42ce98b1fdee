"""A worker that gets SIGTERM hands its data over: real schedulers and workers, started with what the builders make.

The command lines are those of the golden files. ``tini -g``, which the official image starts through, sends a signal to
the whole process group; where there is no tini the test does that itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from distributed import Client, Worker, WorkerPlugin

pytestmark = pytest.mark.filterwarnings("default")  # of distributed's own client, not ours

ROOT = Path(__file__).parents[2]
KEYS = 20
SECONDS = 40.0
TINI = shutil.which("tini")
REFUSED = "INFO - Data is not handed over yet"


def container_of(golden: str) -> dict[str, Any]:
    """The first container of a Pod in a golden file."""
    pod = yaml.safe_load((ROOT / "tests" / "golden" / f"{golden}.yaml").read_text())
    container: dict[str, Any] = pod["spec"]["containers"][0]
    return container


def command_of(container: dict[str, Any], environment: dict[str, str]) -> list[str]:
    """Its args with the environment filled in, as Kubernetes does it; ``dask`` is that of this interpreter."""
    filled = [re.sub(r"\$\((\w+)\)", lambda match: environment[match[1]], word) for word in container["args"]]
    assert filled[0] == "dask"
    return [str(Path(sys.executable).with_name("dask")), *filled[1:]]


def without_hand_over(command: list[str]) -> list[str]:
    """The same command without what we put into it."""
    option = next(word for word in ("--preload-nanny", "--preload") if word in command)
    position = command.index(option)
    return [*command[:position], *command[position + 2 :]]


OF_THE_USER = """\
import atexit, os
def mark(word):
    with open(os.environ["MARK"], "a") as file:
        print(word, file=file)
def dask_setup(worker):
    mark("setup")
    atexit.register(mark, "exit")
def dask_teardown(worker):
    mark("teardown")
"""


class Processes:
    """A scheduler and its workers, as a node would run them."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self.address = ""

    def scheduler(self, port: int = 0) -> subprocess.Popen[bytes]:
        """Started with the builder's command; only its ports are chosen by the system, or by the test."""
        container = container_of("defaults/scheduler-pod")
        command = command_of(container, {})
        command[command.index("--dashboard-address") + 1] = ":0"
        contact = self._folder / "scheduler.json"
        started = self._start([*command, "--port", str(port), "--scheduler-file", str(contact)], {}, "scheduler")
        wait_for(lambda: contact.exists() and contact.stat().st_size > 0, "the scheduler")
        self.address = json.loads(contact.read_text())["address"]
        return started

    def worker(
        self,
        golden: str,
        name: str,
        *,
        hand_over: bool = True,
        named: bool = True,
        through_group: bool = False,
        options: Sequence[str] = (),
    ) -> subprocess.Popen[bytes]:
        """A worker's container: its command and its environment, under another name."""
        container = container_of(golden)
        ours = {each["name"]: each["value"] for each in container["env"]}
        environment = {**ours, "DASK_WORKER_NAME": name, "DASK_SCHEDULER_ADDRESS": self.address}
        command = [*command_of(container, environment), *options]
        command[command.index("--dashboard-address") + 1] = ":0"
        if not named:
            at = command.index("--name")
            del command[at : at + 2]
        if not hand_over:
            command = without_hand_over(command)
        preload = self._folder / "mine.py"
        preload.write_text(OF_THE_USER)
        users = {"DASK_DISTRIBUTED__WORKER__PRELOAD": str(preload), "MARK": str(self._folder / f"{name}.mark")}
        wrapped = [TINI, "-s", "-g", "--", *command] if TINI and through_group else command
        return self._start(wrapped, {**environment, **users}, name)

    def marks(self, name: str) -> list[str]:
        """What the preload of the user's own configuration was called for in this worker."""
        mark = self._folder / f"{name}.mark"
        return mark.read_text().split() if mark.exists() else []

    def log(self, name: str) -> str:
        """What a process said."""
        return (self._folder / f"{name}.log").read_text()

    def _start(self, command: list[str], environment: dict[str, str], name: str) -> subprocess.Popen[bytes]:
        log = self._stack.enter_context((self._folder / f"{name}.log").open("wb"))
        started = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=self._folder,
        )
        self._stack.callback(_end, started)
        return started


def _end(process: subprocess.Popen[bytes]) -> None:
    """Nothing is left of it, nor of the processes that it started and whose session it leads."""
    children = subprocess.run(
        ["ps", "-o", "pid=", "--sid", str(process.pid)], capture_output=True, text=True, check=False
    ).stdout.split()
    for pid in (str(process.pid), *children):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    process.wait()


def terminate(process: subprocess.Popen[bytes], *, through_group: bool) -> None:
    """SIGTERM as the kubelet sends it: to the container's first process, which may be ``tini -g``."""
    if through_group and not TINI:
        os.killpg(process.pid, signal.SIGTERM)
    else:
        process.send_signal(signal.SIGTERM)


def wait_for(holds: Callable[[], object], what: str) -> None:
    """Until it holds, or the test fails."""
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"{what}: not within {SECONDS} s"
        time.sleep(0.05)


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Processes]:
    """None yet; none afterwards."""
    with contextlib.ExitStack() as stack:
        yield Processes(tmp_path, stack)


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """A scheduler and one worker, to which each test adds the one that goes."""
    with contextlib.ExitStack() as stack:
        running = Processes(tmp_path_factory.mktemp("cluster"), stack)
        running.scheduler()
        running.worker("seed-cluster/worker-pod", "other")
        yield running


@pytest.fixture
def client(processes: Processes) -> Iterator[Client]:
    """Of a test's own, so that its keys go with it."""
    with Client(processes.address, set_as_default=False) as client:
        yield client


def _workers(client: Client) -> dict[str, str]:
    """The addresses of the workers that the scheduler knows, by name."""
    return {info["name"]: address for address, info in client.scheduler_info(n_workers=-1)["workers"].items()}


def _scattered(client: Client, victim: str) -> list[Any]:
    """Keys on both workers, a good part of them on the one that will go."""
    client.wait_for_workers(2, timeout=SECONDS)
    futures: list[Any] = client.scatter([f"value {index}" for index in range(KEYS)], hash=False)
    assert KEYS / 4 < len(client.has_what()[_workers(client)[victim]]) < KEYS
    return futures


GOLDEN = {"nanny": "seed-cluster/worker-pod", "no nanny": "no-nanny/worker-pod"}


@pytest.mark.parametrize("through_group", [False, True], ids=["alone", "tini -g"])
@pytest.mark.parametrize("golden", GOLDEN.values(), ids=GOLDEN)
def test_all_keys_survive_a_workers_sigterm(
    processes: Processes, client: Client, golden: str, through_group: bool
) -> None:
    """20 of 20 keys, and the user's own preload saw the worker's beginning and its end all the same."""
    name = f"victim-{through_group}-{golden.partition('/')[0]}"
    victim = processes.worker(golden, name, through_group=through_group)
    futures = _scattered(client, name)
    terminate(victim, through_group=through_group)
    victim.wait(SECONDS)
    assert list(_workers(client)) == ["other"], processes.log(name)
    assert all(client.who_has(futures).values()), processes.log(name)
    assert client.gather(futures) == [f"value {index}" for index in range(KEYS)]
    assert processes.marks(name) == ["setup", "teardown", "exit"], processes.log(name)


@pytest.mark.parametrize("golden", GOLDEN.values(), ids=GOLDEN)
def test_a_worker_that_was_drained_before_ends_without_a_warning(
    processes: Processes, client: Client, golden: str
) -> None:
    """Its scheduler knows it no more: there is nothing to hand over, and nothing went wrong."""
    name = f"drained-{golden.partition('/')[0]}"
    drained = processes.worker(golden, name)
    futures = _scattered(client, name)
    client.retire_workers(workers=[_workers(client)[name]], close_workers=False, remove=True)
    terminate(drained, through_group=False)
    drained.wait(SECONDS)
    assert "WARNING - Data was not handed over" not in processes.log(name)
    assert client.gather(futures) == [f"value {index}" for index in range(KEYS)]


LATE = """\
from distributed.nanny import WorkerProcess
def dask_setup(nanny):
    WorkerProcess._init_msg_interval = {seconds}
"""


def _goes_while_its_nanny_takes_it_for_starting(
    processes: Processes, client: Client, name: str, *, seconds: float
) -> None:
    """The nanny learns of the join a moment later than the scheduler does; here it is a longer one."""
    options = ["--preload-nanny", LATE.format(seconds=seconds)]
    victim = processes.worker("seed-cluster/worker-pod", name, options=options)
    futures = _scattered(client, name)
    terminate(victim, through_group=False)
    victim.wait(SECONDS)
    assert list(_workers(client)) == ["other"], processes.log(name)
    assert client.gather(futures) == [f"value {index}" for index in range(KEYS)]


def test_a_worker_that_its_nanny_takes_for_starting_ends_as_any_other(processes: Processes, client: Client) -> None:
    """The nanny hears of it while the data is handed over, and the user's own preload sees the end."""
    _goes_while_its_nanny_takes_it_for_starting(processes, client, "young", seconds=2)
    assert processes.marks("young") == ["setup", "teardown", "exit"], processes.log("young")


def test_a_nanny_that_does_not_hear_of_its_worker_ends_all_the_same(processes: Processes, client: Client) -> None:
    """It would wait for longer than there may be time, and nothing is lost by the end."""
    _goes_while_its_nanny_takes_it_for_starting(processes, client, "unheard", seconds=2 * SECONDS)


def test_without_it_a_workers_keys_are_lost(processes: Processes, client: Client) -> None:
    """What the hand-over is for: the same command without our text loses what the worker held."""
    victim = processes.worker("seed-cluster/worker-pod", "victim", hand_over=False)
    futures = _scattered(client, "victim")
    terminate(victim, through_group=False)
    victim.wait(SECONDS)
    wait_for(lambda: list(_workers(client)) == ["other"], "the worker's end")
    assert sum(len(keys) for keys in client.has_what().values()) < len(futures)


def test_a_worker_waits_for_a_scheduler_that_is_late(alone: Processes) -> None:
    """Even where something takes the connection first and says nothing, as a network does whose rules are old."""
    with socket.create_server(("", 0)) as silent:
        port = silent.getsockname()[1]
        alone.address = f"tcp://127.0.0.1:{port}"
        alone.worker("seed-cluster/worker-pod", "early")
        wait_for(lambda: "Waiting for the scheduler" in alone.log("early"), "the second attempt")
    alone.scheduler(port)
    with Client(alone.address, set_as_default=False) as client:
        client.wait_for_workers(1, timeout=SECONDS)


@pytest.mark.parametrize("golden", GOLDEN.values(), ids=GOLDEN)
def test_a_worker_that_waits_ends_at_once(alone: Processes, golden: str) -> None:
    """It has nothing to hand over and nobody to hand it to."""
    with socket.create_server(("", 0)) as silent:
        alone.address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        worker = alone.worker(golden, "early")
        wait_for(lambda: re.search("Waiting (for the scheduler|to connect)", alone.log("early")), "the first attempts")
        terminate(worker, through_group=False)
        worker.wait(5)


def test_a_busy_scheduler_is_waited_for(alone: Processes) -> None:
    """It answers nobody for seconds, and the data is handed over all the same."""
    scheduler = alone.scheduler()
    alone.worker("seed-cluster/worker-pod", "other")
    victim = alone.worker("seed-cluster/worker-pod", "victim")
    with Client(alone.address, set_as_default=False) as client:
        futures = _scattered(client, "victim")
        scheduler.send_signal(signal.SIGSTOP)
        terminate(victim, through_group=False)
        with pytest.raises(subprocess.TimeoutExpired):
            victim.wait(5)
        scheduler.send_signal(signal.SIGCONT)
        victim.wait(SECONDS)
        assert client.gather(futures) == [f"value {index}" for index in range(KEYS)]


@pytest.mark.parametrize("golden", GOLDEN.values(), ids=GOLDEN)
def test_a_dead_scheduler_keeps_no_worker_from_ending(alone: Processes, golden: str) -> None:
    """There is nobody to hand over to: the worker goes at once, and not at the end of its grace period."""
    scheduler = alone.scheduler()
    worker = alone.worker(golden, "victim")
    with Client(alone.address, set_as_default=False) as client:
        client.wait_for_workers(1, timeout=SECONDS)
    scheduler.kill()
    scheduler.wait()
    terminate(worker, through_group=False)
    try:
        worker.wait(15)
    except subprocess.TimeoutExpired:
        pytest.fail(f"It still runs:\n{alone.log('victim')}", pytrace=False)


def _hands_over_to_one_that_comes_later(alone: Processes, client: Client, victim: subprocess.Popen[bytes]) -> None:
    """It is the only one when it has to go, and its data is refused until another one joins."""
    client.wait_for_workers(1, timeout=SECONDS)
    futures: list[Any] = client.scatter(list(range(KEYS)), hash=False)
    terminate(victim, through_group=False)
    wait_for(lambda: REFUSED in alone.log("victim"), "the first refusal")
    alone.worker("seed-cluster/worker-pod", "later")
    victim.wait(SECONDS)
    assert list(_workers(client)) == ["later"], f"{alone.log('victim')}\n{alone.log('later')}"
    assert client.gather(futures) == list(range(KEYS))


@pytest.mark.parametrize("golden", GOLDEN.values(), ids=GOLDEN)
def test_data_waits_for_a_worker_that_can_take_it(alone: Processes, golden: str) -> None:
    """All others are gone, or full, as where one is replaced: it is asked again until somebody can take it."""
    alone.scheduler()
    victim = alone.worker(golden, "victim")
    with Client(alone.address, set_as_default=False) as client:
        _hands_over_to_one_that_comes_later(alone, client, victim)
    assert "WARNING - Data was not handed over" not in alone.log("victim")


@pytest.mark.parametrize("named", [True, False], ids=["named", "without --name"])
def test_a_worker_that_has_just_joined_hands_over_too(alone: Processes, named: bool) -> None:
    """Its nanny has not heard yet that it joined, and holds it for one that still looks for its scheduler."""

    class Slow(WorkerPlugin):  # type: ignore[misc]
        """Known to the scheduler, with a port that is open, and not up yet."""

        async def setup(self, worker: Worker) -> None:
            await asyncio.sleep(10)

    alone.scheduler()
    with Client(alone.address, set_as_default=False) as client:
        (client.register_plugin if hasattr(client, "register_plugin") else client.register_worker_plugin)(Slow())
        victim = alone.worker("seed-cluster/worker-pod", "victim", named=named)
        _hands_over_to_one_that_comes_later(alone, client, victim)
