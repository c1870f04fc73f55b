"""The time-out of all handlers with one timer: a timer for each costs as much as a short handler."""

import asyncio
import time
from collections.abc import Awaitable
from typing import Any


class TimeLimit:
    """Limits to `seconds` what a task awaits in `run`.

    The limit is the same for all, so they expire in the order in which they began, and one timer, set for the first of
    them, is enough.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends: dict[asyncio.Task[Any], float] = {}
        self._expired: set[asyncio.Task[Any]] = set()
        self._is_set = False

    async def run(self, task: "asyncio.Task[Any]", work: Awaitable[None]) -> None:
        """Await something in `task`, the current one. Raises TimeoutError when its time is up."""
        self._ends[task] = time.monotonic() + self._seconds
        if not self._is_set:
            self._set(self._seconds)
        try:
            await work
        except asyncio.CancelledError as cancelled:
            if task in self._expired and task.cancelling() == 1:  # nobody else has cancelled it
                raise TimeoutError from cancelled  # which knows the line that was waited at
            raise
        finally:
            self._ends.pop(task, None)
            if task in self._expired:
                self._expired.remove(task)
                task.uncancel()

    def _set(self, seconds: float) -> None:
        self._is_set = True
        asyncio.get_running_loop().call_later(seconds, self._expire)

    def _expire(self) -> None:
        now = time.monotonic()
        for task in [task for task, end in self._ends.items() if end <= now]:
            del self._ends[task]
            self._expired.add(task)
            task.cancel()
        self._is_set = False
        if self._ends:
            self._set(max(next(iter(self._ends.values())) - now, 0))
