"""One update of a Work Order at a time, across all workers."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from receiver.queue.scripts import Script
from worker import Context, RetryLater

_GRACE = 5.0  # seconds that it is kept after its time, for a late request of ours to end
_RELEASE = Script("if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0")


@asynccontextmanager
async def held(ctx: Context, key: str, within: float, left_after: type[Exception]) -> AsyncIterator[None]:
    """Hold the lock on what `key` names, `within` so many seconds.

    After a `left_after` the target may still be busy with a request, so nobody gets the lock until it ends by itself.
    Raises `RetryLater` when another has it, TimeoutError when the time is up.
    """
    lock, token = f"{key}:turn", secrets.token_hex(8)
    async with asyncio.timeout(within):  # begun before the lease, and over before it
        holder = await ctx.redis.set(lock, token, nx=True, px=int((within + _GRACE) * 1000), get=True)
        if holder is not None and holder != token.encode():  # ours, when the client had to send the command twice
            raise RetryLater(1.0, "another update of this Work Order is under way")
        try:
            yield
        except (left_after, asyncio.CancelledError):
            raise
        except BaseException:
            await _RELEASE(ctx.redis, [lock], [token])
            raise
        await _RELEASE(ctx.redis, [lock], [token])
