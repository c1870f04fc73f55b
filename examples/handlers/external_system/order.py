"""Never backwards: no update of a Work Order that is older than the latest that was sent.

Events overtake each other (a retry, a second worker), so the place in time of every update sent is kept in Redis until
a later one is there, and an older one is left out, however late it comes. It is kept before the update is sent, not
after: when the answer gets lost the target may have applied it, and would not apply its retry, with the same
idempotency key, a second time.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from worker import Context, Event, GiveUp, Skip

_REMEMBERED = 400 * 86400  # seconds; a dead letter replayed after a year still finds what came after it
_AHEAD = timedelta(minutes=5)  # that a sender's clock may be ahead of ours; signed webhooks allow as much
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)

Moment = tuple[int, int]
"""An event's place in time, in µs: when it happened, and when it was received if that is equal."""


def _moment(occurred: int, received: int) -> Moment:
    """An event of the future counts as of its reception: one of the year 9999 would keep all others out for ever.

    One that is not more than `_AHEAD` before our clock is believed, and keeps out older ones until then.
    """
    return occurred if occurred <= received + _AHEAD // _US else received, received


@asynccontextmanager
async def kept(event: Event, ctx: Context, sent: str) -> AsyncIterator[None]:
    """Send an update, unless a later one was sent. `sent` names the hash of its Work Order's moments by event.

    Raises `Skip`. It writes its own moment before it reads the others, so that of two at once one sees the other.
    """
    received = (ctx.received_at - _EPOCH) // _US
    mine = _moment((event.occurred_at - _EPOCH) // _US if event.occurred_at else received, received)
    async with ctx.redis.pipeline(transaction=True) as pipe:
        pipe.hset(sent, ctx.idempotency_key, f"{mine[0]} {mine[1]}")
        pipe.expire(sent, _REMEMBERED)
        pipe.hgetall(sent)
        *_, found = await pipe.execute()
    del found[ctx.idempotency_key.encode()]
    others = {key: _moment(*map(int, moment.split(b" "))) for key, moment in found.items()}
    if (latest := max(others.values(), default=mine)) > mine:
        await ctx.redis.execute_command("HDEL", sent, ctx.idempotency_key)
        raise Skip(f"older than the update of {_EPOCH + latest[0] * _US:%Y-%m-%dT%H:%M:%SZ}")
    try:
        yield
    except GiveUp:  # the target will not have it: an earlier one may still come
        await ctx.redis.execute_command("HDEL", sent, ctx.idempotency_key)
        raise
    if earlier := [key for key, moment in others.items() if moment < mine]:
        await ctx.redis.execute_command("HDEL", sent, *earlier)
