"""Whether it is strange that nothing arrives: Glartek may have been asked to remove the webhook, or switched it off.

Each hour's number of accepted events is kept for five weeks. A silence is strange when in each of the last weeks, two
of them at least, events came in the same hours of the same days. So nights, weekends and a plant's breaks are quiet.
"""

import math
from collections.abc import Mapping

from redis.asyncio import Redis

from receiver.queue.keys import Keys

HOUR = 3600
WEEK = 7 * 24
"""Hours."""
WEEKS = 4
KNOWN = 2
"""Weeks that have to be known: one alone may have been a holiday."""
LEAST = 5
"""Events in the same hours of each week: fewer may be chance."""
_BACK = 24
"""Hours whose counts are still in Redis (`<p>metrics:<n>`), for hours in which nobody wrote them down."""


async def learn(redis: Redis, keys: Keys, now: float) -> dict[int, int]:
    """The accepted events of each full hour that is known, by hours since 1970; writes down those that are new."""
    kept: dict[bytes, bytes] = await redis.execute_command("HGETALL", keys.hours)
    hours = {int(hour): int(count) for hour, count in kept.items()}
    this = int(now // HOUR)
    first = this - (_BACK if hours else 1)  # before the first one the kit was not there
    new = {hour: await _accepted(redis, keys, hour) for hour in range(first, this) if hour not in hours}
    if new:
        await redis.execute_command("HSET", keys.hours, *(word for pair in new.items() for word in pair))
    old = [hour for hour in hours if hour < this - (WEEKS + 1) * WEEK - 1]
    if old:
        await redis.execute_command("HDEL", keys.hours, *old)
    return hours | new


async def _accepted(redis: Redis, keys: Keys, hour: int) -> int:
    async with redis.pipeline(transaction=False) as pipe:
        for ten_minutes in range(hour * 6, hour * 6 + 6):
            pipe.hgetall(keys.metrics_of(ten_minutes))
        counted = await pipe.execute()
    return sum(int(by) for counts in counted for field, by in counts.items() if field.startswith(b"accepted "))


def is_strange(hours: Mapping[int, int], since: float, now: float, plain: float) -> bool:
    """Whether nothing since `since` (Unix s) is trouble; `plain` (s) decides where too few weeks are known."""
    weeks = usual(hours, since, now)
    if len(weeks) >= KNOWN:
        return min(weeks) >= LEAST
    return now - since > max(plain, 0 if _weeks_known(hours, now) < KNOWN else WEEK * HOUR)


def usual(hours: Mapping[int, int], since: float, now: float) -> list[int]:
    """How many events came in the hours of this silence in each of the weeks before, of those that are known.

    Without the first and the last full hour: clocks change twice a year, and a break may begin late or end late.
    """
    silent = range(math.ceil(since / HOUR) + 1, int(now // HOUR) - 1)
    found = []
    for shift in range(WEEK, (WEEKS + 1) * WEEK, WEEK):
        then = range(silent.start - shift, silent.stop - shift)
        if then and then.stop < silent.start and all(hour in hours for hour in then):
            found.append(sum(hours[hour] for hour in then))
    return found


def _weeks_known(hours: Mapping[int, int], now: float) -> int:
    return int((now // HOUR - min(hours, default=now // HOUR)) // WEEK)
