"""The one way out of the spool: to Redis, in order, in batches that fit through the link, around what cannot go.

A batch that fails is halved. A row that fails alone although Redis stores what others send is set aside: it stays in
the spool's file and is tried again each minute, and those behind it go on. A row of a subject that follows one set
aside does not wait for it: what cannot go may never go.
"""

import time
from collections.abc import Awaitable, Callable, Sequence

import msgpack
import structlog
from redis.exceptions import NoPermissionError

from receiver.spool import Row, Spool

COUNT = 256
BYTES = 4 * 1024 * 1024
BATCH_SECONDS = 8.0
"""A batch may take this long, unlike a sender's delivery: nobody waits for it, and links may be slow."""
ALONE_SECONDS = 30.0
"""A row that took longer alone may take this long: 1 MiB at 35 KB/s."""
TRIES = 5
"""Failures in a row, other than that time-out, after which a row alone is set aside: connections do break."""
AGAIN = 60.0
"""Seconds between two tries of what was set aside."""
DAMAGED = "damaged on the disk: it is not what was written"

log = structlog.get_logger()


class Drain:
    """Empties a spool with `store(items, seconds)`, which is idempotent, and raises when it could not store all.

    To store no item at all shows whether Redis can be written: it takes the same way as any.
    """

    def __init__(self, spool: Spool, store: Callable[[Sequence[bytes], float], Awaitable[object]]) -> None:
        self._spool, self._store = spool, store
        self._count = COUNT
        self._failures = 0  # in a row, of the oldest row alone
        self._retry_at = 0.0

    async def step(self) -> int | None:
        """How many of the oldest rows were stored; None when nothing waits.

        Raises `SpoolError`, and what `store` does when the trouble is Redis's.
        """
        rows = await self._spool.read(self._count, BYTES)
        if not rows:
            return None
        for row in rows:
            if not (row.is_whole and delivery_of(row.item)):
                await self._set_aside(row, DAMAGED)
                return 0
        began = time.monotonic()
        try:
            await self._store([row.item for row in rows], ALONE_SECONDS if self._failures else BATCH_SECONDS)
        except Exception as error:  # noqa: BLE001 - a row's own fault can be anything
            await self._make_way(rows, error)
            return 0
        self._failures = 0
        if time.monotonic() - began < BATCH_SECONDS / 4:
            self._count = min(COUNT, self._count * 2)
        await self._spool.forget(rows[-1])
        return len(rows)

    async def retry(self) -> None:
        """Try again what was set aside, each row once a minute, while nothing else waits. Raises as `step` does.

        After one that took its time no other is tried for a minute, for the sake of those that need the link.
        """
        while not self._spool.depth and time.monotonic() >= self._retry_at:
            row = await self._spool.take_aside(time.time() - AGAIN)
            if row is None:
                return
            began = time.monotonic()
            if not await self.try_again(row, ALONE_SECONDS):
                log.info("stored what had been set aside", delivery=delivery_of(row.item))
                continue
            if time.monotonic() - began > BATCH_SECONDS:
                self._retry_at = time.monotonic() + AGAIN
            await self._store([], BATCH_SECONDS)

    async def try_again(self, row: Row, seconds: float) -> str:
        """Store a row that was set aside; why it could not be, "" when it is stored. Raises `SpoolError`."""
        if not (row.is_whole and delivery_of(row.item)):
            return DAMAGED
        try:
            await self._store([row.item], seconds)
        except Exception as error:  # noqa: BLE001 - as above
            reason = _reason(error, seconds)
            await self._spool.set_aside(row, reason)
            return reason
        await self._spool.forget_aside(row)
        return ""

    async def _make_way(self, rows: Sequence[Row], error: Exception) -> None:
        """Halve the batch, or set the row aside that failed alone; raise if the trouble is Redis's."""
        self._count = max(1, len(rows) // 2)
        await self._store([], BATCH_SECONDS)
        if isinstance(error, NoPermissionError):  # all rows would fail, and storing nothing needs less
            raise error
        if len(rows) > 1:
            return
        had_its_time = isinstance(error, TimeoutError) and self._failures
        self._failures += 1
        if had_its_time or self._failures == TRIES:
            self._failures = 0
            await self._set_aside(rows[0], _reason(error, ALONE_SECONDS))

    async def _set_aside(self, row: Row, reason: str) -> None:
        await self._spool.set_aside(row, reason)
        log.warning(
            "delivery set aside: redis cannot store it",
            delivery=delivery_of(row.item), bytes=len(row.item), reason=reason, mend="python -m receiver spool list",
        )  # fmt: skip


def delivery_of(item: bytes) -> str:
    """The id of the delivery in an item (`pack_delivery` packs it: the third part is the id of its job), "" if none."""
    try:
        job_id: bytes = msgpack.unpackb(item, raw=True)[2]
        return job_id.decode().partition(":")[0]
    except (ValueError, TypeError, LookupError, AttributeError):
        return ""


def _reason(error: Exception, seconds: float) -> str:
    if isinstance(error, TimeoutError):
        return f"took more than {seconds:g} s"
    return f"{type(error).__name__}: {error}"[:200]
