"""A memory limit for the bodies of all requests, and a deadline for each.

Only bytes that have arrived count, not the announced length. When the limit is reached, the largest body that is still
arriving is refused; between bodies of equal size, the oldest. A share is reserved for small bodies, so that a few large
deliveries cannot block many small ones.
"""

import asyncio
import itertools
import time
from types import TracebackType
from typing import Self

from starlette.exceptions import HTTPException

from receiver.background import tick

SMALL = 64 * 1024
"""Largest size of a small body, in bytes."""
KEPT_FOR_SMALL = 1 / 8
"""The share of the memory that only small bodies may use."""


class Bodies:
    """The bodies of one process: at most `most` bytes in total, each complete within `seconds`. Needs `run` to run."""

    def __init__(self, most: int, seconds: float) -> None:
        self.most, self.seconds = most, seconds
        self.most_large = most - round(most * KEPT_FOR_SMALL)
        self.held = self.held_large = 0
        self.arriving: dict[Body, float] = {}
        self.loop: asyncio.AbstractEventLoop | None = None

    async def run(self) -> None:
        """Refuse late bodies with 408. Checks four times a second, because a timer for each body would cost more."""
        self.loop = asyncio.get_running_loop()
        while True:
            await tick(0.25)
            now = time.monotonic()
            for body in list(itertools.takewhile(lambda body: self.arriving[body] < now, self.arriving)):  # noqa: B023
                body.refuse(408)

    def make_room(self) -> None:
        """Refuse the largest body that is still arriving."""
        largest = max(self.arriving, key=lambda body: body.size)
        largest.refuse(503)


class Body:
    """One body, from its first byte until it is stored: `with Body(bodies) as body`, `add` each piece, then `whole`."""

    __slots__ = ("_bodies", "_pieces", "_refusal", "_task", "size")

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self._pieces: list[bytes] = []
        self._refusal = 0
        self.size = 0
        task = asyncio.current_task(bodies.loop)  # passing the loop avoids a getpid() per call before Python 3.12
        assert task is not None  # noqa: S101 - an ASGI application runs in a task
        self._task = task

    def __enter__(self) -> Self:
        self._bodies.arriving[self] = time.monotonic() + self._bodies.seconds
        return self

    def add(self, piece: bytes) -> None:
        """Add a piece that arrived. Raises HTTPException 503 when there is no memory for it."""
        bodies, size = self._bodies, len(piece)
        self._pieces.append(piece)
        self.size += size
        bodies.held += size
        if self.size > SMALL:
            bodies.held_large += size if self.size - size > SMALL else self.size
            while bodies.held_large > max(bodies.most_large, self.size):  # a single large body may use all memory
                bodies.make_room()
        while bodies.held > bodies.most:
            bodies.make_room()

    def whole(self) -> bytes:
        """The complete body. After this call it cannot be refused; its memory is counted until the block ends."""
        self._bodies.arriving.pop(self, None)
        return b"".join(self._pieces) if len(self._pieces) != 1 else self._pieces[0]

    def refuse(self, status: int) -> None:
        """End the request with this status: by an exception in its own task, by cancelling it from another one."""
        self._let_go()
        self._refusal = status
        if self._task is asyncio.current_task(self._bodies.loop):
            raise self._refused()
        self._task.cancel()

    def _refused(self) -> HTTPException:
        """Made only when raised: its traceback refers to this body, so that storing it would be a reference cycle."""
        return HTTPException(self._refusal, headers={"retry-after": "1"} if self._refusal == 503 else None)  # noqa: PLR2004

    def _let_go(self) -> None:
        """Free the memory now: a refused request lives on until its sender stops sending."""
        self._pieces.clear()
        self._bodies.arriving.pop(self, None)
        self._bodies.held -= self.size
        if self.size > SMALL:
            self._bodies.held_large -= self.size
        self.size = 0

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._let_go()
        if self._refusal and kind is asyncio.CancelledError and not self._task.uncancel():
            raise self._refused()
