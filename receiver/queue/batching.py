"""Calls that arrive together go together: one round trip for many, and no wait for one alone."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")
LEAST_SHARE = 24
"""Items that a call takes before it leaves any to the next one: a call has a price of its own."""


class Batcher(Generic[Item, Answer]):
    """Collects items while calls are under way and sends them with the next one; each waiter gets its own answer.

    `send` takes the items in order and returns an answer for each, in order; what it raises, every waiter of that
    call gets. A batch holds at most `count` items, and no more than `weight` in all unless its first alone is heavier.
    With several `flights` as many calls may be under way at once, in any order among themselves, each with its share of
    what waits: while one is being answered, the answers of another are given out.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]],
        *,
        count: int = 256,
        weight: int = 4 << 20,
        flights: int = 1,
    ) -> None:
        self._send, self._count, self._weight, self._flights = send, count, weight, flights
        self._waiting: deque[tuple[Item, int, asyncio.Future[Answer]]] = deque()
        self._sending: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_stopped = False

    async def add(self, item: Item, weight: int = 0) -> Answer:
        """The answer for one item. Cancelling the caller does not take the item back."""
        self._loop = self._loop or asyncio.get_running_loop()
        waiter: asyncio.Future[Answer] = self._loop.create_future()
        self._waiting.append((item, weight, waiter))
        if len(self._sending) < self._flights:
            self._start()
        return await waiter

    async def settle(self) -> None:
        """Return when everything added so far has its answer."""
        while self._sending:
            await asyncio.wait(self._sending)
            await asyncio.sleep(0)

    async def stop(self, within: float) -> None:
        """Give what is under way `within` seconds, then send no more; who still waits is not answered."""
        if self._sending:
            await asyncio.wait(self._sending, timeout=within)
        self._is_stopped = True
        for task in self._sending:
            task.cancel()

    def _start(self) -> None:
        task = asyncio.create_task(self._send_all())
        self._sending.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Start again where somebody cancelled the task, even before it began: nobody else would send what waits."""
        self._sending.discard(task)
        if self._waiting and not self._sending and not self._is_stopped:
            self._start()

    async def _send_all(self) -> None:
        try:
            while self._waiting:
                await self._send_some()
        finally:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - it runs in a task of its own
            self._sending.discard(task)

    async def _send_some(self) -> None:
        batch: list[tuple[Item, int, asyncio.Future[Answer]]] = []
        weight = 0
        share = max(-(-len(self._waiting) // self._flights), LEAST_SHARE)
        while self._waiting and len(batch) < min(self._count, share):
            weight += self._waiting[0][1]
            if batch and weight > self._weight:
                break
            batch.append(self._waiting.popleft())
        try:
            answers = await self._send([item for item, _, _ in batch])
        except asyncio.CancelledError:
            self._waiting.extendleft(reversed(batch))  # somebody cancelled every task there is; sent twice is sent once
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the waiters
            for _, _, waiter in batch:
                if not waiter.done():
                    waiter.set_exception(error)
        else:
            for (_, _, waiter), answer in zip(batch, answers, strict=True):
                if not waiter.done():  # its caller may be gone: the sender hung up
                    waiter.set_result(answer)
