"""Never backwards: per Work Order, one update at a time, and none older than the latest that was sent.

Events overtake each other (a retry, a second worker), so the place in time of every update sent is kept in Redis until
a later one is there, and an older one is left out, however late it comes. It is kept before the update is sent, not
after: when the answer gets lost the target may have applied it, and would not apply its retry, with the same
idempotency key, a second time.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis

from receiver.scripts import Script
from worker import Context, Event, RetryLater

_REMEMBERED = 400 * 86400  # seconds; a dead letter replayed after a year still finds what came after it
_GRACE = 5.0  # seconds that a turn is kept after its time, for a late request of ours to end
_RELEASE = Script("if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0")


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
    """The right to update one Work Order, until the end of the `with`.

    `sent` names a hash of the updates sent, each event's moment by its idempotency key.
    """

    redis: Redis
    sent: str
    event: str
    moment: Moment

    async def stale(self) -> bool:
        """Whether a later event was sent already; the same event again is not stale."""
        return any(self.moment < moment for moment in (await self._moments()).values())

    async def sending(self) -> None:
        """Say that this update is being sent now."""
        moment = f"{self.moment.occurred} {self.moment.received}"
        await self.redis.execute_command("HSET", self.sent, self.event, moment)
        await self.redis.expire(self.sent, _REMEMBERED)

    async def accepted(self) -> None:
        """The target has this update: what was sent before it needs no remembering."""
        earlier = [event for event, moment in (await self._moments()).items() if moment < self.moment]
        if earlier:
            await self.redis.execute_command("HDEL", self.sent, *earlier)

    async def refused(self) -> None:
        """The target will not have this update: an earlier one may still come."""
        await self.redis.execute_command("HDEL", self.sent, self.event)

    async def _moments(self) -> dict[bytes, Moment]:
        kept: dict[bytes, bytes] = await self.redis.execute_command("HGETALL", self.sent)
        return {event: Moment(*map(int, moment.split(b" "))) for event, moment in kept.items()}


@asynccontextmanager
async def turn(ctx: Context, key: str, moment: Moment, within: float) -> AsyncIterator[Turn]:
    """The turn to update what `key` names, `within` so many seconds.

    Raises `RetryLater` when another has it, TimeoutError when the time is up.
    """
    lock, token = f"{key}:turn", secrets.token_hex(8)
    async with asyncio.timeout(within):  # begun before the lease, and over before it
        holder = await ctx.redis.set(lock, token, nx=True, px=int((within + _GRACE) * 1000), get=True)
        if holder is not None and holder != token.encode():  # ours, when the client had to send the command twice
            raise RetryLater(1.0, "another update of this Work Order is under way")
        try:
            yield Turn(ctx.redis, f"{key}:sent", ctx.idempotency_key, moment)
        except (Uncertain, asyncio.CancelledError):
            raise  # the lease ends by itself: until then a late request of ours cannot come after somebody else's
        except BaseException:
            await _RELEASE(ctx.redis, [lock], [token])
            raise
        await _RELEASE(ctx.redis, [lock], [token])
