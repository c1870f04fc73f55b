"""A limit on the memory of all events that a worker handles at the same time.

A few kilobytes can unpack to a megabyte, and parsed JSON takes forty times its text; MAX_JOBS such events would take
gigabytes. So an event waits until the memory that it may need is free. An event larger than the whole limit runs when
no other large one does. Small events, which nearly all are, have their own share and never wait.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

PER_BYTE = 50
"""Bytes of memory that a byte of an event's text may need after parsing; empty objects need the most."""


class Memory:
    """`size` bytes for up to `jobs` events; a quarter is reserved for small events."""

    def __init__(self, size: int, jobs: int) -> None:
        self._size = size * 3 // 4
        self._small = size // 4 // jobs
        self._used = self._wanted = 0
        self._queue = asyncio.Lock()  # events wait in order of arrival; only the first waits for memory
        self._freed = asyncio.Event()

    @property
    def free(self) -> int:
        """Bytes that are neither used nor waited for; negative if events wait."""
        return self._size - self._wanted

    def hold(self, size: int) -> AbstractAsyncContextManager[None]:
        """Wait for so many bytes, and hold them while the block runs."""
        return _NOTHING if size <= self._small else self._hold(min(size, self._size))

    @asynccontextmanager
    async def _hold(self, size: int) -> AsyncIterator[None]:
        self._wanted += size
        try:
            async with self._queue:
                while self._used + size > self._size:
                    self._freed.clear()
                    await self._freed.wait()
                self._used += size
            try:
                yield
            finally:
                self._used -= size
                self._freed.set()
        finally:
            self._wanted -= size


_NOTHING = nullcontext()
