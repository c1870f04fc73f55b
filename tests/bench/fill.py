"""Redis with a past: keys remembered, jobs queued; written by Redis itself, which is the fastest way."""

from pathlib import Path
from typing import Any

from redis import Redis

from receiver import events
from receiver.delivery import Sources
from receiver.keys import Keys
from tests.bench.load import body

RECORDS = Keys("glartek:").delivery("")
BATCH = 20_000


def remember(redis: Redis, count: int) -> None:
    """So many deliveries that were handled a while ago."""
    _run(redis, "remember.lua", count)


def enqueue(redis: Redis, count: int) -> None:
    """So many deliveries that wait for a worker."""
    sources = Sources(("event-id",), events.EVENT_ID_PATHS, events.EVENT_TYPE_PATHS)
    job = sources.delivery({"content-type": "application/json"}, body("evt_", 0), 1_760_000_000_000_000).job()
    _run(redis, "enqueue.lua", count, job)


def _run(redis: Redis, name: str, count: int, *more: Any) -> None:
    script = redis.register_script(Path(__file__).with_name(name).read_text(encoding="utf-8"))
    for first in range(1, count + 1, BATCH):
        script(args=[first, min(first + BATCH - 1, count), RECORDS, *more])
