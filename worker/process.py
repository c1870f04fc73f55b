"""The worker's process: an event loop that runs until the worker ends, and a time limit for that end.

In asyncio, KeyboardInterrupt or SystemExit in any task or callback stops the loop; here the loop is started again. At
the end asyncio waits for tasks that suppress their cancellation, and Python for threads that block; here both have a
time limit.
"""

import asyncio
import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import structlog
import uvloop

from receiver import logs
from worker import handling
from worker.error_text import describe

T = TypeVar("T")
ABANDONED = 3
"""Exit code of a worker that was stopped while a handler did not end: not 0, to show in the supervisor's log, nor 1 or
2, which mean an error and a wrong setting."""
ENDING, UNFINISHED = 3.0, 1.0
"""Seconds to close the loop, join threads and write the log after the worker has ended; the second value applies if a
handler has not ended within SHUTDOWN_GRACE."""

log = structlog.get_logger()
Within = Callable[[float], None]


def run(main: Callable[[Within], Coroutine[Any, Any, None]]) -> None:
    """Run the coroutine to its end, whatever else stops the loop, and raise what it raises.

    It gets a function that sets in how many seconds the process has to end; after that it is ended by force.
    """
    gc.freeze()  # exclude objects that exist for the whole run from collections
    gc.set_threshold(50_000, 20, 20)  # fewer collections: they took 80 % of the time of reading a large event
    deadline = Deadline()
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        _run_until_done(loop, main(deadline.within))
    finally:
        deadline.within(UNFINISHED if handling.unfinished() else ENDING)
        _run_until_done(loop, _cancel_the_rest())
        _run_until_done(loop, loop.shutdown_asyncgens())
        loop.close()


def _run_until_done(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
    task = loop.create_task(work)
    while not task.done():
        try:
            loop.run_until_complete(task)
        except BaseException as error:  # noqa: BLE001 - from another task: continue
            if not task.done():
                _tell(error)
    return task.result()


def _tell(error: BaseException) -> None:
    """Log what stopped the loop; `loop.stop()` shows as a RuntimeError."""
    traceback = error.__traceback__
    while traceback and traceback.tb_next:
        traceback = traceback.tb_next
    place = handling.where(traceback.tb_frame if traceback else None)
    log.error("something outside of a handler's own task stopped the event loop", error=describe(error), at=place)


async def _cancel_the_rest() -> None:
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


class Deadline:
    """Ends the process by force at its deadline, from a separate thread."""

    def __init__(self) -> None:
        self._times: SimpleQueue[float] = SimpleQueue()
        threading.Thread(target=self._wait, name="deadline", daemon=True).start()

    def within(self, seconds: float) -> None:
        """Set the deadline, unless an earlier one is set. May be called from a signal handler."""
        self._times.put(time.monotonic() + seconds)

    def _wait(self) -> None:
        end = self._times.get()
        while (left := end - time.monotonic()) > 0:
            with suppress(Empty):
                end = min(end, self._times.get(timeout=left))
        self._end_by_force()

    def _end_by_force(self) -> None:
        main = threading.main_thread().ident or 0
        unfinished = handling.unfinished()
        for one in unfinished:
            log.warning("a handler did not end: it is abandoned", **handling.about(one))
        if not unfinished:
            threads = [thread.name for thread in threading.enumerate() if not thread.daemon]
            place = handling.where(sys._current_frames().get(main))  # noqa: SLF001 - the only way to get it
            log.warning("the worker did not end: it is abandoned", at=place, threads=threads)
        logs.flush()
        os._exit(ABANDONED)
