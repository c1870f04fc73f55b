"""The one atomic step that makes a 200 a promise: claim the idempotency key and write the job, or spool both.

Deliveries that arrive together go to Redis together, in one script call; a lone one goes at once. When Redis is
away, slow, read-only or nearly full, the batch goes to the spool on disk, which drains by itself, in order, through
the same script. While it drains a new delivery goes to the spool only if something of its own subject waits there.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice

import structlog
from arq.connections import ArqRedis

from receiver import events
from receiver.acceptance import Acceptance, accept
from receiver.delivery import Delivery
from receiver.packing import pack_delivery, script_keys
from receiver.queue.batching import Batcher
from receiver.queue.keys import Keys
from receiver.spool import Entry, Spool, SpoolError
from receiver.spool.drain import Drain
from receiver.tally import tally
from receiver.watch import Watch

FLIGHTS = 2
"""Batches on their way to Redis at once: with one alone, receiver and Redis wait for each other in turn."""
SPOOL_AFTER = 0.5
"""Seconds that a batch may take in Redis before it goes to the spool, so that an answer takes 1 s at most."""
LEAST_WEIGHT = 4096
"""What a delivery weighs at least in a call: one call takes about a thousand, which Lua has room to unpack."""

log = structlog.get_logger()


class NotStored(Exception):
    """Neither Redis nor the spool could store the delivery: the sender must be told to come again."""


class Intake:
    """Stores deliveries, on `replicas` of Redis's replicas, too; `watch.run()` has to be running meanwhile.

    `redis` answers within the time that a sender may wait, `draining` within the times of `spool.drain`.
    """

    def __init__(self, redis: ArqRedis, draining: ArqRedis, keys: Keys, spool: Spool, replicas: int = 0) -> None:
        self._redis, self._keys, self._replicas = redis, keys, replicas
        self._script_keys = script_keys(keys)
        self._batcher: Batcher[Sequence[Entry], Sequence[Acceptance]] = Batcher(self._send, flights=FLIGHTS)
        self.spool = spool
        self.drain = Drain(spool, lambda items, seconds: self._to_redis(items, draining, seconds))
        self.watch = Watch(redis, spool, self.drain, probe=lambda: self._to_redis([], redis, SPOOL_AFTER))

    async def accept_all(self, deliveries: Sequence[Delivery]) -> Sequence[Acceptance]:
        """Store what came in one request, in one step and in order; all is safe on a disk when this returns.

        Raises `NotStored` unless all of it is: what was stored is a duplicate when the sender comes again. A caller
        that is cancelled (the sender hung up) does not abort what is being stored.
        """
        entries, weight = [], 0
        for delivery in deliveries:
            tally.latest[events.counted_as(delivery.event_type)] = delivery.received_us / 1_000_000
            item = pack_delivery(self._keys, delivery)
            weight += max(len(item), LEAST_WEIGHT)
            entries.append(Entry(item, delivery.subject))
        acceptances = await self._batcher.add(entries, weight)
        if Acceptance.NOT_STORED in acceptances:
            self.watch.failed_at = time.monotonic()
            log.error("delivery not stored", delivery=deliveries[0].id, error=self.spool.trouble)
            raise NotStored
        if self.watch.failed_at:
            self.watch.failed_at = 0.0
        if Acceptance.CONFLICT in acceptances:
            for delivery, acceptance in zip(deliveries, acceptances, strict=True):
                if acceptance is Acceptance.CONFLICT:
                    log.warning("conflict: same key, other bytes", delivery=delivery.id, source=delivery.source)
        return acceptances

    async def until_stored(self) -> None:
        """Return when everything accepted so far is stored."""
        await self._batcher.until_answered()

    async def _send(self, requests: Sequence[Sequence[Entry]]) -> Sequence[Sequence[Acceptance]]:
        acceptances = iter(await self._to_redis_or_spool([entry for entries in requests for entry in entries]))
        return [list(islice(acceptances, len(entries))) for entries in requests]

    async def _to_redis_or_spool(self, entries: Sequence[Entry]) -> Sequence[Acceptance]:
        """To Redis while it is well; what follows something of its own subject in the spool goes there, too."""
        if not self.watch.is_well:
            return await self._to_spool(entries)
        if self.spool.is_empty():
            return await self._straight_to_redis(entries)
        waiting = await self._waiting({entry.subject for entry in entries})
        follows = [entry.subject in waiting for entry in entries]
        behind = [entry for entry, does in zip(entries, follows, strict=True) if does]
        others = [entry for entry, does in zip(entries, follows, strict=True) if not does]
        acceptances = await asyncio.gather(self._straight_to_redis(others), self._to_spool(behind))
        straight, spooled = map(iter, acceptances)
        return [next(spooled if does else straight) for does in follows]

    async def _straight_to_redis(self, entries: Sequence[Entry]) -> Sequence[Acceptance]:
        try:
            return await self._to_redis([entry.item for entry in entries], self._redis, SPOOL_AFTER) if entries else []
        except Exception as error:  # noqa: BLE001 - after any failure the spool is left
            self.watch.note_trouble(error)
        with suppress(SpoolError):
            return await self._spooled(entries)
        return [Acceptance.NOT_STORED] * len(entries)

    async def _to_spool(self, entries: Sequence[Entry]) -> Sequence[Acceptance]:
        """To the spool; to Redis if the spool cannot be written: storing matters more than order and free memory."""
        with suppress(SpoolError):
            return await self._spooled(entries) if entries else []
        with suppress(Exception):
            return await self._to_redis([entry.item for entry in entries], self._redis, SPOOL_AFTER)
        return [Acceptance.NOT_STORED] * len(entries)

    async def _spooled(self, entries: Sequence[Entry]) -> Sequence[Acceptance]:
        """Raises `SpoolError`."""
        await self.spool.write(entries)
        tally.count("spooled", len(entries))
        return [Acceptance.SPOOLED] * len(entries)

    async def _waiting(self, subjects: set[str]) -> set[str]:
        try:
            return await self.spool.waiting(subjects)
        except SpoolError:  # nothing waits for a spool that cannot be read
            return set()

    async def _to_redis(self, items: Sequence[bytes], redis: ArqRedis, seconds: float) -> list[Acceptance]:
        return await accept(redis, self._script_keys, items, seconds, self._replicas)
