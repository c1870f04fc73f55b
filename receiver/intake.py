"""The one atomic step that makes a 200 a promise: claim the idempotency key and write the job, or spool both.

Deliveries that arrive together go to Redis together, in one script call; a lone one goes at once. When Redis is
away, slow, read-only or nearly full, the batch goes to the spool on disk, which drains by itself, in order, through
the same script. While anything waits in the spool new deliveries queue up behind it.
"""

import asyncio
import time
from collections.abc import Sequence
from enum import IntEnum

import msgpack
import structlog
from arq.connections import ArqRedis
from redis.exceptions import RedisError, ResponseError

from receiver.connection import TROUBLE
from receiver.delivery import Delivery, job_key
from receiver.keys import Keys
from receiver.scripts import Script
from receiver.spool import Spool, SpoolError
from receiver.together import Together

ACCEPT = Script.beside(__file__, "accept.lua")
FLIGHTS = 2
"""Batches on their way to Redis at once: with one alone, receiver and Redis wait for each other in turn."""
DRAIN_COUNT = 256
DRAIN_BYTES = 4 * 1024 * 1024
PATIENCE = 0.5
"""Seconds that a batch may take in Redis before it goes to the spool: an answer takes 1 s at most, whatever it does."""
REPLICATION = 0.35
"""Seconds of it that replicas have, where WAIT_REPLICAS asks for some."""
FULL = 0.75
"""Of `maxmemory`: a full Redis cannot even claim jobs, so its queue would never drain again."""

log = structlog.get_logger()


class Fate(IntEnum):
    """What became of a delivery; the first three are what `accept.lua` answers."""

    STORED = 1
    DUPLICATE = 2
    CONFLICT = 3
    SPOOLED = 4


FATES = {fate.value: fate for fate in Fate}


class NotStored(Exception):
    """Neither Redis nor the spool could store the delivery: the sender must be told to come again."""


class NotReplicated(RedisError):
    """Redis took a batch, but fewer replicas than asked for have it: a failover now could lose it."""


class Intake:
    """Stores deliveries, on `replicas` of Redis's replicas, too; `watch` has to be running meanwhile."""

    def __init__(self, redis: ArqRedis, keys: Keys, spool: Spool, replicas: int = 0) -> None:
        self._redis, self._keys, self.spool, self._replicas = redis, keys, spool, replicas
        self._script_keys = script_keys(keys)
        self._together: Together[bytes, Fate] = Together(self._to_redis_or_spool, flights=FLIGHTS)
        self.redis_away = False
        self.redis_full = False

    async def accept(self, delivery: Delivery) -> Fate:
        """Store one delivery; it is safe on a disk when this returns. Raises `NotStored`.

        A caller that is cancelled (the sender hung up) does not abort what is being stored.
        """
        packed = item(self._keys, delivery)
        try:
            fate = await self._together.add(packed, len(packed))
        except SpoolError as error:
            log.error("delivery not stored", delivery=delivery.id, error=str(error))  # noqa: TRY400 - one line will do
            raise NotStored from None
        if fate is Fate.CONFLICT:
            log.warning("conflict kept: same key, other bytes", delivery=delivery.id, source=delivery.source)
        return fate

    async def settle(self) -> None:
        """Return when everything accepted so far is stored."""
        await self._together.settle()

    async def _to_redis_or_spool(self, items: Sequence[bytes]) -> Sequence[Fate]:
        if not (self.spool.depth or self.redis_away or self.redis_full):
            try:
                return await self._to_redis(items)
            except Exception as error:  # noqa: BLE001 - whatever it is, there is a disk
                self._set_away(error)
        await self.spool.write(items)
        return [Fate.SPOOLED] * len(items)

    async def _to_redis(self, items: Sequence[bytes]) -> list[Fate]:
        async with asyncio.timeout(PATIENCE):
            return [FATES[number] for number in await self._store(batch(items))]

    async def _store(self, packed: bytes) -> list[int]:
        if not self._replicas:
            stored: list[int] = await ACCEPT(self._redis, self._script_keys, [packed])
            return stored
        wait = self._replicas, round(REPLICATION * 1000)
        stored, replicas = await ACCEPT.replicated(self._redis, self._script_keys, [packed], wait)
        if replicas < self._replicas:
            raise NotReplicated(f"{replicas} replicas have it, WAIT_REPLICAS asks for {self._replicas}")
        return stored

    async def watch(self) -> None:
        """Look after Redis's memory once a second, and drain the spool whenever it can take it."""
        looked = 0.0
        while True:
            try:
                if self.redis_away or time.monotonic() - looked > 1:
                    await self._look_at_memory()
                    looked = time.monotonic()
                if not self.redis_full:
                    await self._drain()
                self._set_back()
            except TROUBLE as error:
                self._set_away(error)
                looked = 0.0  # it is back when it answers, and what is spooled can be written
            except SpoolError as error:
                log.error("spool unreadable", error=str(error))  # noqa: TRY400 - one line, no traceback
            except Exception:  # without this task nothing would leave the spool any more, and nobody would notice
                log.exception("looking after the spool failed")
            await asyncio.sleep(0.25)

    async def _drain(self) -> None:
        drained = 0
        while items := await self.spool.read(DRAIN_COUNT, DRAIN_BYTES):
            await self._to_redis([packed for _, packed in items])
            await self.spool.forget(items[-1][0])
            drained += len(items)
        if drained:
            log.info("spool drained", deliveries=drained)

    async def _look_at_memory(self) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                memory = await self._redis.info("memory")
        except ResponseError:  # not allowed, as on some managed services: only nice to know
            return
        limit = memory.get("maxmemory", 0)
        full = bool(limit) and memory["used_memory"] > FULL * limit
        if full != self.redis_full:
            self.redis_full = full
            log.warning("redis is nearly full: spooling" if full else "redis has room again")

    def _set_away(self, error: BaseException) -> None:
        if not self.redis_away:
            log.warning("redis is away: spooling", error=f"{type(error).__name__}: {error}")
        self.redis_away = True

    def _set_back(self) -> None:
        if self.redis_away:
            log.info("redis is back", spooled=self.spool.depth)
        self.redis_away = False


async def accept_directly(redis: ArqRedis, keys: Keys, delivery: Delivery) -> Fate:
    """Store one delivery outside of a receiver (a conflict that is replayed): the same step, without the spool."""
    answers = await ACCEPT(redis, script_keys(keys), [batch([item(keys, delivery)])])
    return Fate(answers[0])


def script_keys(keys: Keys) -> list[str]:
    return [keys.queue, keys.order, keys.wake, keys.counts, keys.dead]


def batch(items: Sequence[bytes]) -> bytes:
    """The msgpack list of items that were packed before."""
    return b"".join([msgpack.Packer().pack_array_header(len(items)), *items])


def item(keys: Keys, delivery: Delivery) -> bytes:
    """A delivery as `accept.lua` and the spool take it."""
    job_id = delivery.job_id
    conflict_id = f"{delivery.id}:conflict:{delivery.digest.hex()[:16]}"
    packed: bytes = _packer.pack(
        [
            keys.delivery(delivery.id),
            job_key(job_id),
            job_id,
            delivery.digest[:16],
            str(delivery.received_us),
            delivery.key,
            delivery.source,
            delivery.event_type,
            delivery.subject,
            delivery.job(),
            keys.dead_letter(conflict_id),
            conflict_id,
        ]
    )
    return packed


_packer = msgpack.Packer(use_bin_type=False)  # Lua knows one kind of string
