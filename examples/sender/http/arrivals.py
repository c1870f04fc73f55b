"""One request and its answer as values: what a recording receiver answers, and what it received."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Literal

from examples.sender.http.message import Message
from examples.sender.payload_map import OURS, PayloadMap

_MOST_UNPACKED = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """How to answer one request: after `delay` seconds, and with an ending.

    The ending: the `whole` answer, only `half` of it, a `reset`, or the whole answer and an unannounced `close`.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay: float = 0.0
    ending: Literal["whole", "half", "reset", "close"] = "whole"

    def encoded(self, *, keep_alive: bool) -> bytes:
        """The answer's bytes; half of them for the ending `half`."""
        phrase = HTTPStatus(self.status).phrase if self.status in set(HTTPStatus) else "Unknown"
        headers = {"content-length": str(len(self.body)), **self.headers}
        if not keep_alive:
            headers["connection"] = "close"
        lines = [f"HTTP/1.1 {self.status} {phrase}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        whole = "\r\n".join(lines).encode("latin-1") + self.body
        return whole[: len(whole) // 2] if self.ending == "half" else whole


@dataclass(slots=True)
class Arrival:
    """One request as received."""

    number: int
    connection: int
    began: float
    """Seconds on the monotonic clock when its first byte was read."""
    at: datetime
    method: str = ""
    target: str = ""
    http_version: str = ""
    tls: str | None = None
    sent_headers: tuple[tuple[str, str], ...] = ()
    """As received, with order and case."""
    body: bytes = b""
    complete: bool = False
    answer: Answer | None = None
    ended: float | None = None
    """Seconds on the monotonic clock when it was answered, or the sender gave up."""
    abandoned: bool = False
    """Whether the sender closed the connection before it was answered."""
    where: PayloadMap = OURS
    """Where the payload's fields are."""
    together: int = 1
    """How many requests were being answered when this one arrived, itself included."""

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The headers with lower-case names."""
        return tuple((name.lower(), value) for name, value in self.sent_headers)

    def header(self, name: str) -> str | None:
        """The first header with this name, in any case."""
        return next((value for key, value in self.sent_headers if key.lower() == name.lower()), None)

    @property
    def content(self) -> bytes:
        """The body without compression; unchanged if it cannot be unpacked."""
        return unpacked(self.body, self.header("content-encoding") or "")

    @property
    def type(self) -> str:
        return self.message.type

    @property
    def id(self) -> str | None:
        return self.message.id

    @property
    def message(self) -> Message:
        """The body as a message, with type and id."""
        return Message.raw(self.content, self.where)


def unpacked(body: bytes, encoding: str) -> bytes:
    """A gzip or deflate body unpacked, up to 16 MiB; any other or a broken one unchanged."""
    if encoding.strip().lower() not in {"gzip", "x-gzip", "deflate"}:
        return body
    try:
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 32).decompress(body, _MOST_UNPACKED)
    except zlib.error:
        return body
