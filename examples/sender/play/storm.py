"""Sends many events at a rate or by a number of clients, and measures the answers.

At a rate the loop is open: each event is sent at its time whether or not earlier ones were answered, and its latency
counts from that time. So a stalling receiver cannot improve its figures by slowing the sender down.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from examples.sender.http.delivery import STOPPED, SUCCESS, TIMEOUT
from examples.sender.http.message import Message
from examples.sender.http.reply import Reply
from examples.sender.http.signing import Signer
from examples.sender.http.wire import Connection, Endpoint, reason

_MOST_OPEN = 1000  # connections; beyond this limit, which protects this machine, an event is reported as not sent
_EDGES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, math.inf)
SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}


@dataclass(slots=True)
class Figures:
    """The results of a storm, in seconds. `latencies` has only answered events, counted from their due time."""

    planned: int
    begun: float = 0.0
    ended: float = 0.0
    sent: int = 0
    duplicates: int = 0
    latencies: list[float] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    ok: int = 0
    most_open: int = 0
    most_late: float = 0.0
    """Most seconds by which the sender itself was behind schedule."""

    @property
    def seconds(self) -> float:
        return max((self.ended or time.perf_counter()) - self.begun, 1e-9)

    @property
    def failed(self) -> int:
        return sum(self.answers.values()) - self.ok

    def percentile(self, share: float) -> float:
        """The latency within which this share of events was answered; 0 if none was."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0

    def histogram(self) -> list[tuple[str, int]]:
        """(upper edge, events) from the first to the last bucket with events."""
        counts = Counter(next(edge for edge in _EDGES if value <= edge) for value in self.latencies)
        used = [position for position, edge in enumerate(_EDGES) if counts[edge]]
        shown = _EDGES[used[0] : used[-1] + 1] if used else ()
        return [(_edge(edge), counts[edge]) for edge in shown]

    def as_dict(self) -> dict[str, Any]:
        latency = {name: round(self.percentile(share), 5) for name, share in SHARES.items()}
        return {
            "planned": self.planned,
            "sent": self.sent,
            "delivered": self.ok,
            "failed": self.failed,
            "duplicates": self.duplicates,
            "seconds": round(self.seconds, 3),
            "delivered_per_second": round(self.ok / self.seconds, 1),
            "latency_seconds": latency if self.latencies else None,
            "answers": dict(self.answers.most_common()),
            "most_open": self.most_open,
            "sender_late_seconds": round(self.most_late, 4),
            "histogram": [{"up_to": edge, "events": count} for edge, count in self.histogram()],
        }


def _edge(seconds: float) -> str:
    if math.isinf(seconds):
        return "any time"
    return f"{seconds * 1000:g} ms" if seconds < 1 else f"{seconds:g} s"


class Storm:
    """Sends `count` events from `messages` to `url`; `figures` can be read while it runs."""

    def __init__(
        self,
        url: str,
        messages: Callable[[], Message],
        count: int,
        *,
        timeout: float = TIMEOUT,
        duplicates_every: int = 0,
        signer: Signer | None = None,
    ) -> None:
        self.endpoint = Endpoint.of(url)
        self.count = count
        self.timeout = timeout
        self.signer = signer
        self.figures = Figures(planned=count)
        self._idle: list[Connection] = []
        self._open = 0
        self._outgoing = self._messages(messages, duplicates_every)

    async def at_rate(self, rate: float) -> Figures:
        """Open loop: send `rate` events per second without waiting for answers."""
        async with self._running(), asyncio.TaskGroup() as group:
            for number, message in enumerate(self._outgoing):
                due = self.figures.begun + number / rate
                if (wait := due - time.perf_counter()) > 0:
                    await asyncio.sleep(wait)
                elif number % 64 == 0:
                    await asyncio.sleep(0)  # behind schedule: let other tasks read answers
                group.create_task(self._send(message, due))
        return self.figures

    async def by_clients(self, clients: int) -> Figures:
        """Closed loop: each client sends its next event after the answer to the last one."""

        async def client() -> None:
            for message in self._outgoing:
                await self._send(message, time.perf_counter())

        async with self._running(), asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(client())
        return self.figures

    def _messages(self, make: Callable[[], Message], duplicates_every: int) -> Iterator[Message]:
        last: Message | None = None
        for number in range(1, self.count + 1):
            if last and duplicates_every and number % duplicates_every == 0:
                self.figures.duplicates += 1
            else:
                last = make()
            yield last

    async def _send(self, message: Message, due: float) -> None:
        figures = self.figures
        if self._open >= _MOST_OPEN:
            figures.answers[f"not sent: {_MOST_OPEN} requests were open"] += 1
            return
        self._open += 1
        figures.sent += 1
        figures.most_open = max(figures.most_open, self._open)
        figures.most_late = max(figures.most_late, time.perf_counter() - due)
        try:
            reply = await self._post(message)
        except asyncio.CancelledError:
            figures.answers[STOPPED] += 1
            raise
        finally:
            self._open -= 1
        figures.answers[str(reply.status) if reply.error is None else reply.error] += 1
        figures.ok += reply.error is None and reply.status in SUCCESS
        if reply.error is None:
            figures.latencies.append(time.perf_counter() - due)

    async def _post(self, message: Message) -> Reply:
        try:
            connection = self._kept() or await Connection(self.endpoint).open(self.timeout)
        except (OSError, TimeoutError) as error:
            return Reply(error=f"cannot connect: {reason(error)}")
        signature = self.signer.headers(message) if self.signer else {}
        try:
            reply = await connection.post(message.body, {**message.headers, **signature}, self.timeout)
        except asyncio.CancelledError:
            connection.close()
            raise
        if connection.usable:
            self._idle.append(connection)
        else:
            connection.close()
        return reply

    def _kept(self) -> Connection | None:
        """An idle connection that the server has not closed, if there is one."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed:
                return connection
            connection.close()
        return None

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        """Note start and end, and close idle connections, also after an error."""
        self.figures.begun = time.perf_counter()
        try:
            yield
        finally:
            self.figures.ended = time.perf_counter()
            for connection in self._idle:
                connection.close()
