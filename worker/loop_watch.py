"""Monitors an event loop from another thread; logs handlers that block it, and handlers that do not end."""

import asyncio
import contextlib
import sys
import threading
import time
from collections.abc import Mapping

import structlog

from worker import handling
from worker.handling import Handling

TICK = 0.5
"""Seconds between two checks. A loop that misses two in a row is blocked; one miss may be a pause of the process."""
OVERDUE = 5.0
"""Seconds that a handler may take to end after its time-out before it is logged."""

log = structlog.get_logger()


class Watch:
    """Monitors the loop of the thread that created this. `seen`: when it last responded (monotonic seconds)."""

    def __init__(self, loop: asyncio.AbstractEventLoop, job_timeout: float) -> None:
        self._loop, self._thread = loop, threading.get_ident()
        self._longest = job_timeout + OVERDUE
        self._late: set[Handling] = set()
        self.seen = self._asked = time.monotonic()
        self._missed = 0

    async def run(self) -> None:
        """Monitor until cancelled; run this in another thread."""
        while True:
            await asyncio.sleep(TICK)
            try:
                self._look()
            except Exception:  # the monitor must go on
                log.exception("watching the event loop failed")

    def _look(self) -> None:
        if self.seen < self._asked:
            self._missed += 1
            if self._missed == 2:  # noqa: PLR2004 - see TICK
                log.warning("the event loop is blocked", **self._by_what())
            return
        if self._missed > 1:
            log.info("the event loop goes on", blocked_s=round(self.seen - self._asked, 1))
        self._missed = 0
        self._name_late()
        self._asked = time.monotonic()
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process is ending
            self._loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        self.seen = time.monotonic()

    def _by_what(self) -> Mapping[str, str]:
        frame = sys._current_frames().get(self._thread)  # noqa: SLF001 - the only way to get another thread's stack
        task = asyncio.current_task(self._loop)
        told = handling.in_tasks.get(task) if task else None
        about = handling.about(told) if told else {}
        return {**about, "at": handling.where(frame)}

    def _name_late(self) -> None:
        now = time.monotonic()
        late = {one for one in list(handling.in_tasks.values()) if now - one[2] > self._longest}
        for one in late - self._late:
            log.warning("a handler does not end when its time is up", **handling.about(one))
        self._late = late
