"""One connection of a recording receiver: parses with httptools, and answers one request at a time."""

import asyncio
import socket
import struct
import time
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any, Protocol

import httptools

from examples.sender.http.arrivals import Answer, Arrival
from examples.sender.payload_map import PayloadMap

_MAX_BODY = 16 * 1024 * 1024


class Recorder(Protocol):
    """The receiver, as its connections use it."""

    arrivals: list[Arrival]
    malformed: list[str]
    faults: list[BaseException]
    open_requests: int
    where: PayloadMap

    def next_number(self) -> int: ...
    def joined(self, connection: "Connection") -> int: ...
    def left(self, connection: "Connection") -> None: ...
    def choose(self, arrival: Arrival) -> Answer | Awaitable[Answer]: ...
    def ended(self, arrival: Arrival) -> None: ...
    def choose_early(self, arrival: Arrival) -> Answer | None: ...
    def tell(self) -> None: ...


class Connection(asyncio.Protocol):
    """The protocol of one connection; pipelined requests are answered in order."""

    def __init__(self, receiver: Recorder) -> None:
        self.receiver = receiver
        self.parser = httptools.HttpRequestParser(self)
        self.arrival: Arrival | None = None
        self.open: list[Arrival] = []
        self.answering: asyncio.Task[None] | None = None
        self.headers: list[tuple[str, str]] = []
        self.target = ""
        self.upgrading = False
        """Whether the current request offered an upgrade, which is ignored."""
        self.body = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.number = self.receiver.joined(self)

    def connection_lost(self, _error: Exception | None) -> None:
        self.receiver.left(self)
        if self.answering and not self.answering.done():
            self.answering.cancel()
        if self.arrival and not self.arrival.complete:
            self.arrival.body = bytes(self.body)
        for arrival in tuple(self.open):
            arrival.abandoned = True
            self._ended(arrival)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:  # the script raised: report it to the test
            self.receiver.faults.append(error.__context__ or error)
            self.transport.abort()
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_the_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self._refuse(_other_protocol(data) or str(error))

    def on_message_begin(self) -> None:
        if self.upgrading:
            return  # the same request, parsed again by a new parser to read its body
        tls = self.transport.get_extra_info("ssl_object")
        self.headers, self.target, self.body = [], "", bytearray()
        self.receiver.open_requests += 1
        self.arrival = Arrival(
            self.receiver.next_number(),
            self.number,
            time.monotonic(),
            datetime.now(UTC),
            tls=tls.version() if tls else None,
            where=self.receiver.where,
            together=self.receiver.open_requests,
        )
        self.receiver.arrivals.append(self.arrival)
        self.open.append(self.arrival)

    def on_url(self, url: bytes) -> None:
        self.target += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        arrival = self._current
        if not self.upgrading:
            arrival.method = self.parser.get_method().decode()
            arrival.target, arrival.http_version = self.target, self.parser.get_http_version()
            arrival.sent_headers = tuple(self.headers)
        if self.parser.should_upgrade():
            return  # the parser stops here; `data_received` goes on with a new one
        early = self.receiver.choose_early(arrival)
        if early:
            self._begin(early, keep_alive=False)
        elif (arrival.header("expect") or "").lower() == "100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self.body += body
        if len(self.body) > _MAX_BODY and self._current.answer is None:
            self._begin(Answer(413), keep_alive=False)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self.upgrading = False
        self._current.body, self._current.complete = bytes(self.body), True
        if self._current.answer is None:
            self._begin(self.receiver.choose(self._current), keep_alive=self.parser.should_keep_alive())
        self.receiver.tell()

    def stop(self) -> None:
        """Close at once; an open request counts as not answered."""
        self.transport.abort()

    @property
    def _current(self) -> Arrival:
        if self.arrival is None:
            raise RuntimeError("a request has no part before its beginning")
        return self.arrival

    def _begin(self, answer: Answer | Awaitable[Answer], *, keep_alive: bool) -> None:
        arrival, before = self._current, self.answering
        arrival.answer = answer if isinstance(answer, Answer) else None

        async def respond() -> None:
            if before:  # HTTP/1.1: answer pipelined requests in order
                await before
            arrival.answer = chosen = await self._chosen(answer)
            await asyncio.sleep(chosen.delay)
            self._ended(arrival)
            self._write(chosen, keep_alive=keep_alive)

        self.answering = asyncio.get_running_loop().create_task(respond())

    async def _chosen(self, answer: Answer | Awaitable[Answer]) -> Answer:
        if isinstance(answer, Answer):
            return answer
        try:
            return await answer
        except Exception as error:  # noqa: BLE001 - reported at the end of the test
            self.receiver.faults.append(error)
            return Answer(ending="reset")

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
        self.receiver.ended(arrival)
        self.receiver.tell()

    def _reset(self) -> None:
        raw = self.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close() then sends RST, not FIN
        self.transport.abort()

    def _ignore_the_upgrade(self, rest: bytes) -> None:
        """Ignore the offer and read the body (RFC 9110, 7.8); the recorded headers stay unchanged."""
        arrival = self._current
        if arrival.method == "CONNECT":
            self._refuse("CONNECT asks for a tunnel")
            return
        self.upgrading, self.parser = True, httptools.HttpRequestParser(self)
        kept = [(name, value) for name, value in arrival.sent_headers if name.lower() not in {"upgrade", "connection"}]
        if "close" in (arrival.header("connection") or "").lower():
            kept.append(("connection", "close"))
        lines = [f"{arrival.method} {arrival.target} HTTP/{arrival.http_version}"]
        lines += [f"{name}: {value}" for name, value in kept]
        self.data_received(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + rest)

    def _refuse(self, why: str) -> None:
        """Answer 400 to data that is not HTTP, and remove the incomplete request."""
        self.receiver.malformed.append(why)
        if self.arrival and not self.arrival.complete and self.arrival.answer is None:
            self.open.remove(self.arrival)
            self.receiver.arrivals.remove(self.arrival)
            self.receiver.open_requests -= 1
            self.arrival = None
        self.transport.write(Answer(400).encoded(keep_alive=False))
        self.transport.close()


def _other_protocol(data: bytes) -> str:
    """The name of the protocol used instead of HTTP/1.1; "" if unknown."""
    if data.startswith(b"PRI * HTTP/2"):
        return "HTTP/2 without TLS"
    return "TLS, on a port that speaks plain HTTP" if data.startswith(b"\x16\x03") else ""
