"""uvicorn's HTTP protocol, hardened for a public port.

What uvicorn 0.54 with httptools does, and what this class does instead:

- uvicorn buffers a head of any size, and copies the whole buffer for each piece. Here heads, trailers and chunk
  extensions have a size limit, checked before they are parsed; the answer is 431.
- An incomplete head or an unread answer keeps its connection open for ever. Here both have a deadline (`Connections`).
- uvicorn reads and parses further requests while earlier ones wait. Here reading stops behind a waiting request.
- A request with `Upgrade` loses its body and everything after it (Kludex/uvicorn#2722). Here the upgrade is ignored
  (RFC 9110, 7.8).
- Trailers that arrive together with the head become headers. Here they are ignored (RFC 9110, 6.5.1).
- A transfer coding other than chunked is answered 400. Here it is 501 (RFC 9112, 6.1).
- A request that cannot be parsed is answered before earlier requests, which get no answer. Here answers keep the order.
- A sender that closes its side behind a request gets no answer. Here it gets it, then the connection is closed.
- After an answer that precedes the end of the body, the connection is closed at once, and the sender may miss the
  answer. Here the rest of the body is read and discarded for a limited time (RFC 9112, 9.6).

The tests of this package hold the names of `HttpToolsProtocol` that this class uses: `parser` and its callbacks,
`headers`, `url`, `scope`, `cycle`, `pipeline`, `flow`, `server_state`, `app_state`, `_should_upgrade`,
`_start_asgi_task`.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import httptools
import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from receiver.port.connections import Connections
from receiver.tally import tally

DISCARD = 2 * 1024 * 1024
"""Bytes discarded after the final answer while the sender is still sending; beyond that the connection is aborted."""
PIPELINED = 4096
"""Estimated bytes of memory for a pipelined request that waits for earlier ones."""

CLOSING = b"content-length: 0\r\nconnection: close\r\n\r\n"

log = structlog.get_logger()


class GuardedProtocol(HttpToolsProtocol):
    """One connection. `connections`, in the state of the lifespan, has the limits."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._connections: Connections = self.app_state["connections"]
        self._budget = self._room = self._connections.max_head_bytes
        self._refusal: HTTPStatus | None = None
        self._ends = False
        self._unparsed = b""
        self._discarded = self._held = 0

    # ── the connection ─────────────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: Any) -> None:
        super().connection_made(_Transport(transport, self._close))  # type: ignore[arg-type]
        if not self._connections.admit(self):
            self.drop()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.forget(self)
        self._let_go()
        super().connection_lost(exc)
        del self.transport.close  # breaks a reference cycle with this connection

    def eof_received(self) -> bool:  # type: ignore[override]
        """The sender closed its side: answer what it sent whole, then close. True keeps the connection until then."""
        last = self.cycle
        if last is None or last.response_complete or last.more_body or self._refusal is not None:
            return False
        last.keep_alive = False
        return True

    def pause_writing(self) -> None:
        super().pause_writing()
        self._connections.owes(self)

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self._is_in_head():
            self._connections.owes_nothing(self)

    def expire(self) -> None:
        """Close the connection after its deadline; answer 408 if a head is incomplete."""
        if self._is_in_head() and self._refusal is None:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        if self.flow.write_paused:  # closing would wait for the answers to be read
            self.drop()
        self.transport.close_now()  # type: ignore[attr-defined]

    def drop(self) -> None:
        """Close the connection now, to make room for another."""
        self.transport.abort()
        self._let_go()

    def _close(self) -> None:
        """Close now; if the sender is still sending, only half-close, so that it can read the answer."""
        if self._refusal is None and (self.cycle is None or not self.cycle.more_body):
            self.transport.close_now()  # type: ignore[attr-defined]
        elif not self._ends:
            self._ends = True
            if self.cycle is not None:
                self.cycle.body.clear()
            self.flow.resume_reading()  # unread bytes in the kernel would turn the close into a reset
            self.transport.write_eof()
            self._connections.owes(self)

    def _let_go(self) -> None:
        """Drop the waiting requests: they refer to this connection, a cycle that only the collector would free."""
        self.pipeline.clear()
        self._unparsed = b""

    # ── its bytes ──────────────────────────────────────────────────────────────────────────────────────────────

    def data_received(self, data: bytes) -> None:
        if self._ends or self._refusal is not None:
            self._discarded += len(data)
            if self._discarded > DISCARD:
                self.drop()
            return
        if self._unparsed:
            self._unparsed += data
        elif len(data) <= self._room:
            self._feed(data)
        else:
            self._feed_in_pieces(data)
        self._note_state()

    def _feed_in_pieces(self, data: bytes) -> None:
        """Parse at most the rest of the head's limit at a time, and stop behind a request that has to wait."""
        rest = memoryview(data)
        while rest and self._refusal is None and not self.pipeline:
            piece, rest = rest[: self._room], rest[self._room :]
            self._feed(piece)
        self._unparsed = bytes(rest) if self._refusal is None else b""

    def _feed(self, data: bytes | memoryview) -> None:
        cycle = self.cycle
        body = 0 if cycle is None else len(cycle.body)
        try:
            self._parse(data)
        except httptools.HttpParserError as error:
            is_coding = "nvalid `Transfer-Encoding`" in str(error)  # only the text tells this error from others
            self._refuse(HTTPStatus.NOT_IMPLEMENTED if is_coding else HTTPStatus.BAD_REQUEST)
            return
        if self.cycle is not cycle or (cycle is not None and len(cycle.body) > body):
            self._room = self._budget
        else:  # no head was completed, and no part of a body arrived
            self._room -= len(data)
            if self._room <= 0:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def _parse(self, data: bytes | memoryview) -> None:
        """Parse. The parser stops at an upgrade request: then pass the head without `Upgrade` to a new parser."""
        while self._refusal is None:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as ended:
                if self.parser.get_method() == b"CONNECT":
                    self._refuse(HTTPStatus.METHOD_NOT_ALLOWED)
                    return
                data = memoryview(data)[ended.args[0] :]
                head = self._head_without_upgrade()
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
                self.parser.feed_data(head)
            else:
                return

    def _head_without_upgrade(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)]
        lines += [b"%s: %s" % header for header in self.scope["headers"] if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def _should_upgrade(self) -> bool:
        """Always True: then uvicorn does not handle the upgrade itself, and `_parse` can ignore it."""
        return True

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self.headers = []  # the parser appends trailers to `self.headers`: keep them out of the request's list

    # ── its state ──────────────────────────────────────────────────────────────────────────────────────────────

    def _is_in_head(self) -> bool:
        return self.scope is not None and (self.cycle is None or self.cycle.scope is not self.scope)

    def _note_state(self) -> None:
        """Report this connection's state, and the bytes that it holds for unserved requests, to `Connections`."""
        if self._is_in_head():
            self._connections.idle.pop(self, None)
            self._connections.owes(self)
            held = self._budget - self._room
        else:
            held = 0
            if self.cycle is not None and not self.cycle.response_complete and not self.flow.write_paused:
                self._connections.idle.pop(self, None)
                self._connections.owing.pop(self, None)
        if self.pipeline or self._unparsed:
            self.flow.pause_reading()
            held += len(self.pipeline) * PIPELINED + len(self._unparsed)
        if held or self._held:
            self._held = held
            self._connections.holds(self, held)

    def on_response_complete(self) -> None:
        """As uvicorn's, but `Connections` times idle connections, and refusals are sent in the order of requests."""
        self.server_state.total_requests += 1
        if self._ends or self.transport.is_closing():
            return
        if self.pipeline and not (self._refusal and self.pipeline[-1][0].more_body):
            self._start_asgi_task(*self.pipeline.pop())
        elif self._refusal is not None:
            self._answer_refusal(self._refusal)
        elif not self._unparsed and not self._is_in_head():
            self._connections.idle[self] = self.loop.time()
        if not self.pipeline:
            self.flow.resume_reading()
            if self._unparsed:
                self._feed_in_pieces(self._unparsed)
        if self._held:
            self._note_state()

    # ── refusals ───────────────────────────────────────────────────────────────────────────────────────────────

    def _refuse(self, status: HTTPStatus) -> None:
        """Stop parsing; send this answer after those to earlier requests."""
        self._refusal = status
        being_served = self.cycle is not None and not self.cycle.response_complete
        if not self.pipeline and not (being_served and not self.cycle.more_body):
            self._answer_refusal(status)

    def _answer_refusal(self, status: HTTPStatus) -> None:
        cycle = self.cycle
        if cycle is not None and cycle.more_body and not self._is_in_head():  # its body is invalid: end that request
            cycle.disconnected = True
            cycle.message_event.set()
        else:
            tally.count(f"refused {status.value}")
            log.info("refused", status=status.value)
        if cycle is None or cycle.response_complete or not cycle.response_started:
            self.transport.write(b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode()) + CLOSING)
        self.transport.close()


class _Transport:
    """A transport whose `close` is the protocol's. `write` and `is_closing` are bound directly, which is faster."""

    def __init__(self, transport: Any, close: Callable[[], None]) -> None:
        self._transport = transport
        self.write, self.is_closing = transport.write, transport.is_closing
        self.close_now, self.close = transport.close, close

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
