"""What a delivery waits for that stands in line at a handler in order, for `show`."""

from datetime import UTC, datetime
from typing import Any

from arq.connections import ArqRedis

from receiver.delivery import Delivery
from receiver.queue.jobs import job_key, unpack
from receiver.queue.keys import Keys

MOST = 1000
"""Deliveries before it that are counted."""


async def waits_for(redis: ArqRedis, keys: Keys, delivery_id: str, handler: str) -> dict[str, Any]:
    """How many are before it (MOST at most), the first of the line and its outcome so far, and when this one is due.

    The first has no outcome while it runs for the first time. Nobody before it: it waits for the rate.
    """
    job_id = keys.retry_job_id(delivery_id, handler, 0)
    job, due = await redis.get(job_key(job_id)), await redis.zscore(keys.queue, job_id)
    subject = Delivery.from_job(unpack(job)["a"][0]).subject if job else ""
    before: list[bytes] = []
    for line in (keys.line(handler), keys.line(handler, subject)):
        if (place := await redis.zscore(line, delivery_id)) is not None:
            before = await redis.zrangebyscore(line, "-inf", f"({place!r}", start=0, num=MOST)
    first = before[0].decode() if before else None
    outcome = await redis.execute_command("HGET", keys.delivery(first), handler) if first else None
    return {
        "ahead": len(before),
        "first": first,
        "first_is": outcome.decode().partition(" ")[0] if outcome else None,
        "until": datetime.fromtimestamp(due / 1000, tz=UTC).isoformat(timespec="milliseconds") if due else None,
    }


def in_words(waits: dict[str, Any]) -> str:
    """One line of `waits_for`."""
    if not waits["ahead"]:
        return "waits for its turn: the rate allows no start before " + (waits["until"] or "the next look")
    count = f"{MOST} or more" if waits["ahead"] == MOST else waits["ahead"]
    dead = ", a dead letter that holds the line: replay or drop it" if waits["first_is"] == "dead" else ""
    return f"waits for its turn: {count} before it, the first is {waits['first']}{dead}"
