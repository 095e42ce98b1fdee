"""Tasks beside the passes, which live no longer than somebody serves."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class Background:
    """A task group that is held until it is cancelled; before that and after it nothing can be begun."""

    def __init__(self) -> None:
        self._group: asyncio.TaskGroup | None = None

    async def hold(self) -> None:
        """Until it is cancelled; then all that was begun is, too. A bug in one of them ends it."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                await asyncio.Event().wait()
            finally:
                self._group = None

    @property
    def held(self) -> bool:
        """Whether tasks can be begun."""
        return self._group is not None

    def begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begin a task, while it is held."""
        assert self._group is not None, "nobody holds it"
        return self._group.create_task(work)
