"""One queue per channel, in Redis, shared by all workers: cards leave in order of acceptance and within the rate.

A handler's run queues its card and, if the channel may have a card now, sends the one at the head, whoever's it is.
A run whose card is not its turn yet comes back later: no worker ever sleeps, and none waits for one particular other.
"""

import json
import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

_TAKE = Path(__file__).with_name("take.lua").read_text(encoding="utf-8")
_SETTLE = Path(__file__).with_name("settle.lua").read_text(encoding="utf-8")
_MOST_FAILURES = 3  # in a row, before a card lets the others pass
_LONGEST_PAUSE = 60.0

SENT, FAILED = "sent", "failed"


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a channel may be filled: no more than `count` cards in `seconds`, for each limit.

    `settle` is how long a card waits for an earlier one to be queued. Above `digest_above` cards within
    `digest_window` seconds (0: never) the rest of them become one card. `lease` is the longest that one sending takes.
    """

    limits: Sequence[tuple[int, float]]
    settle: float = 0.25
    digest_above: int = 0
    digest_window: float = 60.0
    lease: float = 15.0

    @property
    def interval(self) -> float:
        """Seconds between two cards at the fastest."""
        return min(seconds / count for count, seconds in self.limits)


@dataclass(frozen=True, slots=True)
class Waiting:
    """One event's card: its name in the queue, when it was accepted, and what to send."""

    key: str
    accepted: datetime
    entry: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Turn:
    """The right to send these entries now: one card, or several to be listed in one."""

    token: str
    keys: list[str]
    entries: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Later:
    """Come back after so many seconds; `ahead` cards are before yours."""

    seconds: float
    ahead: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the card: `SENT`, `FAILED` for now, or the reason it was refused for."""

    text: str


class Outbox:
    """The queue of one channel; `base` begins its keys."""

    def __init__(self, redis: Redis, base: str, pace: Pace) -> None:
        self._redis, self._base, self._pace = redis, base, pace
        self._take = redis.register_script(_TAKE)
        self._settle = redis.register_script(_SETTLE)

    async def take(self, mine: Waiting) -> Turn | Later | Outcome:
        """Queue the card if it is not queued yet, and say what its handler is to do."""
        pace, token = self._pace, secrets.token_hex(8)
        limits = [value for count, seconds in pace.limits for value in (count, int(seconds * 1000))]
        kind, *answer = await self._take(
            keys=[self._base],
            args=[
                mine.key,
                int(mine.accepted.timestamp() * 1_000_000),
                json.dumps(mine.entry, ensure_ascii=False),
                token,
                int(pace.lease * 1000),
                int(pace.settle * 1000),
                pace.digest_above,
                int(pace.digest_window * 1000),
                *limits,
            ],
        )
        if kind == b"outcome":
            return Outcome(answer[0].decode())
        if kind == b"wait":
            milliseconds, ahead = answer
            return Later(max(milliseconds / 1000, 0.02) + ahead * pace.interval, ahead)
        return Turn(token, [key.decode() for key in answer[::2]], [json.loads(entry) for entry in answer[1::2]])

    async def sent(self, turn: Turn) -> None:
        await self._end(turn, SENT)

    async def refused(self, turn: Turn, reason: str) -> None:
        """The channel will never have these: their handlers give up."""
        await self._end(turn, reason)

    async def paused(self, turn: Turn, seconds: float) -> None:
        """The channel said when to come again: the cards stay where they are."""
        await self._end(turn, "", seconds)

    async def failed(self, turn: Turn) -> None:
        """The channel could not be reached, or failed without a word: all wait, longer each time."""
        troubles = await self._redis.incr(f"{self._base}troubles")
        await self._redis.expire(f"{self._base}troubles", 3600)
        longest = min(2.0 ** min(troubles, 10), _LONGEST_PAUSE)
        await self._end(turn, "", random.uniform(longest / 2, longest), _MOST_FAILURES)  # noqa: S311 - jitter

    async def _end(self, turn: Turn, outcome: str, pause: float = 0.0, most_failures: int = 0) -> None:
        arguments: list[str | int] = [turn.token, int(pause * 1000), most_failures, outcome, *turn.keys]
        await self._settle(keys=[self._base], args=arguments)
