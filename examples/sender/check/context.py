"""The context of all checks: the endpoint, the limits, fresh events, and the answer to an ordinary event."""

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
    """Limits of the checks. Glartek documents only the 10 s; the other figures are this tool's."""

    timeout: float = TIMEOUT
    """Seconds to wait for an answer."""
    prompt: float = 2.0
    """Seconds within which an answer is prompt."""
    burst: int = 50
    """Deliveries at once."""
    rate: float = 50.0
    """Events per second that the receiver must take; Glartek does not limit its requests."""
    rate_seconds: float = 2.0
    max_rate: float = 400.0
    """Events per second at which the search for the receiver's limit ends."""
    huge: int = 20 * 1024 * 1024
    """Bytes of the huge body."""
    slow_body: float = 2.0
    """Seconds over which a slow body is sent."""
    idle: tuple[float, ...] = (4.0,)
    """Pauses in seconds without any event, before idle connections are used again and many events are sent at once."""
    restart_wait: float = 30.0
    """Seconds within which a killed receiver must accept events again."""
    effects_wait: float = 10.0
    """Seconds to wait for an event's effects."""
    effects_settle: float = 1.0
    """Seconds to wait for a second effect."""

    @property
    def several(self) -> int:
        """Deliveries at once in checks that are not about load: 20, or `burst` if that is less."""
        return min(20, self.burst)


@dataclass(slots=True)
class Commands:
    """The user's commands that some checks need."""

    slow: str | None = None
    """Makes the consumer behind the endpoint slow."""
    restore: str | None = None
    """Undoes `slow`."""
    restart: str | None = None
    """Kills the receiver and starts it again."""


@dataclass(slots=True)
class CheckContext:
    """The endpoint under test. `usual` is its status for an ordinary event, `alone` the seconds for one.

    `ordinary` counts the events sent before all checks, `unsteady` has the answers of those that were refused although
    others were not. `broken` says that a command of the user does not work.
    """

    url: str
    limits: Limits = field(default_factory=Limits)
    samples: Samples = field(default_factory=Samples.ours)
    signer: Signer | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
    """The user's additional headers."""
    count: Count | None = None
    commands: Commands = field(default_factory=Commands)
    rng: Random = field(default_factory=Random)
    usual: int = 200
    alone: float = 0.0
    ordinary: int = 0
    unsteady: list[Reply] = field(default_factory=list)
    broken: bool = False
    pauses: asyncio.Task[Any] | None = None
    """The pauses that the checks in `idle` share."""

    def payload(self, event_type: str | None = None) -> dict[str, Any]:
        """A fresh event that happened now; by default of the first type of the samples."""
        chosen = event_type or next(iter(self.samples.by_type))
        return Story(self.rng, self.samples).event(chosen, datetime.now(UTC))

    def message(self, event_type: str | None = None) -> Message:
        return self.of(self.payload(event_type))

    def of(self, payload: dict[str, Any]) -> Message:
        """The message of a payload."""
        return Message.of(payload, self.samples.where)

    def retyped(self, words: str | None) -> dict[str, Any]:
        """A fresh event with another type, or without one."""
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
        """Send a message on a new connection, its body in `parts` with `pause` seconds between them.

        `lead` is the pause between head and body; with None the head is sent together with the first part.
        """
        size = len(message.body) // parts + 1
        pieces = [message.body[begin : begin + size] for begin in range(0, len(message.body), size)]
        headers = self.headers(message)
        return await wire.post(self.url, pieces, headers, self.limits.timeout, chunked=chunked, pause=pause, lead=lead)

    async def post_bytes(self, body: bytes) -> Reply:
        """Send any bytes, with the content type of JSON."""
        return await self.post(Message.raw(body, self.samples.where))

    async def together(self, messages: Iterable[Message]) -> list[Reply]:
        """Send all messages at once, each on a new connection."""
        return await asyncio.gather(*map(self.post, messages))

    async def connect(self, url: str | None = None) -> wire.Connection:
        return await wire.Connection(wire.Endpoint.of(url or self.url)).open(self.limits.timeout)

    async def post_on(self, connection: wire.Connection) -> Reply:
        """Send a fresh event on an open connection."""
        message = self.message()
        return await connection.post(message.body, self.headers(message), self.limits.timeout)

    def headers(self, message: Message) -> Mapping[str, str]:
        return {**message.headers, **(self.signer.headers(message) if self.signer else {}), **self.extra}

    def fine(self, reply: Reply) -> bool:
        """Whether the answer is a success for Glartek, or this receiver's usual answer.

        So a receiver that always answers 204 fails only the check for that, and not all others.
        """
        return reply.status is not None and (reply.status in SUCCESS or reply.status == self.usual)

    def quick(self, seconds: float) -> bool:
        """Whether an answer was prompt. An always slow receiver fails only the check for that."""
        return seconds <= max(self.limits.prompt, 2 * self.alone)


def said(replies: Iterable[Reply]) -> str:
    """Answers as text: `200`, or `200 (3 times), the connection was closed without an answer`."""
    return in_words(Counter(str(reply.status) if reply.error is None else reply.error for reply in replies))


def in_words(answers: Counter[str]) -> str:
    """Equal answers once, with their number, the most frequent first."""
    if answers.total() == 1:
        return next(iter(answers))
    return ", ".join(f"{words} ({count} times)" if count > 1 else words for words, count in answers.most_common(4))
