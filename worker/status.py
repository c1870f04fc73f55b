"""`python -m worker status`: what happened today and in the last hour, what is open, and what is tried again when."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from arq.connections import ArqRedis

from receiver.queue.keys import Keys
from worker.dead_letters import Operator
from worker.story import story_of
from worker.transitions import PARSE, Retrying

TEN_MINUTES = 600
RECENT, RETRYING = 10, 20
"""How many are told of one by one."""
_RETRY_PARTS = 3
"""Parts of a retry job's id, at least: delivery, handler, attempt, and the prefix."""
_BY_TYPE = ("accepted", "duplicates", "conflicts")
_BY_HANDLER = ("done", "skipped", "retry", "dead")
_FAILED = get_args(Retrying)


async def status(redis: ArqRedis, keys: Keys, spooled: int) -> dict[str, Any]:
    """All of it, as `--json` has it; `spooled` waits on this host's disk.

    The last hour is the ten minutes that are now and the six before them; today began at this machine's midnight.
    """
    now = time.time()
    midnight = datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
    counted = await counts(redis, keys, int(min(midnight, now - 3600)) // TEN_MINUTES, int(now) // TEN_MINUTES)
    operator = Operator(redis, keys)
    waiting = await redis.zcard(keys.queue)
    return {
        "last_hour": _summed(counted, int(now - 3600) // TEN_MINUTES),
        "today": _summed(counted, int(midnight) // TEN_MINUTES),
        "waiting": waiting,
        "running": await redis.zcard(keys.leases),
        "dead": await operator.count(),
        "spooled_here": spooled,
        "recent": await _recent(redis, keys, operator),
        "retrying": await _retrying(redis, keys, operator, now),
    }


async def counts(redis: ArqRedis, keys: Keys, first: int, last: int) -> Mapping[int, Mapping[bytes, bytes]]:
    """The counts of each ten minutes."""
    numbers = range(first, last + 1)
    async with redis.pipeline(transaction=False) as pipe:
        for number in numbers:
            pipe.hgetall(keys.metrics_of(number))
        return dict(zip(numbers, await pipe.execute(), strict=True))


def _summed(counted: Mapping[int, Mapping[bytes, bytes]], since: int) -> dict[str, Any]:
    types: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(_BY_TYPE, 0))
    handlers: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(_BY_HANDLER, 0))
    for number, of_ten in counted.items():
        for name, count in of_ten.items() if number >= since else ():
            word, first, *others = name.decode().split(" ")
            if word in _BY_TYPE:
                types[first][word] += int(count)
            elif word == "ended":
                state = "retry" if others[0] in _FAILED else others[0]
                handlers[first][state] = handlers[first].get(state, 0) + int(count)
    return {
        **{name: sum(of_type[name] for of_type in types.values()) for name in _BY_TYPE},
        **{name: sum(of_one[name] for of_one in handlers.values()) for name in _BY_HANDLER},
        "types": dict(sorted(types.items())),
        "handlers": dict(sorted(handlers.items())),
    }


async def _recent(redis: ArqRedis, keys: Keys, operator: Operator) -> list[dict[str, Any]]:
    """The deliveries accepted last, newest first, and how each of their handlers stands."""
    records: Sequence[bytes] = await redis.execute_command("LRANGE", keys.recent, -RECENT, -1)
    stories = [
        await story_of(operator, record.decode().removeprefix(keys.delivery(""))) for record in reversed(records)
    ]
    return [
        {
            **{name: story[name] for name in ("delivery", "key", "type", "first_seen", "duplicates", "open")},
            "handlers": {name: told["state"] for name, told in story["handlers"].items()},
        }
        for story in stories
        if story
    ]


async def _retrying(redis: ArqRedis, keys: Keys, operator: Operator, now: float) -> list[dict[str, Any]]:
    """What waits to be tried again, by when; the first of them."""
    found = await redis.zrangebyscore(keys.queue, now * 1000, "+inf", start=0, num=RETRYING, withscores=True)
    rows = []
    for job_id, due in found:
        parts: list[str] = job_id.decode().split(":")
        if len(parts) < _RETRY_PARTS or parts[2] == "0":  # a delivery's first job; one that only waits for its turn
            continue
        delivery, handler = parts[:2]
        story = await story_of(operator, delivery)
        told = (story or {"handlers": {}})["handlers"].get(handler)
        if story is None or told is None or handler == PARSE:
            continue
        at = datetime.fromtimestamp(due / 1000, tz=UTC)
        rows.append(
            {
                "delivery": delivery,
                "type": story["type"],
                "handler": handler,
                "attempts": told["attempts"],
                "next_try": at.isoformat(timespec="seconds"),
                "in_s": max(0, round((at - datetime.fromtimestamp(now, tz=UTC)) / timedelta(seconds=1))),
                "reason": told["failures"][-1]["error"] if told["failures"] else "",
                "failed_at": told["failed_at"],
            }
        )
    return rows
