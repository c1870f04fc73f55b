"""Reads the kit's own ledger from Redis: its counts, and every record."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from redis.asyncio import Redis

from receiver.queue.jobs import unpack
from receiver.queue.keys import OLD_QUEUE, Keys

KEYS = Keys("glartek:")


@dataclass(frozen=True, slots=True)
class Recorded:
    """One handler of one event: `state` is done, skipped, dead or open; `at` is the time of each attempt (Unix s)."""

    state: str
    at: Mapping[int, float] = field(default_factory=dict)


@dataclass
class Books:
    """`outcomes` of all records, by (event, handler); `counts` as the kit keeps them."""

    records: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    outcomes: dict[tuple[str, str], Recorded] = field(default_factory=dict)

    def total(self, handler: str, state: str) -> int:
        return Counter(outcome.state for (_, name), outcome in self.outcomes.items() if name == handler)[state]


async def read(redis: Redis, handlers: tuple[str, ...]) -> Books:
    """Read the books; the kit has to be idle."""
    counts = {name: int(value) for name, value in (await _hash(redis, KEYS.counts)).items()}
    books = Books(counts=counts)
    async for record in redis.scan_iter(KEYS.delivery("*"), count=1000):
        delivery_id = record.decode().rpartition(":")[2]
        fields = await _hash(redis, record.decode())
        kept = await redis.execute_command("LRANGE", KEYS.attempts(delivery_id), 0, -1)
        attempts = [unpack(attempt) for attempt in kept]
        books.records += 1
        for handler in handlers:
            failed = {number: at / 1000 for name, number, at, _, _ in attempts if name == handler}
            books.outcomes[fields["k"].decode(), handler] = _recorded(fields.get(handler), int(fields["a"]), failed)
    return books


async def _hash(redis: Redis, key: str) -> dict[str, bytes]:
    return {name.decode(): value for name, value in (await redis.execute_command("HGETALL", key)).items()}


def _recorded(value: bytes | None, accepted_us: int, failed: dict[int, float]) -> Recorded:
    if value is None:
        return Recorded("open", failed)
    state, attempt, after_ms = value.decode().split(" ")
    at = (accepted_us // 1000 + int(after_ms)) / 1000
    return Recorded(state if state in {"done", "skipped", "dead"} else "open", failed | {int(attempt): at})


async def read_naive(redis: Redis, handlers: tuple[str, ...]) -> Books:
    """For the naive receiver, only the jobs still in the queue; their ids are the event ids."""
    waiting = [job_id.decode() for job_id in await redis.zrange(OLD_QUEUE, 0, -1)]
    return Books(outcomes={(event, handler): Recorded("open") for event in waiting for handler in handlers})


async def work_left(redis: Redis) -> int:
    """Jobs that wait or run, including the naive receiver's."""
    return sum([int(await redis.zcard(key)) for key in (KEYS.queue, OLD_QUEUE, KEYS.leases)])
