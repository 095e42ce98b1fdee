"""What schedulers say, as values: every number and text has been looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dask_k8s.errors import SchedulerRefused
from dask_k8s.kinds.value import value


@value
class Identity:
    """Who a scheduler is.

    Parameters
    ----------
    id
        Differs between two processes, also behind the same address.
    address
        Where it says that it listens.
    """

    id: str
    address: str


@value
class Drained:
    """What became of one worker's drain.

    Parameters
    ----------
    refused
        Why the worker has to stay; empty where it holds nothing any more.
    """

    refused: str = ""


def texts(reply: Any, op: str) -> tuple[str, ...]:
    """A reply that has to be a list of texts."""
    if isinstance(reply, list | tuple) and all(isinstance(item, str) for item in reply):
        return tuple(reply)
    raise SchedulerRefused(f"{op}: expected a list of texts, not {type(reply).__name__}")


def mapping(reply: Any, op: str) -> Mapping[str, Any]:
    """A reply that has to be a mapping with texts as keys."""
    if isinstance(reply, dict) and all(isinstance(key, str) for key in reply):
        return reply
    raise SchedulerRefused(f"{op}: expected a mapping, not {type(reply).__name__}")


def text(content: Mapping[str, Any], field: str, op: str) -> str:
    """A field that has to be a text."""
    found = content.get(field)
    if isinstance(found, str):
        return found
    raise SchedulerRefused(f"{op}: {field} must be a text, not {type(found).__name__}")
