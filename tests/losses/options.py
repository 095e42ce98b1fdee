"""What is asked of one run."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

SUBJECTS = ("dask-k8s", "dask-kubernetes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is asked of one run.

    Parameters
    ----------
    keys
        How many values are scattered; as many are computed.
    kill_every
        Seconds between two kills of the operator, at least and at most; None, where it is left alone.
    drains
        Whether the nodes are drained of some workers.
    second_node
        The node that is drained of everything too; empty, where there is just one. The scheduler stands elsewhere.
    folder
        Where the timeline and the logs of all Pods go.
    """

    subject: str
    seconds: float
    keys: int
    seed: int
    kill_every: tuple[float, float] | None
    drains: bool
    second_node: str
    folder: str

    @property
    def path(self) -> Path:
        """The folder."""
        return Path(self.folder)

    def to_json(self) -> str:
        """For the process inside the cluster's network."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Options:
        """The other end's."""
        return cls(**json.loads(text))
