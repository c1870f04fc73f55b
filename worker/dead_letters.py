"""Dead letters and replay: kept, payload and all, until someone replays or drops them.

A dead letter is one handler's (or a whole delivery's, when it could not be read); a conflict is a delivery whose key
was taken by other bytes. Nothing here expires. A replay never asks the deduplication, and never runs a handler that
was already done unless it is forced.
"""

import time
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from arq.connections import ArqRedis
from redis.exceptions import WatchError

from receiver import keys as key_names
from receiver.delivery import Delivery, Sources, delivery_id, job_key, unpack
from receiver.intake import accept_directly
from receiver.keys import Keys
from worker.claims import script
from worker.outcomes import PARSE, dead_letter_id, retry_job, retry_job_id, states


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What is kept. `kind` is dead, conflict or job; `at` is when it died; `tries` counts its attempts."""

    id: str
    kind: str
    delivery: str
    handler: str
    type: str
    reason: str
    tries: int
    at: datetime
    job: bytes

    def summary(self) -> dict[str, Any]:
        """Everything but the payload, for lists."""
        return {
            "id": self.id,
            "kind": self.kind,
            "delivery": self.delivery,
            "handler": self.handler,
            "type": self.type,
            "reason": self.reason,
            "tries": self.tries,
            "at": self.at.isoformat(timespec="milliseconds"),
        }

    def received(self) -> Delivery | None:
        """The delivery that is kept; None when the job is not one of the kit's."""
        try:
            return Delivery.from_job(unpack(self.job)["a"][0])
        except (ValueError, TypeError, LookupError):
            return None

    def body(self) -> bytes | None:
        """The body as it was received; None when the job is not one of the kit's."""
        delivery = self.received()
        return delivery.body if delivery else None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which dead letters: all fields given must match. `older_than` in seconds, `reason` as part of the text."""

    handler: str | None = None
    type: str | None = None
    kind: str | None = None
    reason: str | None = None
    older_than: float | None = None

    def matches(self, letter: DeadLetter) -> bool:
        return (
            (self.handler is None or letter.handler == self.handler)
            and (self.type is None or letter.type == self.type)
            and (self.kind is None or letter.kind == self.kind)
            and (self.reason is None or self.reason.casefold() in letter.reason.casefold())
        )


class Desk:
    """What an operator does with deliveries: look, replay, drop."""

    def __init__(self, redis: ArqRedis, keys: Keys) -> None:
        self._redis, self._keys = redis, keys
        self._replay_script = redis.register_script(script("replay.lua"))

    async def count(self) -> int:
        """Dead letters and conflicts kept."""
        kept: int = await self._redis.zcard(self._keys.dead)
        return kept

    async def letters(self, which: Filter) -> AsyncIterator[DeadLetter]:
        """The matching ones, oldest first, read a page at a time."""
        newest = "+inf" if which.older_than is None else (time.time() - which.older_than) * 1000
        ids = await self._redis.zrangebyscore(self._keys.dead, "-inf", newest)
        for start in range(0, len(ids), 500):
            async with self._redis.pipeline(transaction=False) as pipe:
                for dead_id in ids[start : start + 500]:
                    pipe.hgetall(self._keys.dead_letter(dead_id.decode()))
                rows = await pipe.execute()
            for dead_id, fields in zip(ids[start : start + 500], rows, strict=True):
                if fields and which.matches(letter := _letter(dead_id.decode(), fields)):
                    yield letter

    async def letter(self, dead_id: str) -> DeadLetter | None:
        """One dead letter by its id."""
        fields = await self._redis.execute_command("HGETALL", self._keys.dead_letter(dead_id))
        return _letter(dead_id, fields) if fields else None

    async def drop(self, letter: DeadLetter) -> bool:
        """Forget a dead letter for ever. False when it was gone already."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.zrem(self._keys.dead, letter.id)
            pipe.delete(self._keys.dead_letter(letter.id))
            removed, _ = await pipe.execute()
        return bool(removed)

    async def replay_letter(self, letter: DeadLetter) -> bool:
        """Run what a dead letter holds again, with its whole budget. False when it was gone already."""
        if letter.kind == "job":
            return await self._requeue(letter)
        delivery = Delivery.from_job(unpack(letter.job)["a"][0])
        if letter.kind == "conflict":
            return await self._accept_conflict(letter, delivery)
        return await self._replay(delivery, letter.handler, letter.tries, "dead")

    async def replay_handler(self, delivery_id: str, handler: str, state: str, attempt: int) -> bool:
        """Run one handler of a delivery again, whatever its state. False when nothing is stored to run it with."""
        if state == "dead":
            letter = await self.letter(dead_letter_id(delivery_id, handler))
            return letter is not None and await self.replay_letter(letter)
        if state == "retry":  # it waits: let it not wait any longer
            now = time.time_ns() // 1_000_000
            moved = await self._redis.zadd(
                key_names.QUEUE, {retry_job_id(delivery_id, handler, attempt): now}, xx=True, ch=True
            )
            return bool(moved)
        kept = await self._redis.get(self._keys.payload(delivery_id))
        return kept is not None and await self._replay(
            Delivery.from_job(unpack(kept)["a"][0]), handler, attempt, "done"
        )

    async def story(self, delivery_id: str) -> dict[str, Any] | None:
        """Everything that is known of a delivery, or None when it is not (or no longer) remembered."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(self._keys.delivery(delivery_id))
            pipe.lrange(self._keys.attempts(delivery_id), 0, -1)
            pipe.pttl(self._keys.delivery(delivery_id))
            pipe.exists(self._keys.payload(delivery_id))
            record, attempts, remembered_ms, kept = await pipe.execute()
        if not record:
            return None
        fields = {name.decode(): value for name, value in record.items()}
        failures = [unpack(attempt) for attempt in attempts]
        return {
            "delivery": delivery_id,
            "key": fields.get("k", b"").decode(),
            "source": fields.get("s", b"event-id").decode(),
            "type": fields.get("t", b"").decode(),
            "sha256": fields.get("d", b"").hex(),
            "first_seen": _iso(int(fields.get("a", 0)) / 1000),
            "duplicates": int(fields.get("n", 0)),
            "conflicts": int(fields.get("c", 0)),
            "open": remembered_ms == -1,
            "forgotten_in_s": None if remembered_ms < 0 else remembered_ms // 1000,
            "payload_kept": bool(kept),
            "handlers": _handlers(fields, failures),
        }

    async def _replay(self, delivery: Delivery, handler: str, attempt: int, state: str) -> bool:
        if handler == PARSE:
            job, job_id = delivery.job(), f"{delivery.id}:{uuid.uuid4().hex[:12]}"
        else:
            job = retry_job(delivery, handler, attempt + 1, tries=0, since_ms=0)
            job_id = retry_job_id(delivery.id, handler, attempt)
        dead_id = dead_letter_id(delivery.id, handler)
        record: list[str | bytes] = ["k", delivery.key, "s", delivery.source, "t", delivery.event_type]
        record += ["d", delivery.digest[:16], "a", str(delivery.received_us)]
        keys = self._keys
        replayed = await self._replay_script(
            keys=[key_names.QUEUE, keys.wake, keys.counts, keys.dead, keys.delivery(delivery.id)],
            args=[handler, attempt, state, job_id, job_key(job_id), job, dead_id, keys.dead_letter(dead_id), *record],
        )
        return bool(replayed)

    async def _requeue(self, letter: DeadLetter) -> bool:
        """A job that is not the kit's goes back as it was, under a fresh id. Who comes second finds it gone."""
        job_id, now, dead_key = uuid.uuid4().hex, time.time_ns() // 1_000_000, self._keys.dead_letter(letter.id)
        async with self._redis.pipeline(transaction=True) as pipe:
            await pipe.watch(dead_key)
            if not await pipe.exists(dead_key):
                return False
            pipe.multi()
            pipe.set(job_key(job_id), letter.job)
            pipe.zadd(key_names.QUEUE, {job_id: now})
            pipe.zrem(self._keys.dead, letter.id)
            pipe.delete(dead_key)
            try:
                await pipe.execute()
            except WatchError:
                return False
        return True

    async def _accept_conflict(self, letter: DeadLetter, delivery: Delivery) -> bool:
        """The other event of a shared key becomes a delivery of its own: its key is the shared one and its digest."""
        key = f"{delivery.key}#{delivery.digest.hex()[:16]}"
        own = delivery._replace(key=key, source="conflict", id=delivery_id("conflict", key))
        await accept_directly(self._redis, self._keys, own)
        return await self.drop(letter)


