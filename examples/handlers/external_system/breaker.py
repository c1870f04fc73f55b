"""A circuit breaker that all workers share: a target that is down gets one probe at a time, not a storm.

After some failures in a row the circuit opens, and every update waits without using up a try. Then one is let through:
if it succeeds the circuit closes, if it fails the next wait is twice as long. State is in Redis.
"""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis

from examples.handlers.external_system.session import Anew, Busy, TargetUnavailable
from examples.handlers.external_system.settings import ExternalSettings
from examples.handlers.external_system.target import Unmappable
from worker import GiveUp, RetryLater

_LONGEST = 300.0  # seconds open at most
_FORGOTTEN = 86400  # seconds without a failure after which earlier ones count no more
_PROBE = 30  # seconds that a probe has; one that dies is replaced after that


@dataclass(frozen=True, slots=True)
class Breaker:
    """Opens as the settings say; its keys begin with `key`."""

    redis: Redis
    key: str
    settings: ExternalSettings

    @asynccontextmanager
    async def passed(self) -> AsyncIterator[None]:
        """Let an update through, and note whether the target works. Raises `RetryLater` while the circuit is open."""
        probe = await self._admit()
        try:
            yield
        except RetryLater as later:
            await self._pause(later.seconds)  # for everyone, as the target asked
            raise
        except Exception as error:
            await self._learn(error, probe=probe)
            raise
        await self._close()

    async def _learn(self, error: Exception, *, probe: bool) -> None:
        match error:
            case Busy() | Anew() | GiveUp() if not isinstance(error, Unmappable):
                await self._close()  # an error, but the target answers
            case TargetUnavailable():
                await self._failed(probe=probe)
            case _ if probe:  # the target was not asked: the next update is the probe
                await self.redis.delete(f"{self.key}:probe")

    async def _close(self) -> None:
        await self.redis.delete(*(f"{self.key}:{part}" for part in ("failures", "open", "probe", "reopened")))

    async def _admit(self) -> bool:
        """Whether this is the probe."""
        async with self.redis.pipeline(transaction=False) as pipe:
            pipe.pttl(f"{self.key}:open")
            pipe.get(f"{self.key}:failures")
            open_for, failures = await pipe.execute()
        if open_for > 0:
            raise _later(open_for / 1000)
        if int(failures or 0) < self.settings.external_breaker_failures:
            return False
        if await self.redis.set(f"{self.key}:probe", 1, nx=True, ex=_PROBE):
            return True
        raise _later(1.0)

    async def _failed(self, *, probe: bool) -> None:
        failures = await self.redis.incr(f"{self.key}:failures")
        await self.redis.expire(f"{self.key}:failures", _FORGOTTEN)
        if failures < self.settings.external_breaker_failures:
            return
        reopened = await self.redis.incr(f"{self.key}:reopened") if probe else 0
        await self.redis.expire(f"{self.key}:reopened", _FORGOTTEN)
        await self._pause(min(self.settings.external_breaker_open * 2.0 ** min(reopened, 10), _LONGEST))

    async def _pause(self, seconds: float) -> None:
        """Hold everyone back; a longer wait that is set already stays."""
        milliseconds = int(seconds * 1000)
        if milliseconds > await self.redis.pttl(f"{self.key}:open"):
            await self.redis.set(f"{self.key}:open", 1, px=max(1, milliseconds))
        await self.redis.delete(f"{self.key}:probe")


def _later(seconds: float) -> RetryLater:
    spread = random.uniform(0.0, max(0.5, seconds / 10))  # noqa: S311 - so that not all come back at once
    return RetryLater(seconds + spread, "the external system is left alone for a while")
