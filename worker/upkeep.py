"""A worker's maintenance every few seconds: checks permissions and data loss, and takes over jobs of version 0.1."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog
from redis.asyncio import Redis

from receiver.queue import permissions
from receiver.queue.connection import REDIS_ERRORS
from receiver.queue.keys import Keys
from receiver.queue.watermark import Watermark
from worker.lease.claims import Claims

SECONDS = 5.0

log = structlog.get_logger()


class Upkeep:
    """Runs beside a worker until cancelled. `refused` has a line for each missing permission in Redis.

    If one is missing, `stop` is called, because the worker would run handlers without recording their outcome.
    """

    def __init__(self, redis: Redis, keys: Keys, claims: Claims, stop: Callable[[], object]) -> None:
        self._redis, self._keys, self._claims, self._stop = redis, keys, claims, stop
        self._watermark = Watermark(redis, keys)
        self._is_allowed = False
        self.refused: list[str] = []

    async def run(self) -> None:
        """Run all checks every few seconds."""
        while not self.refused:
            with suppress(*REDIS_ERRORS):  # the worker's claims log that Redis is away
                await self._once()
            await asyncio.sleep(SECONDS)

    async def _once(self) -> None:
        if not self._is_allowed and not await self.is_allowed():
            self._stop()
            return
        await self._watermark.look()
        moved = total = 0
        while moved := await self._claims.adopt():
            total += moved
        if total:
            log.info("jobs of an older version taken over", jobs=total)

    async def is_allowed(self) -> bool:
        """Whether Redis grants all permissions that a worker needs. Raises one of `REDIS_ERRORS`."""
        self.refused = await permissions.refusals(self._redis, self._keys)
        self._is_allowed = not self.refused
        return self._is_allowed
