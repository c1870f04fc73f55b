"""What a receiver does for its Redis once a second, beside storing: is all allowed, is all there, is there room?"""

import asyncio
import time
from pathlib import Path

import structlog
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from receiver.queue import permissions, watermark
from receiver.queue.connection import REDIS_ERRORS
from receiver.queue.keys import Keys
from receiver.queue.room import Room, folder_beside
from receiver.queue.watermark import Watermark

SECONDS = 1.0
AGAIN = 60.0
"""Seconds after which what is refused is tried again."""

log = structlog.get_logger()


class Upkeep:
    """Runs beside an intake, on a client of its own: a large payload may take longer than a sender may wait."""

    def __init__(self, redis: Redis, keys: Keys, spool: Path, *, replicas: bool) -> None:
        self._redis, self._keys, self._replicas = redis, keys, replicas
        self._watermark = Watermark(redis, keys, watermark.beside(spool))
        self._room = Room(redis, keys, folder_beside(spool))
        self._refused: list[str] | None = None  # None: not known yet
        self._tried_at = 0.0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            for step in (self._try_permissions, self._make_room, self._room.serve, self._watermark.look):
                try:
                    await step()
                except REDIS_ERRORS:
                    pass  # the intake tells of a Redis that is away or full
                except Exception:  # nobody else does this
                    log.exception("looking after redis failed")
            await asyncio.sleep(SECONDS)

    async def _make_room(self) -> None:
        try:
            memory = await self._redis.info("memory")
        except ResponseError:  # not allowed: who does not tell how full it is cannot be helped
            return
        await self._room.make(int(memory["used_memory"]), int(memory.get("maxmemory", 0)))

    async def _try_permissions(self) -> None:
        """Say what is refused, loudly; deliveries go to the spool meanwhile."""
        if self._refused == [] or (self._refused and time.monotonic() - self._tried_at < AGAIN):
            return
        before, self._tried_at = self._refused, time.monotonic()
        self._refused = await permissions.refusals(self._redis, self._keys, replicas=self._replicas)
        if before != self._refused:
            for line in self._refused:
                log.error("redis refuses what the kit needs: deliveries wait in the spool", mend=line)
        if before and not self._refused:
            log.info("redis allows all that the kit needs")
