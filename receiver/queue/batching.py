"""Batches calls: items that arrive during one call go out with the next. A lone item is sent at once."""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")
LEAST_SHARE = 24
"""Smallest batch beside another call: smaller ones would waste the fixed cost of a call."""


class Batcher(Generic[Item, Answer]):
    """Collects items while calls are in flight and sends them with the next call; each caller gets its own answer.

    `send` takes the items in order and returns an answer for each, in the same order; an exception goes to every caller
    of that batch. A batch has at most `count` items, and at most `weight` in total unless its first item is heavier.
    Up to `flights` calls run at once, in no fixed order: a further one begins once `LEAST_SHARE` items wait, and each
    takes an equal share of them.
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

    def add(self, item: Item, weight: int = 0) -> asyncio.Future[Answer]:
        """Send an item; the future is its answer. Cancelling it does not cancel the sending."""
        self._loop = self._loop or asyncio.get_running_loop()
        waiter: asyncio.Future[Answer] = self._loop.create_future()
        self._waiting.append((item, weight, waiter))
        if not self._sending or (len(self._sending) < self._flights and self._are_enough()):
            self._start()
        return waiter

    async def until_answered(self) -> None:
        """Wait until every item added so far has its answer."""
        while self._sending:
            await asyncio.wait(self._sending)
            await asyncio.sleep(0)

    async def stop(self, within: float) -> None:
        """Wait `within` seconds for calls in flight, then cancel them. Callers that still wait get no answer."""
        if self._sending:
            await asyncio.wait(self._sending, timeout=within)
        self._is_stopped = True
        for task in self._sending:
            task.cancel()

    def _are_enough(self) -> bool:
        """Whether so many wait that a further call at the same time is worth its cost."""
        return len(self._waiting) >= LEAST_SHARE

    def _start(self) -> None:
        task = asyncio.create_task(self._send_all())
        self._sending.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Start a new task if this one was cancelled, even before it began: else waiting items would never be sent."""
        self._sending.discard(task)
        if self._waiting and not self._sending and not self._is_stopped:
            self._start()

    async def _send_all(self) -> None:
        try:
            while self._waiting and (len(self._sending) == 1 or self._are_enough()):
                await self._send_some()
        finally:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - it runs in a task of its own
            self._sending.discard(task)

    async def _send_some(self) -> None:
        batch: list[tuple[Item, int, asyncio.Future[Answer]]] = []
        weight = 0
        share = max(math.ceil(len(self._waiting) / self._flights), LEAST_SHARE)
        while self._waiting and len(batch) < min(self._count, share):
            weight += self._waiting[0][1]
            if batch and weight > self._weight:
                break
            batch.append(self._waiting.popleft())
        try:
            answers = await self._send([item for item, _, _ in batch])
        except asyncio.CancelledError:
            self._waiting.extendleft(reversed(batch))  # send again with the next task: sending is idempotent
            raise
        except Exception as error:  # noqa: BLE001 - any error goes to the callers
            for _, _, waiter in batch:
                if not waiter.done():
                    waiter.set_exception(error)
        else:
            for (_, _, waiter), answer in zip(batch, answers, strict=True):
                if not waiter.done():  # done if its caller was cancelled
                    waiter.set_result(answer)
