"""Memory for the bodies of all requests, and a deadline for each.

What counts is what has arrived, not what was announced. Where memory runs out, the largest of the bodies that are
still arriving is refused, of equals the one that has taken longest. A share is kept for small bodies, so that a few
large deliveries never keep the many small ones out.
"""

import asyncio
import itertools
import time
from types import TracebackType
from typing import Self

from starlette.exceptions import HTTPException

SMALL = 64 * 1024
"""Bytes up to which a body is small."""
KEPT_FOR_SMALL = 1 / 8
"""The share of the memory that only small bodies may use."""


class Bodies:
    """The bodies of one process: at most `most` bytes in all, each whole within `seconds`. `run` has to be running."""

    def __init__(self, most: int, seconds: float) -> None:
        self.most, self.seconds = most, seconds
        self.most_large = most - round(most * KEPT_FOR_SMALL)
        self.held = self.held_large = 0
        self.arriving: dict[Body, float] = {}
        self.loop: asyncio.AbstractEventLoop | None = None

    async def run(self) -> None:
        """Refuse with 408 what takes too long; looks four times a second, because a timer for each would cost more."""
        self.loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(0.25)
            now = time.monotonic()
            for body in list(itertools.takewhile(lambda body: self.arriving[body] < now, self.arriving)):  # noqa: B023
                body.refuse(408)

    def make_room(self) -> None:
        """Refuse the largest of those that are arriving."""
        largest = max(self.arriving, key=lambda body: body.size)
        largest.refuse(503)


class Body:
    """One body while it is received and stored: `with Body(bodies) as body`, `add` for each piece, then `whole`."""

    __slots__ = ("_bodies", "_pieces", "_refusal", "_task", "size")

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self._pieces: list[bytes] = []
        self._refusal = 0
        self.size = 0
        task = asyncio.current_task(bodies.loop)  # given the loop, it does not ask the system for the process id
        assert task is not None  # noqa: S101 - an ASGI application runs in a task
        self._task = task

    def __enter__(self) -> Self:
        self._bodies.arriving[self] = time.monotonic() + self._bodies.seconds
        return self

    def add(self, piece: bytes) -> None:
        """A piece arrived. Raises HTTPException 503 when it does not fit."""
        bodies, size = self._bodies, len(piece)
        self._pieces.append(piece)
        self.size += size
        bodies.held += size
        if self.size > SMALL:
            bodies.held_large += size if self.size - size > SMALL else self.size
            while bodies.held_large > max(bodies.most_large, self.size):  # one alone may take all
                bodies.make_room()
        while bodies.held > bodies.most:
            bodies.make_room()

    def whole(self) -> bytes:
        """All of it. From here on it cannot be refused: it counts until it is stored."""
        self._bodies.arriving.pop(self, None)
        return b"".join(self._pieces) if len(self._pieces) != 1 else self._pieces[0]

    def refuse(self, status: int) -> None:
        """End its request with this answer, whether it is waiting for more or has just received too much."""
        self._let_go()
        self._refusal = status
        if self._task is asyncio.current_task(self._bodies.loop):
            raise self._refused()
        self._task.cancel()

    def _refused(self) -> HTTPException:
        """Made when it is raised: kept here, it would keep what its traceback refers to in memory, and that is us."""
        return HTTPException(self._refusal, headers={"retry-after": "1"} if self._refusal == 503 else None)  # noqa: PLR2004

    def _let_go(self) -> None:
        """Free its memory at once: the request that is refused still waits for its sender to stop sending."""
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
