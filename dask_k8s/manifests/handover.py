"""How a worker waits for its scheduler, and how it hands its data over to the others when it gets SIGTERM.

Both are done by short scripts that travel in its command line.

A nanny gives up after 30 s without a scheduler, whose image may still be pulled, and the kubelet would then wait longer
and longer before it starts it again. So the script waits first. (A longer ``distributed.comm.timeouts.connect`` would
hold for everything that a worker connects to, and one attempt at an address where nobody answers would last as long.)

SIGTERM alone loses what a worker holds. A nanny runs the teardown of its preloads before it ends the worker, so a
preload that retires the worker keeps every key; no operator is needed for it. Three traps, all measured:

- An image that starts through ``tini -g`` sends SIGTERM to the whole process group, and the worker dies before the
  nanny acts. So the worker leaves the group.
- A worker that is still looking for its scheduler holds nothing, and a nanny would wait for the end of that search: it
  is ended. But a nanny learns late that its worker has joined, so the scheduler is asked, by the worker's name and by
  its nanny's address; the worker stands still meanwhile, so that it cannot join between the answer and its end. One
  that had joined then has some seconds to say so to its nanny, and is closed as any other: its user's preloads see it.
- A scheduler that is gone does not answer, and one that is busy answers late, or takes no connection for a while. Only
  where a connection is refused it is gone, or where twice in a row its name is known not to exist, since its Service
  went with its cluster. Then the worker ends; and everything has a limit.

A worker that has closed, its plugins and ``atexit`` included, then leaves without Python's tidying-up of all modules:
that took 0.8 to 1.1 s of a processor for nothing, and four workers that left two cores together waited for each other.

The scripts run under the image's own Python, which may be as old as 3.8, and against any distributed since 2023.5.
"""

from __future__ import annotations

GRACE_PERIOD = 300
"""Seconds between SIGTERM and SIGKILL, unless the user set ``terminationGracePeriodSeconds``.

A worker that is done ends at once, so this is for those that hold much, or share their node with many: 5,400 values
were not moved within 45 s on a machine that had ten times more to do than it could.
"""

_SHARE = 0.75  # of the grace period; the rest is for what follows: closing connections and the interpreter's end

_OF_ITS_WORKER = """\
import asyncio, atexit, os, sys
def dask_setup(worker):
    os.setpgrp()
    worker.at_its_end = asyncio.ensure_future(end(worker))
async def end(worker):
    while worker.status.name == "init":
        await asyncio.sleep(0.5)
    if worker.status.name == "running":
        await worker.finished()
        {exits}
"""

_EXITS = "atexit._run_exitfuncs(), sys.stdout.flush(), sys.stderr.flush(), os._exit(0)"

_SCHEDULER_IS_GONE = """\
async def scheduler_is_gone(node):
    for _ in range(2):
        try:
            host, port = get_address_host_port(node.scheduler.addr)
            _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), 1)
            writer.close()
        except ConnectionRefusedError:
            return True
        except socket.gaierror as error:
            if error.errno == socket.EAI_NONAME:
                await asyncio.sleep(1)
                continue
        except (OSError, ValueError, asyncio.TimeoutError):
            pass
        return False
    return True
"""

