"""The work beside which everything happens: values that are held, and tasks that never stop using them."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import cloudpickle
from distributed import Client, Future, wait

from tests.losses import values, witness
from tests.losses.values import COMPUTED, SCATTERED, USED, key_of, tasks, value_of

BATCH = 250
IN_FLIGHT = 10
LONGEST_TASK = 1.0
PAUSE = 0.2
BEGINS_WITHIN = 900.0
ENDS_WITHIN = 120.0
TOLD_WITHIN = 90.0
"""Seconds for a small result. Dask waits 30 for a connection: a worker whose Pod goes just then answers no more."""

GONE = ("lost", "cancelled", "error")


class Load:
    """Holds values, and keeps submitting tasks that take some of them, until it is stopped.

    Scattered values that were lost are sent again under another key, so that whatever happens next finds all of them
    there; the scheduler computes the others again by itself.
    """

    def __init__(self, client: Client, number: int, chance: random.Random) -> None:
        self._client = client
        self._chance = chance
        self._numbers = range(number)
        self._held: dict[str, Future] = {}
        self._current = {index: key_of(SCATTERED, index) for index in self._numbers}
        self._running: dict[str, Future] = {}
        self._computed, self._used = tasks()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load")
        self.counts: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.wrong: set[str] = set()
        self.slowest = 0.0

    def begin(self) -> None:
        """Put all values there, and start to use them."""
        for module in (values, witness):
            cloudpickle.register_pickle_by_value(module)
        self._client.register_plugin(witness.Witness(SCATTERED, COMPUTED, USED))
        self._scatter(list(self._current.values()))
        keys = [key_of(COMPUTED, index) for index in self._numbers]
        futures = self._client.map(self._computed, keys, key=keys)
        self._held.update(zip(keys, futures, strict=True))
        wait(futures, timeout=BEGINS_WITHIN)
        self._thread.start()

    def stop(self) -> None:
        """Submit nothing any more, and wait for what runs."""
        self._over.set()
        self._thread.join()
        deadline = time.monotonic() + ENDS_WITHIN
        while self._running and time.monotonic() < deadline:
            time.sleep(PAUSE)
            self._take_finished()
        if self._running:
            self.errors["not ended"] = len(self._running)
        self._renew()

    def missing(self) -> dict[str, str]:
        """The keys whose value cannot be had or is wrong, and why; every one is fetched and compared."""
        futures = list(self._held.items())
        found: dict[str, str] = {}
        for first in range(0, len(futures), BATCH):
            for key, value in self._fetched(dict(futures[first : first + BATCH])):
                if isinstance(value, str):
                    found[key] = value
                elif value != value_of(key):
                    found[key] = "wrong"
        return found

    def _fetched(self, futures: Mapping[str, Future]) -> Iterator[tuple[str, bytes | str]]:
        there = {key: future for key, future in futures.items() if future.status == "finished"}
        yield from ((key, future.status) for key, future in futures.items() if key not in there)
        try:
            yield from self._client.gather(there).items()
        except Exception:  # one of them is enough to get none: each for itself, to learn which
            for key, future in there.items():
                try:
                    yield key, future.result(timeout=20)
                except Exception as error:
                    yield key, repr(error)

    def _scatter(self, keys: list[str]) -> None:
        for first in range(0, len(keys), BATCH):
            batch = {key: value_of(key) for key in keys[first : first + BATCH]}
            self._held.update(self._client.scatter(batch, timeout=60))

    def _run(self) -> None:
        renewed = time.monotonic()
        while not self._over.wait(PAUSE):
            try:
                self._take_finished()
                while len(self._running) < IN_FLIGHT:
                    self._submit()
                if time.monotonic() - renewed > 2:
                    self._renew()
                    renewed = time.monotonic()
            except Exception as error:  # no worker to send to, for a while: it is counted, and the load goes on
                self.errors[f"load: {type(error).__name__}"] += 1

    def _submit(self) -> None:
        """A task that takes some values of either kind."""
        self.counts["submitted"] += 1
        key = key_of(USED, self.counts["submitted"])
        scattered = [self._current[index] for index in self._chance.sample(self._numbers, 3)]
        keys = [*scattered, *(key_of(COMPUTED, index) for index in self._chance.sample(self._numbers, 2))]
        seconds = self._chance.uniform(0, LONGEST_TASK)
        inputs = [self._held[each] for each in keys]
        self._running[key] = self._client.submit(self._used, key, seconds, keys, *inputs, key=key)

    def _take_finished(self) -> None:
        for key, future in list(self._running.items()):
            if not future.done():
                continue
            if future.status == "finished":
                asked = time.monotonic()
                self.wrong.update(future.result(timeout=TOLD_WITHIN))
                self.slowest = max(self.slowest, time.monotonic() - asked)
            else:
                self.errors[_kind_of(future)] += 1
            self.counts[future.status] += 1
            del self._running[key]

    def _renew(self) -> None:
        """Scatter anew what was lost, and what could not be scattered while there was no worker to take it."""
        lost = [index for index, key in self._current.items() if not self._has(key)]
        for index in lost:
            key = self._current[index]
            self._held.pop(key, None)
            self._current[index] = key_of(SCATTERED, index, int(key.split("-")[2]) + 1)
        self._scatter([self._current[index] for index in lost])
        self.counts["renewed"] += len(lost)

    def _has(self, key: str) -> bool:
        return key in self._held and self._held[key].status not in GONE


def _kind_of(future: Any) -> str:
    if future.status != "error":
        return str(future.status)
    return type(future.exception(timeout=30)).__name__
