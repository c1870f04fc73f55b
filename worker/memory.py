"""Memory for the events that one worker holds at the same time: so many bytes, however few events they are.

A few kilobytes can unpack to a megabyte, and a megabyte of JSON takes forty as values; MAX_JOBS of these would be
gigabytes. So an event waits until there is room for what it may take at most. One that is larger than the whole room
has it to itself; small ones, which nearly all are, never wait for large ones.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

PER_BYTE = 50
"""Bytes of memory that a byte of an event's text may take, once it is read: empty objects take the most."""


class Memory:
    """`size` bytes, a quarter of which is kept for the small ones among `jobs` events."""

    def __init__(self, size: int, jobs: int) -> None:
        self._size = size * 3 // 4
        self._small = size // 4 // jobs
        self._used = self._wanted = 0
        self._door = asyncio.Lock()  # one at a time waits for room, in the order of their arrival
        self._left = asyncio.Event()

    @property
    def free(self) -> int:
        """Bytes that nobody uses or waits for; below 0 when some wait."""
        return self._size - self._wanted

    def hold(self, size: int) -> AbstractAsyncContextManager[None]:
        """Room for so many bytes, as long as the block runs, once there is any."""
        return _NOTHING if size <= self._small else self._hold(min(size, self._size))

    @asynccontextmanager
    async def _hold(self, size: int) -> AsyncIterator[None]:
        self._wanted += size
        try:
            async with self._door:
                while self._used + size > self._size:
                    self._left.clear()
                    await self._left.wait()
                self._used += size
            try:
                yield
            finally:
                self._used -= size
                self._left.set()
        finally:
            self._wanted -= size


_NOTHING = nullcontext()