_NANNY = """\
# dask-k8s: waits for the scheduler; on SIGTERM this worker's data goes to the others
import asyncio, dask, logging, os, signal, socket
from distributed.comm.addressing import get_address_host_port
from distributed.comm.core import FatalCommClosedError, connect
log = logging.getLogger("distributed.nanny")
async def reach_scheduler(nanny):
    comm = await asyncio.wait_for(connect(nanny.scheduler.addr, timeout=1, **nanny.connection_args), 2)
    await comm.close()
{scheduler_is_gone}async def is_known(nanny):
    try:
        if not is_starting(nanny):
            return list(await asyncio.wait_for(nanny.scheduler.ncores(workers=[nanny.worker_address]), 5))
        there = await asyncio.wait_for(nanny.scheduler.identity(), 5)
        return [address for address, each in there["workers"].items() if each.get("nanny") == nanny.address]
    except (OSError, asyncio.TimeoutError):
        return None
def is_starting(nanny):
    return nanny.process is not None and nanny.process.status.name in ("init", "starting")
async def dask_setup(nanny):
    preload = nanny.preload or dask.config.get("distributed.worker.preload") or []
    preload = [preload] if isinstance(preload, str) else list(preload)
    nanny.preload = preload + [{of_its_worker!r}]
    if nanny.preload_argv and not isinstance(nanny.preload_argv[0], str):
        nanny.preload_argv = list(nanny.preload_argv) + [[]]
    pause = 0.1
    while True:
        try:
            await reach_scheduler(nanny)
            break
        except FatalCommClosedError:
            raise
        except (OSError, asyncio.TimeoutError) as error:
            if pause > 0.2:
                log.info("Waiting for the scheduler: %r", error)
            await asyncio.sleep(pause)
            pause = min(2, pause * 1.5)
async def dask_teardown(nanny):
    now = asyncio.get_running_loop().time
    end, step = now() + {limit}, 0
    for _ in range(50):
        if not is_starting(nanny) or nanny.process.pid:
            break
        await asyncio.sleep(0.1)
    pid = nanny.process and nanny.process.pid
    if not nanny.is_alive() or not pid:
        return
    starting = is_starting(nanny)
    who = {{"names": [str(nanny.name)]}} if starting else {{"workers": [nanny.worker_address]}}
    def tell(number):
        if starting and nanny.is_alive() and nanny.process.pid == pid:
            os.kill(pid, number)
    def begin():
        return asyncio.ensure_future(nanny.scheduler.retire_workers(close_workers=False, remove=True, **who))
    tell(signal.SIGSTOP)
    leaving, handed_over, why = begin(), False, "it took longer than {limit} s"
    while now() < end and nanny.is_alive():
        step += 1
        await asyncio.wait([leaving], timeout=0.2)
        if leaving.done():
            failed = leaving.exception()
            if failed is None and leaving.result():
                handed_over = True
                tell(signal.SIGCONT)
                end = min(end, now() + 5)
                while starting and now() < end and nanny.is_alive() and is_starting(nanny):
                    await asyncio.sleep(0.1)
                starting = starting and is_starting(nanny)
                break
            tell(signal.SIGSTOP)
            known = await is_known(nanny)
            if known == []:
                handed_over = True
                break
            tell(signal.SIGCONT)
            if known:
                starting, who = False, {{"workers": known}}
            why = repr(failed) if failed else "no other worker can take it"
            if failed and await scheduler_is_gone(nanny):
                break
            log.info("Data is not handed over yet: %s", why)
            await asyncio.sleep(2)
            leaving = begin()
        if step == 5:
            tell(signal.SIGCONT)
        if step % 25 == 6 and await scheduler_is_gone(nanny):
            why = "the scheduler is gone"
            break
    if not handed_over and nanny.is_alive():
        log.warning("Data was not handed over in whole: %s", why)
    leaving.cancel()
    if starting and nanny.is_alive():
        process = nanny.process.process
        await process.kill()
        await asyncio.wait([asyncio.ensure_future(process.join())], timeout=5)
"""

_WORKER = """\
# dask-k8s: on SIGTERM this worker's data goes to the others
import asyncio, atexit, dask, logging, os, signal, socket, sys
from distributed.comm.addressing import get_address_host_port
from distributed.preloading import process_preloads
log = logging.getLogger("distributed.worker")
{scheduler_is_gone}{own_preloads}
async def dask_setup(worker):
    for text in own_preloads():
        loaded.extend(process_preloads(worker, text, [], file_dir=worker.local_directory))
    for preload in loaded:
        await preload.start()
    tasks = []
    async def leave():
        joined = worker.status.name != "init"
        end = asyncio.get_running_loop().time() + ({limit} if joined else 2)
        while True:
            left = max(0, end - asyncio.get_running_loop().time())
            try:
                if await asyncio.wait_for(worker.scheduler.retire_workers(
                        workers=[worker.address], close_workers=False, remove=True), left):
                    break
                if not joined or not await asyncio.wait_for(worker.scheduler.ncores(workers=[worker.address]), 5):
                    break
                why = "no other worker can take it"
            except Exception as error:
                why = repr(error)
            if left <= 2 or not joined or await scheduler_is_gone(worker):
                if joined:
                    log.warning("Data was not handed over in whole: %s", why)
                break
            log.info("Data is not handed over yet: %s", why)
            await asyncio.sleep(2)
        if not joined:
            raise SystemExit(0)
        await worker.close(reason="sigterm")
        {exits}
    def left():
        if not tasks:
            tasks.append(asyncio.ensure_future(leave()))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, left)
async def dask_teardown(worker):
    for preload in loaded:
        await preload.teardown()
"""

_NO_PRELOADS = """\
loaded = []
def own_preloads():
    return []"""

# A preload in the command line makes distributed ignore those of its configuration: this one loads them itself.
_CONFIGURED_PRELOADS = """\
loaded = []
def own_preloads():
    preload = dask.config.get("distributed.worker.preload") or []
    return [preload] if isinstance(preload, str) else list(preload)"""


def time_limit(grace: int) -> int:
    """Seconds that a hand-over may take within a grace period, at least 1."""
    return max(1, int(grace * _SHARE))


def of_nanny(limit: int) -> str:
    """The text for ``--preload-nanny``."""
    return _NANNY.format(
        scheduler_is_gone=_SCHEDULER_IS_GONE, of_its_worker=_OF_ITS_WORKER.format(exits=_EXITS), limit=limit
    )


def of_worker(limit: int, *, load_configured: bool) -> str:
    """The text for ``--preload`` of a worker without a nanny.

    Parameters
    ----------
    load_configured
        Whether the configuration's preloads would have been loaded without this one.
    """
    own_preloads = _CONFIGURED_PRELOADS if load_configured else _NO_PRELOADS
    return _WORKER.format(scheduler_is_gone=_SCHEDULER_IS_GONE, own_preloads=own_preloads, exits=_EXITS, limit=limit)
