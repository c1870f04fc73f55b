"""A circuit breaker that all workers share: a target that is down gets one probe at a time, not a storm.

After some failures in a row the circuit opens, and every update waits without using up a try. Then one is let through:
if it succeeds the circuit closes, if it fails the next wait is twice as long. State is in Redis.
"""

import random
from dataclasses import dataclass

from redis.asyncio import Redis

from worker import RetryLater

_LONGEST = 300.0  # seconds open at most
_FORGOTTEN = 86400  # seconds without a failure after which earlier ones count no more
_PROBE = 30  # seconds that a probe has; one that dies is replaced after that


@dataclass(frozen=True, slots=True)
class Breaker:
    """Opens after `most_failures` in a row, for `open_seconds` at first; keys begin with `key`."""

    redis: Redis
    key: str
    most_failures: int
    open_seconds: float

    async def admit(self) -> bool:
        """Let an update through, True when it is the probe. Raises `RetryLater` while the circuit is open."""
        async with self.redis.pipeline(transaction=False) as pipe:
            pipe.pttl(f"{self.key}:open")
            pipe.get(f"{self.key}:failures")
            open_for, failures = await pipe.execute()
        if open_for > 0:
            raise self._later(open_for / 1000)
        if int(failures or 0) < self.most_failures:
            return False
        if await self.redis.set(f"{self.key}:probe", 1, nx=True, ex=_PROBE):
            return True
        raise self._later(1.0)

    async def succeeded(self) -> None:
        await self.redis.delete(*(f"{self.key}:{part}" for part in ("failures", "open", "probe", "reopened")))

    async def failed(self, *, probe: bool) -> None:
        failures = await self.redis.incr(f"{self.key}:failures")
        await self.redis.expire(f"{self.key}:failures", _FORGOTTEN)
        if failures < self.most_failures:
            return
        reopened = await self.redis.incr(f"{self.key}:reopened") if probe else 0
        await self.redis.expire(f"{self.key}:reopened", _FORGOTTEN)
        await self.pause(min(self.open_seconds * 2.0 ** min(reopened, 10), _LONGEST))

    async def pause(self, seconds: float) -> None:
        """Hold everyone back, as the target asked (`Retry-After`); a longer wait that is set already stays."""
        milliseconds = int(seconds * 1000)
        if milliseconds > await self.redis.pttl(f"{self.key}:open"):
            await self.redis.set(f"{self.key}:open", 1, px=max(1, milliseconds))
        await self.redis.delete(f"{self.key}:probe")

    @staticmethod
    def _later(seconds: float) -> RetryLater:
        spread = random.uniform(0.0, max(0.5, seconds / 10))  # noqa: S311 - so that not all come back at once
        return RetryLater(seconds + spread, "the external system is left alone for a while")
