"""`python -m worker doubtful`: duplicates that were dropped because their content alone was known already.

A sender without event ids may send two events whose contents are equal. `accept.lua` notes the last of those that
were dropped; one that was an event of its own can be run as such. Where the content is the whole key, the payload is
that of the first one, as long as it is kept; where `body-without:` leaves fields out, the note has it, too.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgpack
from arq.connections import ArqRedis

from receiver.acceptance import accept_directly
from receiver.delivery import Delivery
from receiver.idempotency import delivery_id
from receiver.queue.jobs import job_key, unpack
from receiver.queue.keys import Keys
from receiver.sources import BODY
from receiver.visible import iso
from worker.dead_letters import Operator
from worker.outcomes import dead_letter_id
from worker.story import story_of

SOURCE = "doubtful"
"""The source of a delivery that was dropped first and run then."""


class Doubtful(NamedTuple):
    """One that was dropped. `id` is the id of the job that it would have been; times are Unix µs."""

    id: str
    source: str
    type: str
    first_us: int
    job: bytes

    @property
    def delivery(self) -> str:
        """The id of the delivery whose duplicate it was taken for."""
        return self.id.partition(":")[0]

    @property
    def at_us(self) -> int:
        """When it arrived."""
        return int(self.id.partition(":")[2], 16)

    @property
    def own(self) -> str:
        """The id of the delivery that it is once it is run."""
        return delivery_id(SOURCE, self.id)


async def noted(redis: ArqRedis, keys: Keys) -> list[Doubtful]:
    """All that are noted, oldest first, each once."""
    notes = await redis.execute_command("LRANGE", keys.doubtful, 0, -1)
    found = (_read(note) for note in notes)
    return list({one.id: one for one in found}.values())


def _read(note: bytes) -> Doubtful:
    job_id, source, event_type, first, job, *_ = msgpack.unpackb(note, raw=True)
    return Doubtful(job_id.decode(), source.decode(), event_type.decode(), int(first), job)


async def listed(redis: ArqRedis, keys: Keys) -> list[dict[str, Any]]:
    """What is told of each: when it came, after which delivery, and how many duplicates that had."""
    found = await noted(redis, keys)
    async with redis.pipeline(transaction=False) as pipe:
        for one in found:
            pipe.hget(keys.delivery(one.delivery), "n")
            pipe.exists(keys.delivery(one.own))
        answers = await pipe.execute()
    here = [one.delivery for one in found]
    return [
        {
            "id": one.id,
            "delivery": one.delivery,
            "type": one.type,
            "source": one.source,
            "at": iso(one.at_us / 1000),
            "after_s": round((one.at_us - one.first_us) / 1_000_000, 3),
            "duplicates": int(dropped or here.count(one.delivery)),
            "run_as": one.own if was_run else None,
        }
        for one, dropped, was_run in zip(found, answers[::2], answers[1::2], strict=True)
    ]


async def run(redis: ArqRedis, keys: Keys, one: Doubtful) -> str | None:
    """Run one as a delivery of its own, once; its id. None where its payload is kept nowhere any more.

    Raises `PayloadElsewhere`.
    """
    job = one.job or (await _of_first(redis, keys, one) if one.source == BODY else b"")
    if not job:
        return None
    first = Delivery.from_job(unpack(job)["a"][0])
    key = f"{first.key}#{one.at_us:x}"
    await accept_directly(redis, keys, first._replace(id=one.own, source=SOURCE, key=key, received_us=one.at_us))
    return one.own


async def _of_first(redis: ArqRedis, keys: Keys, one: Doubtful) -> bytes:
    """A job with the payload of the first one: that waits, is kept for a replay, is tried again, or is dead."""
    operator, first = Operator(redis, keys), one.delivery
    story = await story_of(operator, first) or {"handlers": {}}
    handlers = {name: (told["state"], told["attempts"]) for name, told in story["handlers"].items()}
    names = [job_key(f"{first}:{one.first_us:x}"), keys.payload(first)]
    names += [job_key(keys.retry_job_id(first, name, attempt)) for name, (_, attempt) in handlers.items()]
    held: Sequence[bytes | None] = await redis.mget(names)
    if job := next(filter(None, held), b""):
        return job
    for name in handlers:
        if letter := await operator.letter(dead_letter_id(first, name)):
            return (await operator.with_payload(letter)).job
    return b""
