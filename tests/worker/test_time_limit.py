"""One time limit for many tasks, with one timer."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from worker.time_limit import TimeLimit


def start(limit: TimeLimit, work: Callable[[], Awaitable[None]]) -> "asyncio.Task[int]":
    """A task that does some work within a limit; it returns how often it counts as cancelled behind that."""

    async def run() -> int:
        task = asyncio.current_task()
        assert task is not None
        await limit.run(task, work())
        return task.cancelling()

    return asyncio.create_task(run())


async def hang() -> None:
    await asyncio.Event().wait()


async def swallow() -> None:
    with pytest.raises(asyncio.CancelledError):
        await hang()


async def test_each_task_has_the_whole_time_from_its_own_start() -> None:
    """A task that began later is not ended together with the first, although there is one timer."""
    limit, began = TimeLimit(0.2), time.monotonic()
    first = start(limit, hang)
    await asyncio.sleep(0.1)
    second = start(limit, hang)
    for task, least in ((first, 0.2), (second, 0.3)):
        with pytest.raises(TimeoutError):
            await task
        assert least <= time.monotonic() - began + 0.001 < least + 0.09


async def test_the_timer_is_set_again_after_it_had_nothing_to_do() -> None:
    """A task that begins when all others have ended long ago has its limit, too."""
    limit = TimeLimit(0.05)
    await start(limit, lambda: asyncio.sleep(0))
    await asyncio.sleep(0.1)
    with pytest.raises(TimeoutError):
        await start(limit, hang)


async def test_a_cancellation_is_no_time_out() -> None:
    """What somebody cancels before its time is up, or in the same moment, is cancelled."""
    limit = TimeLimit(0.05)
    early, both = start(limit, hang), start(limit, hang)
    await asyncio.sleep(0)
    early.cancel()
    time.sleep(0.06)  # noqa: ASYNC251 - so that the limit, and then a cancellation, are due in one turn of the loop
    asyncio.get_running_loop().call_later(0.0, both.cancel)
    for task in (early, both):
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_who_swallows_the_end_of_its_time_goes_on_as_if_not_cancelled() -> None:
    """As with asyncio.timeout: else whatever the task awaits next would count as cancelled."""
    assert await start(TimeLimit(0.02), swallow) == 0
