"""What every check works with: the endpoint, its limits, fresh events, and what an ordinary answer looks like."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any

from examples.sender.check.ledger import Count
from examples.sender.http import wire
from examples.sender.http.delivery import SUCCESS, TIMEOUT
from examples.sender.http.message import Message
from examples.sender.http.reply import Reply
from examples.sender.http.signing import Signer
from examples.sender.play import edits
from examples.sender.play.payloads import Samples, Story
from receiver import events


@dataclass(frozen=True, slots=True)
class Limits:
    """How far the checks go. Glartek documents 10 s and no more; the other figures are this tool's own."""

    timeout: float = TIMEOUT
    """Seconds to wait for an answer."""
    prompt: float = 2.0
    """Seconds within which an answer is quick."""
    burst: int = 50
    """Deliveries at once."""
    rate: float = 50.0
    """Events per second that must be taken; Glartek puts no limit to its requests."""
    rate_seconds: float = 2.0
    max_rate: float = 400.0
    """Events per second at which the search for the receiver's limit ends."""
    huge: int = 20 * 1024 * 1024
    """Bytes of the huge body."""
    slow_body: float = 2.0
    """Seconds over which an event trickles in."""
    idle: tuple[float, ...] = (4.0,)
    """After how many seconds without any event connections are used again, and many events come at once."""
    restart_wait: float = 30.0
    """Seconds within which a receiver that was killed must accept events again."""
    effects_wait: float = 10.0
    """Seconds to wait for an event's effects."""
    effects_settle: float = 1.0
    """Seconds in which a second effect would show."""

    @property
    def several(self) -> int:
        """Deliveries at once where a crowd is not the point: 20, unless `burst` is less."""
        return min(20, self.burst)


@dataclass(slots=True)
class Commands:
    """The user's commands that some checks need."""

    slow: str | None = None
    """Makes the consumer behind the endpoint slow."""
    restore: str | None = None
    """Undoes it."""
    restart: str | None = None
    """Kills the receiver and starts it again."""


@dataclass(slots=True)
class Bench:
    """The endpoint under check. `usual` and `alone` are how, and how fast, it answers an ordinary event."""

    url: str
    limits: Limits = field(default_factory=Limits)
    samples: Samples = field(default_factory=Samples.ours)
    signer: Signer | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
    """Headers of the user's own."""
    count: Count | None = None
    commands: Commands = field(default_factory=Commands)
    rng: Random = field(default_factory=Random)
    usual: int = 200
    alone: float = 0.0
    pauses: asyncio.Task[Any] | None = None
    """What the checks of `idle` share."""

    def payload(self, event_type: str | None = None) -> dict[str, Any]:
        """A fresh event that happened now; of the first type of the samples unless said."""
        chosen = event_type or next(iter(self.samples.by_type))
        return Story(self.rng, self.samples).event(chosen, datetime.now(UTC))

    def message(self, event_type: str | None = None) -> Message:
        return self.of(self.payload(event_type))

    def of(self, payload: dict[str, Any]) -> Message:
        """A payload as it goes out."""
        return Message.of(payload, self.samples.where)

    def retyped(self, words: str | None) -> dict[str, Any]:
        """A fresh event that names another type, or none."""
        payload = self.payload()
        places = [path for path in self.samples.where.type if events.at_path(payload, path) is not None]
        for path in places:
            edits.remove(payload, path)
        if words is not None:
            edits.put(payload, (places or self.samples.where.type)[0], words)
        return payload

    async def post(
        self,
        message: Message,
        *,
        parts: int = 1,
        chunked: bool = False,
        pause: float = 0.0,
        lead: float | None = 0.0,
    ) -> Reply:
        """Send a message on a connection of its own, in so many parts with pauses of so many seconds between them.

        `lead` is the pause between head and body; None sends the head in one piece with the first part.
        """
        size = len(message.body) // parts + 1
        pieces = [message.body[begin : begin + size] for begin in range(0, len(message.body), size)]
        headers = self.headers(message)
        return await wire.post(self.url, pieces, headers, self.limits.timeout, chunked=chunked, pause=pause, lead=lead)

    async def post_bytes(self, body: bytes) -> Reply:
        """Send any bytes, labelled as JSON."""
        return await self.post(Message.raw(body, self.samples.where))

    async def together(self, messages: Iterable[Message]) -> list[Reply]:
        """Send all of them at once, each on a connection of its own."""
        return await asyncio.gather(*map(self.post, messages))

    async def connect(self, url: str | None = None) -> wire.Connection:
        return await wire.Connection(wire.Endpoint.of(url or self.url)).open(self.limits.timeout)

    async def post_on(self, connection: wire.Connection) -> Reply:
        """Send a fresh event on a connection that is open."""
        message = self.message()
        return await connection.post(message.body, self.headers(message), self.limits.timeout)

    def headers(self, message: Message) -> Mapping[str, str]:
        return {**message.headers, **(self.signer.headers(message) if self.signer else {}), **self.extra}

    def fine(self, reply: Reply) -> bool:
        """Success as Glartek means it, or the answer that this receiver gives to any event.

        A receiver that always answers 204 is told so once, by the check made for it, and not by every other.
        """
        return reply.status is not None and (reply.status in SUCCESS or reply.status == self.usual)

    def quick(self, seconds: float) -> bool:
        """Whether an answer was prompt; a receiver that is slow with any event is told so once."""
        return seconds <= max(self.limits.prompt, 2 * self.alone)


def said(replies: Iterable[Reply]) -> str:
    """Answers in words: `200`, or `200 (3 times), the connection was closed without an answer`."""
    return in_words(Counter(str(reply.status) if reply.error is None else reply.error for reply in replies))


def in_words(answers: Counter[str]) -> str:
    """Alike answers are told once, the most frequent first."""
    if answers.total() == 1:
        return next(iter(answers))
    return ", ".join(f"{words} ({count} times)" if count > 1 else words for words, count in answers.most_common(4))
