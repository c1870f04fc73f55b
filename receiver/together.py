"""Calls that arrive together go together: one round trip for many, and no wait for one alone."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")
LEAST_SHARE = 24
"""Items that a call takes before it leaves any to the next one: a call has a price of its own."""


class Together(Generic[Item, Answer]):
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

    async def add(self, item: Item, weight: int = 0) -> Answer:
        """The answer for one item. Cancelling the caller does not take the item back."""
        self._loop = self._loop or asyncio.get_running_loop()
        waiter: asyncio.Future[Answer] = self._loop.create_future()
        self._waiting.append((item, weight, waiter))
        if len(self._sending) < self._flights:
            self._sending.add(asyncio.create_task(self._send_all()))
        return await waiter

    async def settle(self) -> None:
        """Return when everything added so far has its answer."""
        while self._sending:
            await asyncio.wait(self._sending)

    async def stop(self, within: float) -> None:
        """Give what is under way `within` seconds, then send no more; who still waits is not answered."""
        if self._sending:
            await asyncio.wait(self._sending, timeout=within)
        for task in self._sending:
            task.cancel()

    async def _send_all(self) -> None:
        try:
            while self._waiting:
                await self._send_some()
        finally:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - it runs in a task of its own
            self._sending.discard(task)

    async def _send_some(self) -> None:
        items: list[Item] = []
        waiters: list[asyncio.Future[Answer]] = []
        weight = 0
        share = max(-(-len(self._waiting) // self._flights), LEAST_SHARE)
        while self._waiting and len(items) < min(self._count, share):
            item, item_weight, waiter = self._waiting[0]
            weight += item_weight
            if items and weight > self._weight:
                break
            self._waiting.popleft()
            items.append(item)
            waiters.append(waiter)
        try:
            answers = await self._send(items)
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the waiters
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_exception(error)
        else:
            for waiter, answer in zip(waiters, answers, strict=True):
                if not waiter.done():  # its caller may be gone: the sender hung up
                    waiter.set_result(answer)
