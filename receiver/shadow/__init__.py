"""Shadow deduplication: candidates for the idempotency key beside the enforced one, on live traffic.

    answered ─▶ waits in memory ─▶ all candidates' keys ─▶ compared in Redis ─▶ examples, redacted ─▶ `receiver keys`

Nothing of it decides anything: it runs after the answer, and gives way where there is too much, or where Redis is
away or short of memory. Candidate and enforced key are compared with each other, and not with what became of the
delivery, so that neither the order of arrival nor the number of receivers matters.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import msgpack
import structlog
from arq.utils import timestamp_ms
from redis.asyncio import Redis

from receiver import content
from receiver.batches import PART
from receiver.delivery import Delivery
from receiver.idempotency import IdempotencyRule, delivery_id
from receiver.queue.connection import REDIS_ERRORS
from receiver.queue.jobs import job_key, unpack
from receiver.queue.keys import Keys
from receiver.queue.scripts import Script
from receiver.shadow.difference import difference
from receiver.sources import BODY, is_by_content
from receiver.visible import to_json
from receiver.watch import Watch

PAUSE = 0.2
"""Seconds between two looks at what waits."""
MOST_WAITING, MOST_BYTES = 2000, 8 << 20
"""Deliveries that wait to be looked at, and bytes of their bodies; what comes beyond is counted as skipped."""
TOGETHER = 50
"""Deliveries in one call."""
MOST_ENTRIES = 100_000
"""What one of the two hashes in Redis holds at most: an entry for each delivery and one for each key, of 120 bytes."""
SHADOW = Script.load("shadow.lua")

log = structlog.get_logger()


class Seen(NamedTuple):
    """A delivery that was answered, and the headers that its keys are found in."""

    headers: Mapping[str, str]
    delivery: Delivery


class Shadow:
    """Looks at what was answered; `run()` has to be running. `redis` must not repeat a call whose reply was lost."""

    def __init__(self, candidates: IdempotencyRule, enforced: Sequence[str], redis: Redis, keys: Keys) -> None:
        self._rule, self._redis, self._keys = candidates, redis, keys
        self._of = to_json({"enforced": list(enforced), "candidates": list(candidates.words)}, None)
        self._by_content = msgpack.packb([int(is_by_content(word)) for word in candidates.words])
        self._waiting: deque[Seen] = deque()
        self._bytes = self._skipped = 0

    def see(self, headers: Mapping[str, str], deliveries: Sequence[Delivery]) -> None:
        """Remember those of one request for later; what came in a batch has only the headers that it keeps."""
        for delivery in deliveries:
            if len(self._waiting) >= MOST_WAITING or self._bytes + len(delivery.body) > MOST_BYTES:
                self._skipped += 1
            else:
                self._bytes += len(delivery.body)
                self._waiting.append(Seen(delivery.headers if PART in delivery.more else headers, delivery))

    async def run(self, watch: Watch) -> None:
        """Look at what waits until cancelled; while `watch` finds Redis away or full, forget it."""
        while True:
            await asyncio.sleep(PAUSE)
            some, self._waiting, self._bytes = [*self._waiting], deque(), 0
            for start in range(0, len(some), TOGETHER):
                together = some[start : start + TOGETHER]
                try:
                    if watch.is_well:
                        await self.compare(together)
                    else:
                        self._skipped += len(together)
                except REDIS_ERRORS:
                    self._skipped += len(together)
                except Exception:  # the others can still be compared
                    log.exception("comparing candidate keys failed")

    async def compare(self, some: Sequence[Seen]) -> None:
        """Compare the keys of some deliveries with what is remembered, and keep what differs as an example."""
        rows = []
        for seen in some:
            rows.append(self._row(seen))
            await asyncio.sleep(0)  # a large body takes milliseconds: let requests pass
        skipped, self._skipped = self._skipped, 0
        arguments = [self._of, self._by_content, msgpack.packb(rows), skipped, MOST_ENTRIES]
        findings = await SHADOW(self._redis, [self._keys.shadow], arguments)
        for start in range(0, len(findings), 5):
            place, candidate, kind, number, other = findings[start : start + 5]
            example = await self._example(some[place - 1], other.decode())
            field = f"{candidate} {kind.decode()} example {number}"
            await self._redis.execute_command("HSET", self._keys.shadow, field, to_json(example, None))

    def _row(self, seen: Seen) -> tuple[str, str, list[str]]:
        """Id, digest, and the key of each candidate, shortened: 64 bits tell a hundred thousand apart."""
        found = self._rule.all_keys(seen.headers, seen.delivery.body)
        by_word = dict(found)
        short = [delivery_id(word, key)[:16] if (key := by_word[word]) else "" for word in self._rule.words]
        return seen.delivery.id, (by_word[BODY] or "")[:16], short

    async def _example(self, seen: Seen, other: str) -> dict[str, Any]:
        first = await self._kept(other)
        told = {"first": other, "second": seen.delivery.id, "at_ms": timestamp_ms()}
        if first is None or first.received_us == seen.delivery.received_us:
            return told | {"differences": None, "other": []}
        before, after = (self._payload(one) for one in (first, seen.delivery))
        return told | difference(before, after, self._rule.where)

    async def _kept(self, delivery: str) -> Delivery | None:
        """A delivery that was stored before, while its payload is still there."""
        accepted = await self._redis.execute_command("HGET", self._keys.delivery(delivery), "a")
        names = [job_key(f"{delivery}:{int(accepted or 0):x}"), self._keys.payload(delivery)]
        held = next(filter(None, await self._redis.mget(names)), None)
        with suppress(ValueError, TypeError, LookupError):
            return Delivery.from_job(unpack(held)["a"][0]) if held else None
        return None

    def _payload(self, delivery: Delivery) -> Any:
        try:
            return content.read(delivery.headers, delivery.body, self._rule.max_body_bytes)[0]
        except content.Unreadable:
            return hashlib.sha256(delivery.body).hexdigest()