async def find(desk: Desk, sources: Sources, name: str) -> dict[str, Any] | None:
    """The story of a delivery by its id, or by its idempotency key (the event id) as the sender wrote it."""
    candidates = [name, *(delivery_id(word, name) for word in sources.words)]
    for candidate in candidates:
        if story := await desk.story(candidate):
            return story
    return None


def _handlers(fields: Mapping[str, bytes], failures: list[Any]) -> dict[str, Any]:
    values = {name: value.decode() for name, value in fields.items() if "." in name or name == PARSE}
    accepted_ms = int(fields.get("a", 0)) // 1000
    return {
        handler: {
            "state": state,
            "attempts": attempt,
            "at": _iso(accepted_ms + float(values[handler].split(" ")[2])),
            "failures": [
                {"attempt": number, "at": _iso(at), "then": then, "error": error}
                for name, number, at, then, error in failures
                if name == handler
            ],
        }
        for handler, (state, attempt) in states(values).items()
    }


def _letter(dead_id: str, fields: Mapping[bytes, bytes]) -> DeadLetter:
    text = {name.decode(): value for name, value in fields.items()}
    kind = text.get("kind", b"dead").decode()
    reason = text.get("reason", b"").decode()
    if kind == "conflict":
        reason = (
            f"the key {text['key'].decode()!r} was taken by other bytes: "
            f"sha256 {text['first_digest'].hex()} first, {text['digest'].hex()} now"
        )
    return DeadLetter(
        id=dead_id,
        kind=kind,
        delivery=text.get("delivery", dead_id.partition(":")[0].encode()).decode(),
        handler=text.get("handler", b"").decode(),
        type=text.get("type", b"").decode(),
        reason=reason,
        tries=int(text.get("tries", 0)),
        at=datetime.fromtimestamp(int(text["at"]) / 1000, tz=UTC),
        job=text["job"],
    )


def _iso(ms: float) -> str:
    return datetime.fromtimestamp(ms / 1000, tz=UTC).isoformat(timespec="milliseconds")
