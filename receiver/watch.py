"""Checks Redis and the spool several times a second, drains the spool, and logs changes.

Its state decides whether deliveries go to Redis or to the spool, and is what `/healthz` reports. No error ends it,
because nothing else would notice that Redis is back and drain the spool.
"""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog
from arq.connections import ArqRedis
from redis.exceptions import OutOfMemoryError, ResponseError

from receiver.background import tick
from receiver.queue.connection import REDIS_ERRORS
from receiver.queue.permissions import refusal
from receiver.spool import Spool, SpoolError, damage, recover
from receiver.spool.drain import Drain

PAUSE = 0.25
"""Seconds between two checks."""
QUIET_PAUSE = 1.0
"""Seconds between two checks of a spool that is empty and in order."""
MEMORY_SECONDS = 1.0
"""Seconds between two checks of Redis's memory, each of which may take half a second."""
FULL = 0.75
"""Share of `maxmemory` above which deliveries are spooled: a full Redis cannot claim jobs, and would never drain."""
FULL_SECONDS = 5.0
"""Seconds without writes to a Redis that was out of memory and does not report its memory use."""
FAILING_SECONDS = 60.0
"""Seconds for which a failed store counts if no other follows: the load balancer may send no request after it."""

log = structlog.get_logger()


class Watch:
    """The state of Redis and of the last store. `probe` stores nothing, and raises what storing raises.

    Deliveries go to the spool while `redis_away` or `redis_full` is set. `memory_unknown`: Redis does not report its
    memory use. `failed_at`: when neither Redis nor the spool could store a delivery (monotonic seconds, 0 for never).
    """

    def __init__(self, redis: ArqRedis, spool: Spool, drain: Drain, probe: Callable[[], Awaitable[object]]) -> None:
        self._redis, self._spool, self._drain, self._probe = redis, spool, drain, probe
        self.redis_away = self.redis_full = self.memory_unknown = False
        self.failed_at = 0.0
        self._full_until = self._memory_at = 0.0
        self._trouble = ""
        self._short_outages = 0  # outages that ended before the next check
        self._told: dict[str, object] = {}

    @property
    def is_well(self) -> bool:
        """Whether Redis takes deliveries, as far as known."""
        return not (self.redis_away or self.redis_full)

    def is_failing(self) -> bool:
        """Whether the last delivery could not be stored at all."""
        return bool(self.failed_at) and time.monotonic() - self.failed_at < FAILING_SECONDS

    def note_trouble(self, error: BaseException) -> None:
        """Derive the state of Redis from a failed call: out of memory, or away."""
        self._trouble = (refusal(error) or f"{type(error).__name__}: {error}")[:200]
        if isinstance(error, OutOfMemoryError):
            self.redis_full = True
            self._full_until = time.monotonic() + FULL_SECONDS
        else:
            self.redis_away = True

    async def run(self) -> None:
        """Run all checks until cancelled."""
        async with asyncio.TaskGroup() as group:
            for step in (self._look_at_redis, self._empty_spool):
                group.create_task(_for_ever(step, lambda: PAUSE))
            for step in (self._spool.look, self._bring_back_left, self._retry):
                group.create_task(_for_ever(step, self._pause))

    def _pause(self) -> float:
        """Until the spool's next check: longer while nothing is in it, because each reads the file and its folder."""
        spool = self._spool
        return PAUSE if spool.depth or spool.aside or spool.trouble else QUIET_PAUSE

    async def _look_at_redis(self) -> None:
        try:
            if self.redis_away or self.is_failing():
                await self._probe()  # a write, because Redis may answer reads only
                self._short_outages += self.redis_away and not self._told.get("away")
                self.redis_away, self.failed_at = False, 0.0
            if time.monotonic() - self._memory_at > MEMORY_SECONDS:
                await self._look_at_memory()
        except REDIS_ERRORS as error:
            self.note_trouble(error)
        self._tell()

    async def _look_at_memory(self) -> None:
        try:
            async with asyncio.timeout(0.5):
                memory = await self._redis.info("memory")
            used, limit = memory["used_memory"], memory["maxmemory"]
        except (ResponseError, LookupError):  # INFO is not allowed on some managed services, and not required
            self.memory_unknown = True
            self.redis_full = time.monotonic() < self._full_until
        else:
            self.memory_unknown = False
            self.redis_full = bool(limit) and used > FULL * limit
        self._memory_at = time.monotonic()

    async def _bring_back_left(self) -> None:
        left = [] if self._spool.trouble else self._spool.left_files()
        if not (left and self._spool.take_lease()):
            return
        try:
            report = await recover.bring_back(left[0], self._spool)
            log.info("brought back what was left to a frozen receiver", deliveries=report.brought_back)
        except sqlite3.Error:
            damage.rename(left[0], "damaged")
        finally:
            self._spool.release_lease()

    async def _empty_spool(self) -> None:
        stored = 0
        try:
            while self.is_well and not self._spool.is_empty() and self._spool.take_lease():
                count = await self._drain.step()
                if count is None:
                    break
                stored += count
        except REDIS_ERRORS as error:
            self.note_trouble(error)
        finally:
            self._spool.release_lease()  # another receiver may reach Redis when this one cannot
            if stored:
                log.info("spool drained", deliveries=stored)

    async def _retry(self) -> None:
        if self.is_well and self._spool.aside:
            try:
                await self._drain.retry()
            except REDIS_ERRORS as error:
                self.note_trouble(error)

    def _tell(self) -> None:
        """Log what has changed since the last call; only here, so that no delivery waits for the log."""
        spool = self._spool
        if self._is_news("away", self.redis_away):
            if self.redis_away:
                log.warning("redis is away: spooling", error=self._trouble)
            else:
                log.info("redis is back", spooled=spool.depth)
        if self._is_news("minute", time.monotonic() // 60) and self._short_outages:
            log.warning(
                "redis was too slow or failed for a moment: spooled", times=self._short_outages, error=self._trouble
            )
            self._short_outages = 0
        is_full = self.redis_full
        if self._is_news("full", is_full):
            log.warning("redis is nearly full: spooling" if is_full else "redis has room again")
        if self._is_news("memory", self.memory_unknown) and self.memory_unknown:
            log.warning("redis does not tell how full it is: deliveries go to the spool only once it refuses them")
        if self._is_news("spool", bool(spool.trouble)):
            if spool.trouble:
                log.error("spool cannot be used: redis alone stores", error=spool.trouble)
            else:
                log.info("spool can be used again")
        if self._is_news("damaged", (spool.damaged, time.monotonic() // 3600)) and spool.damaged:
            mend = "python -m receiver spool recover FILE"
            log.error("damaged spool files are kept: what is in them is not handled", files=spool.damaged, mend=mend)

    def _is_news(self, what: str, state: object) -> bool:
        is_news = state != self._told.get(what, False)
        self._told[what] = state
        return is_news


async def _for_ever(step: Callable[[], Awaitable[None]], pause: Callable[[], float]) -> None:
    while True:
        with suppress(Exception):
            try:
                await step()
            except SpoolError:
                pass  # `_tell` logs it once
            except Exception:
                log.exception("checking the spool failed")
        await tick(pause())
