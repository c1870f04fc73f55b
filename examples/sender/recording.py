"""A receiver for tests: a real socket, scripted answers, and everything that arrived, byte for byte.

    async with RecordingReceiver([Answer(503), Answer(200)]) as receiver:
        await my_sender(receiver.url)
        first, again = await receiver.wait_for("work_order.completed", 2)
        assert first.body == again.body

It can also do what no framework lets a server do: answer by halves, reset the connection, stay silent.
"""

import asyncio
import socket
import ssl
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Literal, Self

import httptools

from examples.sender.payloads import Message
from receiver import events

_MAX_BODY = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """How to answer one request: `delay` seconds late, and `whole`, cut off by `half`, with a `reset`, or whole
    and then a `close` that nothing announced.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay: float = 0.0
    ending: Literal["whole", "half", "reset", "close"] = "whole"

    def encoded(self, *, keep_alive: bool) -> bytes:
        """The answer on the wire; half of it when the ending says so."""
        phrase = HTTPStatus(self.status).phrase if self.status in set(HTTPStatus) else "Unknown"
        headers = {"content-length": str(len(self.body)), **self.headers}
        if not keep_alive:
            headers["connection"] = "close"
        lines = [f"HTTP/1.1 {self.status} {phrase}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        whole = "\r\n".join(lines).encode("latin-1") + self.body
        return whole[: len(whole) // 2] if self.ending == "half" else whole


@dataclass(slots=True)
class Arrival:
    """One request as it came in."""

    number: int
    connection: int
    began: float
    """Seconds on the monotonic clock when its first byte was read."""
    at: datetime
    method: str = ""
    target: str = ""
    http_version: str = ""
    tls: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    complete: bool = False
    answer: Answer | None = None
    ended: float | None = None
    """Seconds on the monotonic clock when it was answered, or its sender gave up."""
    abandoned: bool = False
    """Whether the sender closed the connection before it was answered."""
    together: int = 1
    """How many requests were being answered when this one arrived, itself included."""

    def header(self, name: str) -> str | None:
        """The first header of this name, in any case."""
        return next((value for key, value in self.headers if key == name.lower()), None)

    @property
    def type(self) -> str:
        return Message.raw(self.body).type

    @property
    def id(self) -> str | None:
        return Message.raw(self.body).id


class NotArrived(AssertionError):
    """What was waited for did not come in time; says what did."""


Answers = Sequence[Answer] | Callable[[Arrival], Answer]


class RecordingReceiver:
    """Listens on `host:port` (any free port by default) for as long as its `async with` block lasts.

    `answers` are given one per request and then 200 for ever, or are chosen by a function from the whole request;
    `at_headers` may answer before the body is read. Raises OSError when the port is taken.
    """

    def __init__(
        self,
        answers: Answers = (),
        *,
        at_headers: Callable[[Arrival], Answer | None] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        path: str = "/webhooks",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._answers = answers
        self.at_headers = at_headers
        self._host, self._port, self._path, self._tls = host, port, path, tls
        self._connections: set[_Connection] = set()
        self._changed = asyncio.Condition()
        self._news: set[asyncio.Task[None]] = set()
        self._answered = 0
        self.connections = 0
        self.open_requests = 0
        self.arrivals: list[Arrival] = []
        self.malformed: list[str] = []
        """What was received that is not HTTP/1.1, in the parser's words."""

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), self._host, self._port, ssl=self._tls)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for connection in tuple(self._connections):
            connection.stop()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        """The endpoint's URL, to be given to a sender."""
        return f"{'https' if self._tls else 'http'}://{self._host}:{self._port}{self._path}"

    def of(self, event_type: str | None = None) -> list[Arrival]:
        """The whole requests so far, of one type or of all; Glartek's titles are understood."""
        wanted = event_type and events.canonical(event_type)
        return [arrival for arrival in self.arrivals if arrival.complete and wanted in (None, arrival.type)]

    async def wait_for(self, event_type: str | None = None, n: int = 1, timeout: float = 10.0) -> list[Arrival]:
        """At least `n` requests of this type, or of any; raises `NotArrived` after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout), self._changed:
                await self._changed.wait_for(lambda: len(self.of(event_type)) >= n)
        except TimeoutError:
            came = ", ".join(arrival.type for arrival in self.of()) or "nothing"
            raise NotArrived(f"expected {n} of {event_type or 'any type'} within {timeout:g} s; came: {came}") from None
        return self.of(event_type)

    def choose(self, arrival: Arrival) -> Answer:
        """The answer to a whole request."""
        if callable(self._answers):
            return self._answers(arrival)
        self._answered += 1
        return self._answers[self._answered - 1] if self._answered <= len(self._answers) else Answer()

    def tell(self) -> None:
        """Wake whoever waits for something to arrive."""
        task = asyncio.get_running_loop().create_task(self._notify())
        self._news.add(task)
        task.add_done_callback(self._news.discard)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


class _Connection(asyncio.Protocol):
    """One connection: httptools parses, one request at a time is answered."""

    def __init__(self, receiver: RecordingReceiver) -> None:
        self.receiver = receiver
        self.parser = httptools.HttpRequestParser(self)
        self.arrival: Arrival | None = None
        self.open: list[Arrival] = []
        self.answering: asyncio.Task[None] | None = None
        self.headers: list[tuple[str, str]] = []
        self.target = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.receiver.connections += 1
        self.number = self.receiver.connections
        self.receiver._connections.add(self)  # noqa: SLF001 - its own connections

    def connection_lost(self, _error: Exception | None) -> None:
        self.receiver._connections.discard(self)  # noqa: SLF001 - its own connections
        if self.answering and not self.answering.done():
            self.answering.cancel()
        for arrival in tuple(self.open):
            arrival.abandoned = True
            self._ended(arrival)

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse("an upgrade to another protocol")
        except httptools.HttpParserError as error:
            self._refuse(str(error))

    def on_message_begin(self) -> None:
        tls = self.transport.get_extra_info("ssl_object")
        number = len(self.receiver.arrivals) + 1
        self.headers, self.target = [], ""
        self.receiver.open_requests += 1
        self.arrival = Arrival(
            number,
            self.number,
            time.monotonic(),
            datetime.now(UTC),
            tls=tls.version() if tls else None,
            together=self.receiver.open_requests,
        )
        self.receiver.arrivals.append(self.arrival)
        self.open.append(self.arrival)

    def on_url(self, url: bytes) -> None:
        self.target += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        arrival = self._current
        arrival.method = self.parser.get_method().decode()
        arrival.target, arrival.http_version = self.target, self.parser.get_http_version()
        arrival.headers = tuple(self.headers)
        early = self.receiver.at_headers and self.receiver.at_headers(arrival)
        if early:
            self._begin(early, keep_alive=False)
        elif (arrival.header("expect") or "").lower() == "100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._current.body += body
        if len(self._current.body) > _MAX_BODY and self._current.answer is None:
            self._begin(Answer(413), keep_alive=False)

    def on_message_complete(self) -> None:
        self._current.complete = True
        if self._current.answer is None:
            self._begin(self.receiver.choose(self._current), keep_alive=self.parser.should_keep_alive())
        self.receiver.tell()

    def stop(self) -> None:
        """Close at once; a request that is still open counts as answered by nothing."""
        self.transport.abort()

    @property
    def _current(self) -> Arrival:
        if self.arrival is None:
            raise RuntimeError("a request has no part before its beginning")
        return self.arrival

    def _begin(self, answer: Answer, *, keep_alive: bool) -> None:
        arrival, before = self._current, self.answering
        arrival.answer = answer

        async def respond() -> None:
            if before:  # HTTP/1.1: pipelined requests are answered in their order
                await before
            await asyncio.sleep(answer.delay)
            self._ended(arrival)
            self._write(answer, keep_alive=keep_alive)

        self.answering = asyncio.get_running_loop().create_task(respond())

    def _write(self, answer: Answer, *, keep_alive: bool) -> None:
        if answer.ending == "reset":
            self._reset()
            return
        self.transport.write(answer.encoded(keep_alive=keep_alive))
        if not keep_alive or answer.ending in {"half", "close"}:
            self.transport.close()

    def _ended(self, arrival: Arrival) -> None:
        arrival.ended = time.monotonic()
        self.open.remove(arrival)
        self.receiver.open_requests -= 1
        self.receiver.tell()

    def _reset(self) -> None:
        raw = self.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close() then sends RST, not FIN
        self.transport.abort()

    def _refuse(self, why: str) -> None:
        self.receiver.malformed.append(why)
        self.transport.write(Answer(400).encoded(keep_alive=False))
        self.transport.close()
