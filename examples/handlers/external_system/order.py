"""Never backwards: per Work Order, one update at a time, and none older than the latest that was sent.

Events overtake each other (a retry, a second worker), so the place in time of the latest update sent is kept in Redis
and an older one is left out, however late it comes. It is kept before the update is sent, not after: when the answer
gets lost the target may have applied it, and would not apply its retry, with the same idempotency key, a second time.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis

from worker import Context, Event, RetryLater

_REMEMBERED = 400 * 86400  # seconds; a dead letter replayed after a year still finds what came after it
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class Uncertain(Exception):
    """Raised within a turn: the target may still be busy with the request, so nobody gets the next turn yet."""


@dataclass(frozen=True, slots=True, order=True)
class Moment:
    """An event's place in time, in microseconds: when it happened, and when it was received if that is equal."""

    occurred: int
    received: int

    @classmethod
    def of(cls, event: Event, ctx: Context) -> "Moment":
        received = int(ctx.received_at.timestamp() * 1_000_000)
        occurred = int(event.occurred_at.timestamp() * 1_000_000) if event.occurred_at else received
        return cls(occurred, received)


@dataclass(frozen=True, slots=True)
class Turn:
    """The right to update one Work Order, until the end of the `with`."""

    redis: Redis
    key: str
    moment: Moment

    async def stale(self) -> bool:
        """Whether a later event was sent already; the same event again is not stale."""
        kept = await self.redis.get(self.key)
        return kept is not None and self.moment < Moment(*map(int, kept.split(b" ")))

    async def sending(self) -> bytes | None:
        """Say that this update is being sent now; returns what was kept before, for `refused`."""
        moment = f"{self.moment.occurred} {self.moment.received}"
        before: bytes | None = await self.redis.set(self.key, moment, ex=_REMEMBERED, get=True)
        return before

    async def refused(self, before: bytes | None) -> None:
        """The target will not have this update: an earlier one may still come."""
        if before is None:
            await self.redis.delete(self.key)
        else:
            await self.redis.set(self.key, before, ex=_REMEMBERED)


@asynccontextmanager
async def turn(ctx: Context, key: str, moment: Moment, lease: float) -> AsyncIterator[Turn]:
    """The turn to update what `key` names, for at most `lease` seconds. Raises `RetryLater` when another has it."""
    lock, token = f"{key}:turn", secrets.token_hex(8)
    holder = await ctx.redis.set(lock, token, nx=True, px=int(lease * 1000), get=True)
    if holder is not None and holder != token.encode():  # ours, when the client had to send the command twice
        raise RetryLater(1.0, "another update of this Work Order is under way")
    release = ctx.redis.register_script(_RELEASE)
    try:
        yield Turn(ctx.redis, key, moment)
    except (Uncertain, asyncio.CancelledError):
        raise  # the lease ends by itself: until then a late request of ours cannot come after somebody else's
    except BaseException:
        await release(keys=[lock], args=[token])
        raise
    await release(keys=[lock], args=[token])
