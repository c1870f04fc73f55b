"""The kit's own ledger, read from Redis: its counts, and every record."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from redis.asyncio import Redis

from receiver.delivery import unpack
from receiver.keys import QUEUE, Keys

KEYS = Keys("glartek:")


@dataclass(frozen=True, slots=True)
class Recorded:
    """One handler of one event. `state` is done, dead or open; `at` is when each attempt was recorded (Unix s)."""

    state: str
    at: Mapping[int, float] = field(default_factory=dict)


@dataclass
class Books:
    """`outcomes` by (event, handler), of every record there is; `counts` as the kit keeps them."""

    records: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    outcomes: dict[tuple[str, str], Recorded] = field(default_factory=dict)

    def total(self, handler: str, state: str) -> int:
        return Counter(outcome.state for (_, name), outcome in self.outcomes.items() if name == handler)[state]


async def read(redis: Redis, handlers: tuple[str, ...]) -> Books:
    """The books of a kit at rest."""
    counts = {name.decode(): int(value) for name, value in (await redis.hgetall(KEYS.counts)).items()}
    books = Books(counts=counts)
    async for record in redis.scan_iter(KEYS.delivery("*"), count=1000):
        delivery_id = record.decode().rpartition(":")[2]
        fields = {name.decode(): value for name, value in (await redis.hgetall(record)).items()}
        attempts = [unpack(attempt) for attempt in await redis.lrange(KEYS.attempts(delivery_id), 0, -1)]
        books.records += 1
        for handler in handlers:
            failed = {number: at / 1000 for name, number, at, _, _ in attempts if name == handler}
            books.outcomes[fields["k"].decode(), handler] = _recorded(fields.get(handler), failed)
    return books


def _recorded(field_value: bytes | None, failed: dict[int, float]) -> Recorded:
    if field_value is None:
        return Recorded("open", failed)
    state, attempt, at = field_value.decode().split(" ")
    return Recorded(state if state in {"done", "dead"} else "open", failed | {int(attempt): int(at) / 1000})


async def read_naive(redis: Redis, handlers: tuple[str, ...]) -> Books:
    """The nearest thing that a stock arq queue has: the events whose jobs still wait in it, named by their job ids."""
    books = Books()
    async for event in _waiting(redis):
        for handler in handlers:
            books.outcomes[event, handler] = Recorded("open")
    return books


async def _waiting(redis: Redis) -> AsyncIterator[str]:
    for job_id in await redis.zrange(QUEUE, 0, -1):
        yield job_id.decode()


async def work_left(redis: Redis) -> int:
    """Jobs that wait or run."""
    return int(await redis.zcard(QUEUE)) + int(await redis.zcard(KEYS.leases))
