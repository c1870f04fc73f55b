"""Calls that arrive together go together, and nobody waits alone."""

import asyncio
from collections.abc import Sequence

import pytest

from receiver.queue.batching import LEAST_SHARE, Batcher
from tests.conftest import until


class Recorder:
    """A `send` that notes its batches, waits while it is held, and answers each item with its double."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.failure: Exception | None = None

    async def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        await self.open.wait()
        if self.failure is not None:
            raise self.failure
        return [2 * item for item in items]


@pytest.fixture
async def recorder() -> Recorder:
    return Recorder()


async def test_a_lone_item_goes_at_once(recorder: Recorder) -> None:
    """One alone does not wait for company."""
    assert await Batcher(recorder).add(3) == 6
    assert recorder.batches == [[3]]


async def test_items_that_arrive_during_a_call_go_with_the_next(recorder: Recorder) -> None:
    """While a call is under way others gather, and go in one call, in order, each with its own answer."""
    together = Batcher(recorder)
    recorder.open.clear()
    adding = [asyncio.ensure_future(together.add(0))]
    await until(lambda: recorder.batches)
    adding += [asyncio.ensure_future(together.add(number)) for number in range(1, 6)]
    await asyncio.sleep(0)
    recorder.open.set()
    assert await asyncio.gather(*adding) == [0, 2, 4, 6, 8, 10]
    assert recorder.batches == [[0], [1, 2, 3, 4, 5]]


async def test_a_batch_is_bounded_in_count(recorder: Recorder) -> None:
    """However many wait, a call takes no more than its share."""
    together = Batcher(recorder, count=4)
    await asyncio.gather(*(together.add(number) for number in range(10)))
    assert max(map(len, recorder.batches)) == 4
    assert [item for batch in recorder.batches for item in batch] == list(range(10))


async def test_a_batch_is_bounded_in_weight(recorder: Recorder) -> None:
    """Heavy items go in several calls; one heavier than the bound goes alone and does not stay for ever."""
    together = Batcher(recorder, weight=10)
    await asyncio.gather(*(together.add(weight, weight) for weight in (4, 4, 4, 99, 1, 9, 1)))
    assert recorder.batches == [[4, 4], [4], [99], [1, 9], [1]]


async def test_a_failure_belongs_to_the_waiters_of_its_call(recorder: Recorder) -> None:
    """Who waited for the failed call is told; the next call is a new one."""
    together = Batcher(recorder)
    recorder.failure = OSError("away")
    results = await asyncio.gather(together.add(1), together.add(2), return_exceptions=True)
    assert [str(result) for result in results] == ["away", "away"]
    recorder.failure = None
    assert await together.add(3) == 6


async def test_a_cancelled_caller_does_not_take_its_item_back(recorder: Recorder) -> None:
    """What was added is sent, whether its caller waits or hung up, before or during the call."""
    together = Batcher(recorder)
    recorder.open.clear()
    first = asyncio.ensure_future(together.add(1))
    await until(lambda: recorder.batches)
    second, third = asyncio.ensure_future(together.add(2)), asyncio.ensure_future(together.add(3))
    await asyncio.sleep(0)
    first.cancel()
    second.cancel()
    recorder.open.set()
    assert await third == 6
    assert recorder.batches == [[1], [2, 3]]
    assert first.cancelled()
    assert second.cancelled()


async def test_settle_waits_for_everything_added(recorder: Recorder) -> None:
    """A process that stops can wait until its last item is stored."""
    together = Batcher(recorder)
    recorder.open.clear()
    adding = [asyncio.ensure_future(together.add(number)) for number in range(3)]
    await until(lambda: recorder.batches)
    settling = asyncio.create_task(together.until_answered())
    await asyncio.sleep(0)
    assert not settling.done()
    recorder.open.set()
    await settling
    assert all(task.done() for task in adding)
    await together.until_answered()


async def test_what_is_under_way_when_it_stops_is_sent(recorder: Recorder) -> None:
    """It has its time; after that nothing is sent any more, and nobody is told otherwise."""
    together = Batcher(recorder)
    recorder.open.clear()
    first = asyncio.ensure_future(together.add(1))
    await until(lambda: recorder.batches)
    stopping = asyncio.create_task(together.stop(5))
    second = asyncio.ensure_future(together.add(2))
    await asyncio.sleep(0)
    recorder.open.set()
    await stopping
    assert (await first, await second) == (2, 4)

    recorder.open.clear()
    third = asyncio.ensure_future(together.add(3))
    await until(lambda: len(recorder.batches) == 3)
    await together.stop(0.01)
    recorder.open.set()
    await asyncio.sleep(0.01)
    assert not third.done()
    third.cancel()


async def test_several_calls_are_under_way_at_once_each_with_its_share(recorder: Recorder) -> None:
    """What waits is parted among the flights, none takes a few while there are more, and each has its own answer."""
    together: Batcher[int, int] = Batcher(recorder, flights=3)
    recorder.open.clear()
    waiting = [asyncio.ensure_future(together.add(number)) for number in range(90)]
    await until(lambda: len(recorder.batches) == 3)
    assert [len(batch) for batch in recorder.batches] == [30, LEAST_SHARE, LEAST_SHARE]
    recorder.open.set()
    assert await asyncio.gather(*waiting) == [2 * number for number in range(90)]
    assert sorted(item for batch in recorder.batches for item in batch) == list(range(90))


async def test_a_few_wait_for_the_call_before_them(recorder: Recorder) -> None:
    """A second call at the same time is for many items: a few go together when the first call has ended."""
    together: Batcher[int, int] = Batcher(recorder, flights=2)
    recorder.open.clear()
    first = together.add(0)
    await until(lambda: recorder.batches == [[0]])
    few = [together.add(number) for number in range(1, LEAST_SHARE)]
    await asyncio.sleep(0.01)
    assert recorder.batches == [[0]]
    recorder.open.set()
    await asyncio.gather(first, *few)
    assert recorder.batches == [[0], list(range(1, LEAST_SHARE))]


async def test_many_do_not_wait_for_the_call_before_them(recorder: Recorder) -> None:
    """With as many waiting as a batch should have, the second call begins beside the first."""
    together: Batcher[int, int] = Batcher(recorder, flights=2)
    recorder.open.clear()
    first = together.add(0)
    await until(lambda: recorder.batches == [[0]])
    many = [together.add(number) for number in range(1, LEAST_SHARE + 1)]
    await until(lambda: len(recorder.batches) == 2)
    assert recorder.batches == [[0], list(range(1, LEAST_SHARE + 1))]
    recorder.open.set()
    await asyncio.gather(first, *many)


async def test_a_lone_item_is_one_call_however_many_there_may_be(recorder: Recorder) -> None:
    """Several flights make no more calls than there is something for."""
    together: Batcher[int, int] = Batcher(recorder, flights=3)
    assert [await together.add(number) for number in (1, 2)] == [2, 4]
    assert recorder.batches == [[1], [2]]


@pytest.mark.parametrize("begun", [True, False], ids=["under way", "not begun"])
async def test_a_call_that_a_stranger_cancels_is_made_again(recorder: Recorder, *, begun: bool) -> None:
    """A handler may cancel every task of the loop: the items are sent once more, and nobody waits for ever."""
    together = Batcher(recorder)
    recorder.open.clear()
    adding = asyncio.ensure_future(together.add(3))
    if begun:
        await until(lambda: recorder.batches)
    for task in together._sending:
        task.cancel()
    recorder.open.set()
    async with asyncio.timeout(5):
        assert await adding == 6
        assert await together.add(4) == 8
    assert recorder.batches == [[3]] * begun + [[3], [4]]


async def test_a_stop_makes_no_call_again(recorder: Recorder) -> None:
    """What was cancelled by it stays so."""
    together = Batcher(recorder)
    recorder.open.clear()
    adding = asyncio.ensure_future(together.add(3))
    await until(lambda: recorder.batches)
    await together.stop(0)
    await until(lambda: not together._sending)
    await asyncio.sleep(0.01)
    assert recorder.batches == [[3]]
    adding.cancel()
