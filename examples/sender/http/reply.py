"""Parses an answer, with the details that an ordinary client hides; decodes nothing."""

import asyncio
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import httptools

_KEPT = 64 * 1024  # bytes of an answer's body


@dataclass(slots=True)
class Reply:
    """An answer; without one, `status` is None and `error` says why."""

    status: int | None = None
    seconds: float = 0.0
    error: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    head_bytes: int = 0
    body_bytes: int = 0
    body: bytes = b""
    """Its first 64 KiB, as received."""
    keep_alive: bool = False
    """Whether the answer allows to reuse the connection."""
    continued: bool = False
    """Whether `100 Continue` preceded it."""


class Parsing:
    """Parses an answer, and counts the bytes of head and body, which the parser does not."""

    def __init__(self) -> None:
        self.parser: Any = httptools.HttpResponseParser(self)
        self.reply = Reply()
        self.seen = bytearray()
        self.complete = False
        self.headed = False
        self.continued = asyncio.Event()

    def feed(self, data: bytes) -> None:
        if not self.headed:
            self.seen += data
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # 101: another protocol follows
            self.complete = True

    def on_message_begin(self) -> None:
        self.headed = False
        self.reply = Reply()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.reply.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.headed = True
        self.reply.head_bytes = self.seen.find(b"\r\n\r\n") + 4
        self.reply.status = self.parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self.reply.body_bytes += len(body)
        self.reply.body += body[: _KEPT - len(self.reply.body)]

    def on_message_complete(self) -> None:
        if self.reply.status is not None and self.reply.status >= 200:  # noqa: PLR2004 - 1xx is not the final answer
            self.reply.keep_alive = self.parser.should_keep_alive()
            self.complete = True
        elif self.reply.status == HTTPStatus.CONTINUE:
            self.continued.set()

    def ended(self) -> None:
        """Handle the end of the connection: it ends a body without a length; anything else is incomplete."""
        unbounded = self.headed and not {"content-length", "transfer-encoding"} & self.reply.headers.keys()
        final = (self.reply.status or 200) >= 200  # noqa: PLR2004 - 1xx is not the final answer
        if not (unbounded and self.reply.status and final):
            what = "in the middle of its answer" if self.seen and final else "without an answer"
            self.reply = Reply(error=f"the connection was closed {what}")
