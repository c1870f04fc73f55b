"""Redis with a past: one delivery that the kit itself has stored or handled, many times over.

Redis clones it by itself: a million events through the receiver would take minutes.
"""

from pathlib import Path
from typing import cast

from redis import Redis
from redis.typing import EncodableT

from receiver.queue.keys import JOB, Keys

RECORDS = Keys("glartek:").delivery("")
BATCH = 20_000
SCRIPT = Path(__file__).with_name("clone.lua")


def clone(redis: Redis, count: int) -> None:
    """So many like the one delivery that is there, with its job if that still waits."""
    record = next(redis.scan_iter(match=f"{RECORDS}*", count=1000))
    delivery = record.decode().removeprefix(RECORDS)
    fields = cast(dict[bytes, bytes], redis.hgetall(record))
    job_key = next(redis.scan_iter(match=f"{JOB}{delivery}*", count=1000), b"").decode()
    job = cast(bytes | None, redis.get(job_key)) or b""
    script = redis.register_script(SCRIPT.read_text(encoding="utf-8"))
    rest: list[EncodableT] = [
        RECORDS,
        len(delivery),
        JOB,
        job_key.removeprefix(JOB + delivery),
        job,
        cast(int, redis.pttl(record)),
    ]
    flat = [part for pair in fields.items() for part in pair]
    for first in range(1, count + 1, BATCH):
        script(args=[first, min(first + BATCH - 1, count), *rest, *flat])
