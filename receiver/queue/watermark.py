"""Detects that Redis lost data: it was emptied, replaced by another one, or restored to an older state.

Such a loss raises no error: all calls go on, but unfinished work is gone. The check compares the name that the data got
at its first use, the last score in the queue and the count of accepted deliveries. The name never changes, and the
other two only grow, unless data is lost.
"""

import asyncio
import json
import secrets
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import structlog
from redis.asyncio import Redis

from receiver.queue.keys import Keys

NOTED_SECONDS = 7 * 86400
"""Seconds for which `doctor` reports a loss."""
WRITTEN_SECONDS = 10.0
"""Seconds between two updates of the file."""
log = structlog.get_logger()


class Mark(NamedTuple):
    """The state of Redis at one check: the name of its data, the last score (ms), deliveries accepted so far."""

    life: str
    order: float
    accepted: int


class Loss(NamedTuple):
    """A loss as stored for `doctor`: when it was detected (ISO 8601), and one line that describes it."""

    at: str
    what: str


def loss(before: Mark, now: Mark) -> str | None:
    """A line that describes the loss between two checks; None if there was none."""
    if before.life != now.life:
        return f"it was emptied, or another one took its place: {before.accepted} deliveries had been accepted there"
    if now.order < before.order or now.accepted < before.accepted:
        since = datetime.fromtimestamp(now.order / 1000, tz=UTC).isoformat(timespec="seconds")
        return (
            f"it went back to an older state, of {since}: {before.accepted} accepted deliveries became {now.accepted}"
        )
    return None


class Watermark:
    """What one process knows of the state of Redis; with a `file`, across restarts."""

    def __init__(self, redis: Redis, keys: Keys, file: Path | None = None) -> None:
        self._redis, self._keys, self._file = redis, keys, file
        self._last = self._sure = self.written()
        self._written_at = float("-inf")

    async def look(self) -> None:
        """Check Redis, and log an error, once, if it lost data. Raises one of `REDIS_ERRORS`."""
        now = await self.now()
        if now is None:
            await self._redis.set(self._keys.life, secrets.token_hex(8), nx=True)
            now = await self.now()
        if now is None:  # emptied between the two calls
            return
        # Compare with the check before the last: a failover may lose the latest writes, which were not acknowledged.
        what = loss(self._sure, now) if self._sure else None
        is_as_before = self._last is not None and loss(self._last, now) is None
        self._sure, self._last = (self._last if is_as_before else now), now
        if what:
            log.error("redis has lost what it held: what was not finished is lost", what=what)
            await self._note(what)
        await asyncio.to_thread(self._write, now, at_once=bool(what))  # a slow disk must not block the event loop

    async def now(self) -> Mark | None:
        """The current state of Redis; None if it was never used."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.get(self._keys.life)
            pipe.get(self._keys.order)
            pipe.hget(self._keys.counts, "accepted")
            life, order, accepted = await pipe.execute()
        return None if life is None else Mark(life.decode(), float(order or 0), int(accepted or 0))

    async def noted(self) -> Loss | None:
        """A loss detected by any process within the last days."""
        kept = await self._redis.get(self._keys.lost)
        return Loss(*json.loads(kept)) if kept else None

    async def _note(self, what: str) -> None:
        at = datetime.now(tz=UTC).isoformat(timespec="seconds")
        await self._redis.set(self._keys.lost, json.dumps([at, what]), ex=NOTED_SECONDS)

    def written(self) -> Mark | None:
        """The state in the file; None if there is no file, or it is for another prefix."""
        with suppress(OSError, ValueError, TypeError):
            if self._file:
                prefix, *mark = json.loads(self._file.read_text(encoding="utf-8"))
                return Mark(*mark) if prefix == self._keys.prefix else None
        return None

    def _write(self, now: Mark, *, at_once: bool) -> None:
        if self._file is None or not (at_once or time.monotonic() - self._written_at > WRITTEN_SECONDS):
            return
        self._written_at = time.monotonic()
        with suppress(OSError):  # the spool on the same disk reports the error
            new = self._file.with_name(f"{self._file.name}.new")
            new.write_text(json.dumps([self._keys.prefix, *now]), encoding="utf-8")
            new.replace(self._file)


def beside(spool: Path) -> Path:
    """The file for a receiver's last known state of Redis: beside its spool."""
    return spool.with_name(f"{spool.name}.redis")
