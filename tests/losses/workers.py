"""The workers as they are now: what Kubernetes has, beside what the scheduler has."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import Client

from tests.node.conftest import Json

RETIRING = "dask.org/retiring-since"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """One look at all of them, as Kubernetes and the scheduler have them."""

    there: tuple[str, ...]
    """The names of the Pods that are not going."""
    going: tuple[str, ...]
    staying: tuple[str, ...]
    """Of the Pods, those whose worker has joined, and that nobody has told to leave."""
    places: Mapping[str, str]
    """The node of each of those."""
    joined: int
    """How many workers the scheduler has."""
    spilled: int
    """Bytes on their disks."""

    def settled(self, asked: int) -> bool:
        """Nothing is under way."""
        return len(self.staying) == len(self.there) == self.joined == asked and not self.going


def seen(pods: Sequence[Json], client: Client) -> Workers:
    """What Kubernetes has, beside what the scheduler has now."""
    workers = [pod for pod in pods if pod["metadata"]["labels"].get("dask.org/component") == "worker"]
    known = client.scheduler_info(n_workers=-1)["workers"].values()
    running = {worker["host"] for worker in known if worker["status"] == "running"}
    staying = [pod for pod in workers if stays(pod, running)]
    return Workers(
        there=names_of(pod for pod in workers if not is_going(pod)),
        going=names_of(pod for pod in workers if is_going(pod)),
        staying=names_of(staying),
        places={pod["metadata"]["name"]: pod["spec"]["nodeName"] for pod in staying},
        joined=len(known),
        spilled=sum(worker["metrics"].get("spilled_bytes", {}).get("disk", 0) for worker in known),
    )


def is_going(pod: Json) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def stays(pod: Json, running: set[str]) -> bool:
    told_to_leave = is_going(pod) or RETIRING in pod["metadata"].get("annotations", {})
    return not told_to_leave and pod["status"].get("podIP") in running


def names_of(pods: Any) -> tuple[str, ...]:
    return tuple(sorted(pod["metadata"]["name"] for pod in pods))


class Logs:
    """Follows the log of every Pod into a folder, since it goes with its Pod."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self._environment = dict(environment)
        self._folder = folder
        self._followed: dict[str, subprocess.Popen[bytes]] = {}

    def follow(self, pods: Sequence[Json]) -> None:
        """Also those that came since the last time, containers that were started again, and those that broke off."""
        for pod in pods:
            for status in pod["status"].get("containerStatuses", []):
                if "running" in status["state"] and not self._follows(status["containerID"]):
                    self._follow(pod["metadata"], status)

    def _follows(self, container: str) -> bool:
        return container in self._followed and self._followed[container].poll() is None

    def _follow(self, of: Json, status: Json) -> None:
        argv = ["kubectl", "-n", of["namespace"], "logs", "--follow", "--timestamps", of["name"]]
        with (self._folder / f"{of['name']}-{status['restartCount']}.log").open("wb") as file:
            self._followed[status["containerID"]] = subprocess.Popen(
                argv, env=self._environment, stdout=file, stderr=subprocess.STDOUT
            )

    def scheduler(self) -> str:
        """What the scheduler has logged."""
        return "\n".join(file.read_text(errors="replace") for file in self._folder.glob("*-scheduler*.log"))

    def stop(self) -> None:
        """Follow none any more."""
        for process in self._followed.values():
            process.kill()
            process.wait()
