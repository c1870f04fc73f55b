"""A receiver's maintenance of Redis, once a second: checks permissions and data loss, and makes room in memory."""

import time
from pathlib import Path

import structlog
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from receiver.background import tick
from receiver.queue import permissions, watermark
from receiver.queue.connection import REDIS_ERRORS
from receiver.queue.keys import Keys
from receiver.queue.room import Room, folder_beside
from receiver.queue.watermark import Watermark

SECONDS = 1.0
RETRY_SECONDS = 60.0
"""Seconds between two checks while Redis refuses a command."""

log = structlog.get_logger()


class Upkeep:
    """Runs beside an intake, with its own client: moving a large payload may exceed the intake's short time-outs."""

    def __init__(self, redis: Redis, keys: Keys, spool: Path, *, replicas: bool) -> None:
        self._redis, self._keys, self._replicas = redis, keys, replicas
        self._watermark = Watermark(redis, keys, watermark.beside(spool))
        self._room = Room(redis, keys, folder_beside(spool))
        self._refused: list[str] | None = None  # None: not known yet
        self._tried_at = 0.0

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            for step in (self._try_permissions, self._make_room, self._room.serve, self._watermark.look):
                try:
                    await step()
                except REDIS_ERRORS:
                    pass  # the intake logs that Redis is away or full
                except Exception:  # the other steps must go on
                    log.exception("checking redis failed")
            await tick(SECONDS)

    async def _make_room(self) -> None:
        try:
            memory = await self._redis.info("memory")
        except ResponseError:  # INFO is not allowed: memory use is unknown
            return
        await self._room.make(int(memory["used_memory"]), int(memory.get("maxmemory", 0)))

    async def _try_permissions(self) -> None:
        """Log an error for what Redis refuses; until it is allowed, deliveries go to the spool."""
        if self._refused == [] or (self._refused and time.monotonic() - self._tried_at < RETRY_SECONDS):
            return
        before, self._tried_at = self._refused, time.monotonic()
        self._refused = await permissions.refusals(self._redis, self._keys, replicas=self._replicas)
        if before != self._refused:
            for line in self._refused:
                log.error("redis refuses what the kit needs: deliveries wait in the spool", mend=line)
        if before and not self._refused:
            log.info("redis allows all that the kit needs")
