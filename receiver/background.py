"""What a process does beside its work: reports, checks, maintenance. None of it ends unnoticed before the process."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

PAUSE = 5.0
"""Seconds until a task that failed is started again."""
Run = Callable[[], Awaitable[None]]

log = structlog.get_logger()


async def tick(seconds: float) -> None:
    """Sleep until the loop's clock is a multiple of `seconds`.

    All tasks of a process that wait so wake up together, which costs an idle process a fraction of the CPU.
    """
    await asyncio.sleep(seconds - asyncio.get_running_loop().time() % seconds)


@asynccontextmanager
async def background(**tasks: Run) -> AsyncIterator[None]:
    """Run each task beside the block, and cancel all of them at its end. One that returns has finished.

    One that fails is told of in the log, by its name, and started again, while the block goes on. So is one that is
    cancelled from elsewhere: a handler can cancel every task of its process.
    """
    has_ended = asyncio.Event()
    running = [asyncio.create_task(_go_on(name, run, has_ended)) for name, run in tasks.items()]
    try:
        yield
    finally:
        has_ended.set()
        for task in running:
            task.cancel()
        await asyncio.wait(running)


async def _go_on(name: str, run: Run, has_ended: asyncio.Event) -> None:
    pause = 0.0
    while not has_ended.is_set():
        try:
            await asyncio.sleep(pause)
            await run()
        except (Exception, asyncio.CancelledError):
            if not has_ended.is_set():
                log.exception("a background task failed: it is started again", task=name, in_s=PAUSE)
            pause = PAUSE
        else:
            return
