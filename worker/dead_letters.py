"""Dead letters and replay: kept, payload and all, until someone replays or drops them.

A dead letter is one handler's (or a whole delivery's, when it could not be read); a conflict is a delivery whose key
was taken by other bytes. Nothing here expires. A replay bypasses deduplication, and never runs a handler that
was already done unless it is forced.
"""

import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from arq.connections import ArqRedis
from arq.utils import timestamp_ms

from receiver.acceptance import accept_directly
from receiver.delivery import Delivery
from receiver.idempotency import delivery_id
from receiver.queue import letters
from receiver.queue.jobs import job_key, unpack
from receiver.queue.keys import Keys
from receiver.queue.scripts import Script
from worker.elsewhere import Recalls
from worker.letter import FIELDS, DeadLetter, Filter
from worker.outcomes import dead_letter_id, states
from worker.transitions import PARSE, retry_job

PAGE = 500
"""Dead letters read at a time."""
_REPLAY, _DROP = Script.load("replay.lua"), Script.load("drop.lua")


class Operator:
    """What an operator does with deliveries: look, replay, drop."""

    def __init__(self, redis: ArqRedis, keys: Keys) -> None:
        self.redis, self.keys = redis, keys
        self._recalls = Recalls(redis, keys)

    async def count(self) -> int:
        """Dead letters and conflicts kept."""
        kept: int = await self.redis.zcard(self.keys.dead)
        return kept

    async def dead_ids(self) -> list[str]:
        """The ids of all dead letters and conflicts, oldest first."""
        return [dead_id.decode() for dead_id in await self.redis.zrange(self.keys.dead, 0, -1)]

    async def letters(self, which: Filter) -> AsyncIterator[DeadLetter]:
        """The matching ones, oldest first and without their payloads, read a page at a time."""
        all_ids = await self.redis.zrangebyscore(self.keys.dead, *which.between())
        for start in range(0, len(all_ids), PAGE):
            for letter in await self._read(all_ids[start : start + PAGE]):
                if which.matches(letter):
                    yield letter

    async def newest_letters(self, which: Filter, look: int) -> tuple[list[DeadLetter], int]:
        """The matching ones among the `look` newest of these ages, newest first; and how many were looked at."""
        oldest, newest = which.between()
        arguments = (self.keys.dead, newest, oldest, "BYSCORE", "REV", "LIMIT", 0, look)
        found_ids = await self.redis.execute_command("ZRANGE", *arguments)
        found: list[DeadLetter] = []
        for start in range(0, len(found_ids), PAGE):
            found += [one for one in await self._read(found_ids[start : start + PAGE]) if which.matches(one)]
        return found, len(found_ids)

    async def _read(self, dead_ids: Sequence[bytes]) -> list[DeadLetter]:
        """These dead letters without their payloads; those that are gone are left out."""
        async with self.redis.pipeline(transaction=False) as pipe:
            for dead_id in dead_ids:
                pipe.hmget(self.keys.dead_letter(dead_id.decode()), FIELDS)
            rows = await pipe.execute()
        found = zip(dead_ids, rows, strict=True)
        letters = [DeadLetter.from_hash(dead_id.decode(), values) for dead_id, values in found]
        return [letter for letter in letters if letter is not None]

    async def letter(self, dead_id: str) -> DeadLetter | None:
        """One dead letter by its id, without its payload."""
        values = await self.redis.execute_command("HMGET", self.keys.dead_letter(dead_id), *FIELDS)
        return DeadLetter.from_hash(dead_id, values)

    async def with_payload(self, letter: DeadLetter) -> DeadLetter:
        """The dead letter with its payload; b"" when somebody has dropped it. Raises `PayloadElsewhere`."""
        fields = (letters.PLAIN, letters.COMPRESSED, letters.MOVED)
        held: list[bytes | None] = await self.redis.execute_command("HMGET", self.keys.dead_letter(letter.id), *fields)
        if held[2] is not None:
            return replace(letter, job=await self._recalls.payload(letter.id, held[2].decode()))
        here = [letters.unpack(field, value) for field, value in zip(fields, held, strict=True) if value is not None]
        return replace(letter, job=here[0] if here else b"")

    async def ask_for(self, some: Sequence[DeadLetter]) -> None:
        """Ask for all their payloads that are in files: reading them one by one then waits only once."""
        async with self.redis.pipeline(transaction=False) as pipe:
            for letter in some:
                pipe.hget(self.keys.dead_letter(letter.id), letters.MOVED)
            places = [place.decode() for place in await pipe.execute() if place]
        await self._recalls.ask_for(places)

    async def received(self, delivery_id: str) -> Delivery | None:
        """The delivery as it was received, wherever it is still kept; None where it is not.

        Raises `PayloadElsewhere`.
        """
        record: dict[bytes, bytes] = await self.redis.execute_command("HGETALL", self.keys.delivery(delivery_id))
        fields = {name.decode(): value.decode() for name, value in record.items() if name == b"a" or b"." in name}
        handlers = states({name: value for name, value in fields.items() if name != "a"})
        jobs = [f"{delivery_id}:{int(fields.get('a', 0)):x}"]
        jobs += [self.keys.retry_job_id(delivery_id, name, tries) for name, (_, tries) in handlers.items()]
        places = [self.keys.payload(delivery_id), *(job_key(job_id) for job_id in jobs)]
        if found := next(filter(None, await self.redis.mget(places)), None):
            return Delivery.from_job(unpack(found)["a"][0])
        for name in [*(name for name, (state, _) in handlers.items() if state == "dead"), PARSE]:
            letter = await self.letter(dead_letter_id(delivery_id, name))
            if letter is not None and (delivery := (await self.with_payload(letter)).received()):
                return delivery
        return None

    async def drop(self, letter: DeadLetter) -> bool:
        """Forget a dead letter for ever. False when it was gone already."""
        return await self._take_away(letter)

    async def replay_letter(self, letter: DeadLetter) -> bool:
        """Run what a dead letter holds again, with its whole budget. False when it was gone already.

        Raises `PayloadElsewhere`.
        """
        letter = await self.with_payload(letter)
        if not letter.job:
            return False
        if letter.kind == "job":  # not the kit's: it goes back as it was, under a fresh id
            job_id = uuid.uuid4().hex
            return await self._take_away(letter, job_id, job_key(job_id), letter.job)
        delivery = Delivery.from_job(unpack(letter.job)["a"][0])
        if letter.kind == "conflict":
            return await self._accept_conflict(letter, delivery)
        if letter.id != dead_letter_id(delivery.id, letter.handler):  # a later event has its key: see record.lua
            delivery = delivery._replace(id=delivery_id("dead", letter.id))
        return await self._replay(delivery, letter.handler, letter.tries, "dead", letter.id)

    async def replay_handler(self, delivery_id: str, handler: str, state: str, attempt: int) -> bool:
        """Run one handler of a delivery again, whatever its state. False when nothing is stored to run it with."""
        if state == "dead":
            letter = await self.letter(dead_letter_id(delivery_id, handler))
            return letter is not None and await self.replay_letter(letter)
        if state == "retry":  # its retry is waiting: make it due now
            job_id = self.keys.retry_job_id(delivery_id, handler, attempt)
            moved = await self.redis.zadd(self.keys.queue, {job_id: timestamp_ms()}, xx=True, ch=True)
            return bool(moved)
        kept = await self.redis.get(self.keys.payload(delivery_id))
        return kept is not None and await self._replay(Delivery.from_job(unpack(kept)["a"][0]), handler, attempt, state)

    async def run_alone(self, delivery: Delivery, handler: str) -> bool:
        """Run one handler on what no receiver has accepted, and no other handler. False when it has run already."""
        return await self._replay(delivery, handler, 0, "")

    async def _replay(self, delivery: Delivery, handler: str, attempt: int, state: str, dead_id: str = "") -> bool:
        keys = self.keys
        if handler == PARSE:
            job, job_id = delivery.job(), f"{delivery.id}:{uuid.uuid4().hex[:12]}"
        else:
            job = retry_job(delivery, handler, attempt + 1, tries=0, since_ms=0)
            job_id = keys.retry_job_id(delivery.id, handler, attempt)
        record: list[str | bytes] = ["k", delivery.key, "s", delivery.source, "t", delivery.event_type]
        record += ["d", delivery.digest[:16], "a", str(delivery.received_us)]
        replayed = await _REPLAY(
            self.redis,
            keys=[keys.queue, keys.wake, keys.counts, keys.dead, keys.delivery(delivery.id)],
            args=[
                *(handler, attempt, state, job_id, job_key(job_id), job, dead_id, keys.dead_letter(dead_id)),
                *(keys.unneeded(""), *record),
            ],
        )
        return bool(replayed)

    async def _take_away(self, letter: DeadLetter, *job: str | bytes) -> bool:
        keys = self.keys
        taken = await _DROP(
            self.redis,
            keys=[keys.dead, keys.dead_letter(letter.id), keys.queue, keys.wake],
            args=[letter.id, keys.unneeded(""), *job],
        )
        return bool(taken)

    async def _accept_conflict(self, letter: DeadLetter, delivery: Delivery) -> bool:
        """Store a conflict as a delivery of its own; its key is the shared key and its own digest."""
        key = f"{delivery.key}#{delivery.digest.hex()[:16]}"
        own = delivery._replace(key=key, source="conflict", id=delivery_id("conflict", key))
        await accept_directly(self.redis, self.keys, own)
        return await self.drop(letter)
