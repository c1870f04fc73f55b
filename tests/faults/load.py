"""The sender: a steady, open-loop stream of events with duplicates; each is repeated until it is answered 200."""

import asyncio
import itertools
import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import httpx2

from receiver.events import CATALOG

ANSWER_TIMEOUT = 10.0
"""Seconds that the sender waits for an answer, as Glartek does."""
GIVE_UP = 25.0
"""Seconds after which a delivery without a 200 is given up."""

BEGAN = datetime(2026, 11, 3, 9, tzinfo=UTC)
DISORDER = 5.0
"""Seconds by which the order of sending may differ from the events' times."""
LARGE_SHARE, LARGE_BYTES = 0.02, 300_000
"""The share of events that are large, and how large."""
SUBJECTS = 50
"""Work Orders and Actions that the events are about."""


@dataclass
class Answers:
    """The answers that the sender got, and the Work Order and time of each event about one.

    `slowest` is in seconds; a delivery without an answer counts with the whole time-out.
    """

    acknowledged: set[str] = field(default_factory=set)
    work_orders: dict[str, tuple[str, str]] = field(default_factory=dict)
    unique: int = 0
    duplicates: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    unanswered: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    seconds: list[float] = field(default_factory=list)
    given_up: int = 0

    @property
    def not_200(self) -> int:
        return self.statuses.total() - self.statuses[200]


class Load:
    """Sends `rate` unique events a second for `seconds`, some of them more than once."""

    def __init__(self, urls: list[str], *, seed: int, rate: float, seconds: float) -> None:
        self._urls, self._rate, self._seconds = urls, rate, seconds
        self._rng = random.Random(f"{seed} load")
        self._name = f"{self._rng.getrandbits(32):08x}"
        self.answers = Answers()

    async def send(self) -> None:
        """Return when every delivery was answered 200 or given up."""
        start = time.monotonic()
        limits = httpx2.Limits(max_connections=400, max_keepalive_connections=50)
        async with (
            httpx2.AsyncClient(timeout=ANSWER_TIMEOUT, limits=limits) as self._http,
            asyncio.TaskGroup() as group,
        ):
            for number in range(round(self._rate * self._seconds)):
                await asyncio.sleep(start + number / self._rate - time.monotonic())
                for event, body, wait in self._copies(number):
                    group.create_task(self._deliver(event, body, wait))

    def _copies(self, number: int) -> list[tuple[str, bytes, float]]:
        """(event id, body, seconds to wait) for each time that the event is sent."""
        event = f"{self._name}-{number:06d}"
        kind = self._rng.choice(CATALOG)
        payload = kind.sample() | {"id": event, "type": kind.name}
        subject = f"subject-{self._rng.randrange(SUBJECTS)}"
        payload[kind.name.partition(".")[0]]["id"] = subject
        happened = BEGAN + timedelta(seconds=number / self._rate + self._rng.uniform(-DISORDER, DISORDER))
        payload["occurred_at"] = happened.isoformat()
        if kind.name.startswith("work_order."):
            self.answers.work_orders[event] = (subject, payload["occurred_at"])
        if self._rng.random() < LARGE_SHARE:
            payload["padding"] = "x" * LARGE_BYTES
        body = json.dumps(payload).encode()
        waits = [0.0]
        dice = self._rng.random()
        if dice < 0.10:  # at once, to both receivers
            waits += [0.0] * self._rng.choice([1, 1, 1, 5])
        elif dice < 0.25:  # later, when it may be done already, or may still be in a spool
            left = self._seconds - number / self._rate
            waits.append(self._rng.uniform(0.01, min(left, self._seconds / 5)))
        self.answers.unique += 1
        self.answers.duplicates += len(waits) - 1
        return [(event, body, wait) for wait in waits]

    async def _deliver(self, event: str, body: bytes, wait: float) -> None:
        first = self._rng.randrange(len(self._urls))
        await asyncio.sleep(wait)
        give_up = time.monotonic() + GIVE_UP
        for attempt in itertools.count():
            if await self._is_answered_with_200(self._urls[(first + attempt) % len(self._urls)], body):
                self.answers.acknowledged.add(event)
                return
            if time.monotonic() > give_up:
                self.answers.given_up += 1
                return
            await asyncio.sleep(min(1.0, 0.02 * 2**attempt))

    async def _is_answered_with_200(self, url: str, body: bytes) -> bool:
        began = time.monotonic()
        try:
            answer = await self._http.post(url, content=body, headers={"content-type": "application/json"})
        except httpx2.TimeoutException:
            self.answers.unanswered["nothing within 10 s"] += 1
            self.answers.slowest = max(self.answers.slowest, time.monotonic() - began)
            return False
        except httpx2.TransportError as error:  # refused, or interrupted by a kill: try the other receiver
            self.answers.unanswered[type(error).__name__] += 1
            return False
        seconds = time.monotonic() - began
        self.answers.seconds.append(seconds)
        self.answers.slowest = max(self.answers.slowest, seconds)
        self.answers.statuses[answer.status_code] += 1
        return answer.status_code == httpx2.codes.OK
