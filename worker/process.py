"""The worker's process: an event loop that only the worker's own end ends, and an end that waits for nobody.

asyncio lets KeyboardInterrupt and SystemExit of any task or callback out of its loop, which stops: here it goes on.
At its end asyncio waits for tasks that swallow their cancellation, and Python for threads that block: here both have a
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
from worker.retries import describe

T = TypeVar("T")
ABANDONED = 3
"""Exit code of a worker that was stopped while a handler did not end: neither 0, because the supervisor's log should
tell, nor 1 or 2, which an error and a wrong setting have."""
ENDING, UNFINISHED = 3.0, 1.0
"""Seconds for what is left to do when the worker has ended: close the loop, join threads, write the log; and the same
when a handler has not ended by then, after the worker's whole grace."""

log = structlog.get_logger()
Within = Callable[[float], None]


def run(main: Callable[[Within], Coroutine[Any, Any, None]]) -> None:
    """Run the coroutine to its end, whatever leaves the loop meanwhile, and raise what it raises.

    It is given a function that says in how many seconds the process has to have ended: after that it ends by force.
    """
    gc.freeze()  # what is here now stays: the collector need not look at it again,
    gc.set_threshold(50_000, 20, 20)  # nor so often while one large event is read: it took four fifths of that time
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
        except BaseException as error:  # noqa: BLE001 - not the task's own: it goes on
            if not task.done():
                _tell(error)
    return task.result()


def _tell(error: BaseException) -> None:
    """Say what left the loop; RuntimeError is what comes of `loop.stop()`."""
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
    """Ends the process by force when its time is up, from a thread of its own."""

    def __init__(self) -> None:
        self._times: SimpleQueue[float] = SimpleQueue()
        threading.Thread(target=self._wait, name="deadline", daemon=True).start()

    def within(self, seconds: float) -> None:
        """Let it be over in so many seconds, or earlier if that was said before. A signal handler may call this."""
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
            place = handling.where(sys._current_frames().get(main))  # noqa: SLF001 - the one way to it
            log.warning("the worker did not end: it is abandoned", at=place, threads=threads)
        logs.flush()
        os._exit(ABANDONED)
