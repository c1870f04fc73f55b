"""The ends of several tasks, one after the other."""

import asyncio

import pytest

from worker.side_by_side import Ends


async def test_each_end_is_told_once_in_its_order() -> None:
    """A task that has ended is returned by one call, with those that ended meanwhile, and by no later one."""
    gates = [asyncio.Event() for _ in range(3)]
    first, second, third = [asyncio.create_task(_through(gate)) for gate in gates]
    ends = Ends([first, second, third])
    gates[1].set()
    assert await ends.next() == [second]
    gates[2].set()
    await third
    gates[0].set()
    await first
    await asyncio.sleep(0)
    assert await ends.next() == [third, first]


async def test_a_failed_and_a_cancelled_task_have_ended_too() -> None:
    """Whatever ends a task, the one that waits goes on."""
    never = asyncio.create_task(asyncio.Event().wait())
    failing = asyncio.create_task(_raise())
    ends: Ends[object] = Ends([never, failing])
    assert await ends.next() == [failing]
    assert isinstance(failing.exception(), ValueError)
    never.cancel()
    assert await ends.next() == [never]


async def test_an_end_after_a_cancelled_wait_is_not_lost() -> None:
    """Who was cancelled while waiting can wait again."""
    gate = asyncio.Event()
    task = asyncio.create_task(_through(gate))
    ends = Ends([task])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await ends.next()
    gate.set()
    assert await ends.next() == [task]


async def _through(gate: asyncio.Event) -> None:
    await gate.wait()


async def _raise() -> None:
    raise ValueError
