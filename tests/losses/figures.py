"""What a run comes to, from the values that were fetched, the scheduler's counts, and its log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from tests.losses.load import Load
from tests.losses.options import Options
from tests.losses.values import COMPUTED, SCATTERED, USED

TELLING = (
    "lose scattered data",
    "lose already computed",
    "marked as failed because",
    "Could not retire worker",
    "lost during replication",
)
"""What the scheduler's log says where something is lost, or may be."""

ALWAYS = ("Register worker addr", "Retired worker")
"""What it says in every run: a log without it was not read."""


def figures(
    options: Options, load: Load, missing: Mapping[str, str], told: Mapping[str, Any], log: str
) -> dict[str, Any]:
    """Everything that is counted, by its name."""
    lost = Counter(key.split("-")[0] for _, key in told["lost"])
    executions = {kind: executed(told["executions"], kind) for kind in (COMPUTED, USED)}
    again = {key for key, count in executions[COMPUTED].items() if count > 1}
    return {
        "subject": options.subject,
        "seconds": options.seconds,
        "seed": options.seed,
        "keys of each kind": options.keys,
        "scattered lost": lost[SCATTERED],
        "computed lost": lost[COMPUTED],
        "computed executed again": len(again),
        "missing at the end": len(missing),
        "missing, some": dict(list(missing.items())[:10]),
        "wrong values": len(load.wrong) + sum(why == "wrong" for why in missing.values()),
        "tasks finished": load.counts["finished"],
        "tasks failed": dict(load.errors),
        "longest wait for a finished result, s": round(load.slowest, 1),
        "tasks executed again": sum(count > 1 for count in executions[USED].values()),
        "suspicious": told["suspicious"],
        "removals": dict(Counter(kind_of(each) for each in told["removals"])),
        "in the scheduler's log": {words: log.count(words) for words in TELLING if words in log},
        "not in the scheduler's log": [words for words in ALWAYS if words not in log],
    }


def executed(executions: Mapping[str, int], kind: str) -> dict[str, int]:
    """How often each key of a kind was executed."""
    return {key: count for key, count in executions.items() if key.startswith(f"{kind}-")}


def kind_of(removal: Mapping[str, Any]) -> str:
    """How a worker left."""
    expected = "expected" if removal["expected"] else "unexpected"
    return f"{expected}, {'with losses' if removal['lost'] else 'without loss'}"
