"""One queue per channel, in Redis, shared by all workers: cards leave in order of acceptance and within the rate.

A handler's run queues its card and, as long as the channel takes cards, sends the one at the head, whoever's it is.
A run whose card has to wait comes back later: no worker ever sleeps, and none waits for one particular other. What a
killed worker was sending is sent by the next one, once its lease has run out.
"""

import asyncio
import json
import random
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from receiver.queue.connection import until_redis_answers
from receiver.queue.scripts import Script

_TAKE, _SETTLE = (
    Script(Path(__file__).with_name(name).read_text(encoding="utf-8")) for name in ("take.lua", "settle.lua")
)
_MOST_FAILURES = 3  # of one card, before it lets the others pass
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 60.0  # seconds, before jitter, that a channel in trouble is left alone

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
        """Seconds between two cards in the long run: who comes back that often sends all that the channel takes."""
        return max(seconds / count for count, seconds in self.limits)


@dataclass(frozen=True, slots=True)
class Waiting:
    """One event's card: its name in the queue, when it was accepted, whose run this is, and what to send."""

    key: str
    accepted: datetime
    attempt: int
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

    async def take(self, mine: Waiting | None) -> Turn | Later | Outcome:
        """Queue the card if it is not queued yet, and say what its handler is to do; without one, whose turn it is."""
        pace, token = self._pace, secrets.token_hex(8)
        card: tuple[str | int, ...] = ("", 0, 0, "")
        if mine is not None:
            accepted = int(mine.accepted.timestamp() * 1_000_000)
            card = (mine.key, accepted, mine.attempt, json.dumps(mine.entry, ensure_ascii=False))
        arguments: list[str | int] = [
            *card,
            token,
            _ms(pace.lease),
            _ms(pace.settle),
            pace.digest_above,
            _ms(pace.digest_window),
            *(value for count, seconds in pace.limits for value in (count, _ms(seconds))),
        ]
        try:
            kind, *answer = await until_redis_answers(lambda: _TAKE(self._redis, [self._base], arguments))
        except asyncio.CancelledError:
            # Its answer may be on its way: a turn that nobody knows of would keep the channel shut for a whole lease.
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._end(Turn(token, [], []), "")
            raise
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

    async def busy(self, turn: Turn, seconds: float) -> None:
        """The channel takes no card at all for now: they stay where they are, and all wait, longer each time.

        `seconds` is the least, as the channel asked for.
        """
        await self._end(turn, "", seconds, _FIRST_PAUSE)

    async def failed(self, turn: Turn, seconds: float) -> None:
        """The same, and it may be the card's own fault: after some failures it lets the others pass."""
        await self._end(turn, "", seconds, _FIRST_PAUSE, _MOST_FAILURES)

    async def _end(
        self, turn: Turn, outcome: str, pause: float = 0.0, first_pause: float = 0.0, most_failures: int = 0
    ) -> None:
        jitter = random.random()  # noqa: S311 - no secret
        pauses = (_ms(pause), _ms(first_pause), _ms(_LONGEST_PAUSE), jitter)
        arguments: list[str | int | float] = [turn.token, outcome, *pauses, most_failures, *turn.keys]
        # A worker that stops just now must not forget what the channel took: the card would be sent again.
        await asyncio.shield(until_redis_answers(lambda: _SETTLE(self._redis, [self._base], arguments)))


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
