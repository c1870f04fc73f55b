"""Empties the spool into Redis, in order and in batches, and sets rows aside that Redis cannot store.

A batch that fails is halved. A row that fails alone while Redis accepts other writes is set aside: it stays in the
spool's file and is retried each minute, and the rows behind it go on. Later rows of the same subject do not wait for
it, because it may never be stored.
"""

import time
from collections.abc import Awaitable, Callable, Sequence

import msgpack
import structlog
from redis.exceptions import NoPermissionError

from receiver.spool import Row, Spool

BATCH_ROWS = 256
BATCH_BYTES = 4 * 1024 * 1024
BATCH_TIMEOUT = 8.0
"""Seconds for a batch: more than for a request, because no sender waits and the link may be slow."""
ROW_TIMEOUT = 30.0
"""Seconds for a single row that has failed before: 1 MiB at 35 KB/s."""
MAX_FAILURES = 5
"""Consecutive failures, other than a second time-out, after which a single row is set aside: connections may break."""
RETRY_INTERVAL = 60.0
"""Seconds between two tries of a row that was set aside."""
DAMAGED_REASON = "damaged on the disk: it is not what was written"

log = structlog.get_logger()


class Drain:
    """Empties a spool with `store(items, seconds)`, which is idempotent and raises if it could not store all items.

    Storing no items tests whether Redis can be written: it runs the same code.
    """

    def __init__(self, spool: Spool, store: Callable[[Sequence[bytes], float], Awaitable[object]]) -> None:
        self._spool, self._store = spool, store
        self._count = BATCH_ROWS
        self._failures = 0  # consecutive, of the oldest row alone
        self._retry_at = 0.0

    async def step(self) -> int | None:
        """Store the oldest rows and return how many; None if none waits.

        Raises `SpoolError`, and what `store` raises if Redis is the cause.
        """
        rows = await self._spool.read(self._count, BATCH_BYTES)
        if not rows:
            return None
        for row in rows:
            if not (row.is_whole and delivery_of(row.item)):
                await self._set_aside(row, DAMAGED_REASON)
                return 0
        began = time.monotonic()
        try:
            await self._store([row.item for row in rows], ROW_TIMEOUT if self._failures else BATCH_TIMEOUT)
        except Exception as error:  # noqa: BLE001 - a row's content may cause any error
            await self._isolate(rows, error)
            return 0
        self._failures = 0
        if time.monotonic() - began < BATCH_TIMEOUT / 4:
            self._count = min(BATCH_ROWS, self._count * 2)
        await self._spool.forget(rows[-1])
        return len(rows)

    async def retry(self) -> None:
        """Retry each row that was set aside once a minute, while no other row waits. Raises as `step` does.

        After a slow one pause for a minute, because other deliveries need the link.
        """
        while not self._spool.depth and time.monotonic() >= self._retry_at:
            row = await self._spool.take_aside(time.time() - RETRY_INTERVAL)
            if row is None:
                return
            began = time.monotonic()
            if not await self.try_again(row, ROW_TIMEOUT):
                log.info("stored what had been set aside", delivery=delivery_of(row.item))
                continue
            if time.monotonic() - began > BATCH_TIMEOUT:
                self._retry_at = time.monotonic() + RETRY_INTERVAL
            await self._store([], BATCH_TIMEOUT)

    async def try_again(self, row: Row, seconds: float) -> str:
        """Store a row that was set aside; return why that failed, "" if it is stored. Raises `SpoolError`."""
        if not (row.is_whole and delivery_of(row.item)):
            return DAMAGED_REASON
        try:
            await self._store([row.item], seconds)
        except Exception as error:  # noqa: BLE001 - as above
            reason = _reason(error, seconds)
            await self._spool.set_aside(row, reason)
            return reason
        await self._spool.forget_aside(row)
        return ""

    async def _isolate(self, rows: Sequence[Row], error: Exception) -> None:
        """Halve the batch, or set a row aside that failed alone; raise if Redis is the cause."""
        self._count = max(1, len(rows) // 2)
        await self._store([], BATCH_TIMEOUT)
        if isinstance(error, NoPermissionError):  # every row would fail; the probe above needs fewer permissions
            raise error
        if len(rows) > 1:
            return
        timed_out = isinstance(error, TimeoutError) and self._failures
        self._failures += 1
        if timed_out or self._failures == MAX_FAILURES:
            self._failures = 0
            await self._set_aside(rows[0], _reason(error, ROW_TIMEOUT))

    async def _set_aside(self, row: Row, reason: str) -> None:
        await self._spool.set_aside(row, reason)
        log.warning(
            "delivery set aside: redis cannot store it",
            delivery=delivery_of(row.item), bytes=len(row.item), reason=reason, mend="python -m receiver spool list",
        )  # fmt: skip


def delivery_of(item: bytes) -> str:
    """The delivery's id in an item ("" if none): the item's third part, see `pack_delivery`, is the job's id."""
    try:
        job_id: bytes = msgpack.unpackb(item, raw=True)[2]
        return job_id.decode().partition(":")[0]
    except (ValueError, TypeError, LookupError, AttributeError):
        return ""


def _reason(error: Exception, seconds: float) -> str:
    if isinstance(error, TimeoutError):
        return f"took more than {seconds:g} s"
    return f"{type(error).__name__}: {error}"[:200]
