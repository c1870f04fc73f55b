"""Counts what only the process itself knows of its work: in memory, added to the sums in Redis once a second.

Counting costs a fraction of a microsecond and never waits. Redis holds the sums (`<p>metrics`), so they are those of
all processes and outlive each; what a process counts while Redis is away it brings later. A process that is killed
takes the last second with it, so nothing is counted here that one of the queue's own scripts can count.
"""

import asyncio
import json
import os
import platform
import socket
import time
import uuid
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import msgpack
from redis.asyncio import Redis

import receiver
from receiver import logs
from receiver.background import tick
from receiver.queue.connection import REDIS_ERRORS
from receiver.queue.keys import Keys
from receiver.queue.scripts import Script

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0, 86400.0)
"""Upper bounds of every histogram, in seconds: from a quick handler to a retry on the next day."""
SECONDS = 1.0
QUIET = 5.0
"""Seconds between two reports of a process that has nothing to tell but that it lives, for which others give it 15."""
FORGOTTEN = 60.0
"""Seconds after which nobody remembers a process that said nothing."""
_TALLY = Script.load("tally.lua")


class Histogram:
    """Durations by label, each in its bucket; `word` begins the names of its fields."""

    def __init__(self, word: str) -> None:
        self._word = word
        self._rows: dict[str, list[float]] = {}

    def observe(self, seconds: float, label: str = "") -> None:
        try:
            row = self._rows[label]
        except KeyError:
            row = self._rows[label] = [0] * (len(BUCKETS) + 2)
        row[bisect_left(BUCKETS, seconds)] += 1
        row[-1] += seconds

    def __bool__(self) -> bool:
        return bool(self._rows)

    def take(self) -> Iterator[tuple[str, int]]:
        """Fields and what to add to them; begins anew."""
        rows, self._rows = self._rows, {}
        for label, row in rows.items():
            begin = f"{self._word} {label} " if label else f"{self._word} "
            yield from ((f"{begin}{place}", int(count)) for place, count in enumerate(row[:-1]) if count)
            yield f"{begin}us", round(row[-1] * 1_000_000)


class Tally:
    """Counts and times since the last `take`. Its fields in `<p>metrics` are few: `keys.py` lists them.

    `latest`: when each type of event arrived last (Unix time). `to_start`, `to_done`, `run`: see `/metrics`.
    """

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self.latest: dict[str, float] = {}
        self.to_start, self.to_done, self.run = (Histogram(word) for word in ("to_start", "to_done", "run"))

    def count(self, field: str, by: int = 1) -> None:
        self._counts[field] = self._counts.get(field, 0) + by

    @property
    def is_empty(self) -> bool:
        return not (self._counts or self.to_start or self.to_done or self.run)

    def take(self) -> dict[str, int]:
        """All that was counted, by field; begins anew."""
        counts, self._counts = self._counts, {}
        for histogram in (self.to_start, self.to_done, self.run):
            counts |= histogram.take()
        return counts


tally = Tally()
"""Of this process."""


class Reports:
    """Brings this process's tally to Redis, with what `about` says of the process."""

    def __init__(self, redis: Redis, keys: Keys, kind: str, about: Callable[[], Mapping[str, Any]]) -> None:
        self._redis, self._kind, self._about = redis, kind, about
        self._said = {
            "kind": kind,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "version": receiver.VERSION,
            "python": platform.python_version(),
        }
        self._keys = [keys.metrics, keys.processes]
        self._id = uuid.uuid4().hex
        self._number, self._unsent = 0, b""
        self._told: list[bytes | str] = []
        self._told_at = float("-inf")
        self._dropped = 0

    async def run(self) -> None:
        """Once a second until cancelled, where there is something to tell."""
        while True:
            with suppress(*REDIS_ERRORS):  # others tell of a Redis that is away; the next report has what was counted
                if self._has_news():
                    await self.send()
            await tick(SECONDS)

    async def send(self) -> None:
        """Bring what was counted. Raises one of `REDIS_ERRORS`; then the next call brings it, once."""
        if not self._unsent:
            self._count_dropped_lines()
            self._number += 1
            self._unsent = msgpack.packb(tally.take())
        told, now = self._state(), time.monotonic()
        await _TALLY(self._redis, self._keys, [self._id, self._number, self._unsent, *told, round(FORGOTTEN * 1000)])
        self._unsent, self._told, self._told_at = b"", told, now

    def _has_news(self) -> bool:
        is_quiet = not self._unsent and tally.is_empty and self._state() == self._told
        return not is_quiet or time.monotonic() - self._told_at > QUIET - SECONDS / 2

    def _state(self) -> list[bytes | str]:
        """What is told as it is, not added up: the latest event of each type, and what the process says of itself."""
        latest = {f"seen {name}": int(at) for name, at in tally.latest.items()}
        return [msgpack.packb(latest), json.dumps({**self._said, **self._about()})]

    async def end(self) -> None:
        """Bring the rest and leave the list of processes, within a second, if Redis lets us."""
        with suppress(*REDIS_ERRORS):
            async with asyncio.timeout(1):
                await self.send()
                await self.send()  # what was counted after a report that could not be sent
                await self._redis.execute_command("HDEL", self._keys[1], self._id)

    def _count_dropped_lines(self) -> None:
        dropped = logs.dropped()
        if dropped > self._dropped:
            tally.count(f"log_lines_dropped {self._kind}", dropped - self._dropped)
            self._dropped = dropped
