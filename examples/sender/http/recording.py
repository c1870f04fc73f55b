"""A receiver for tests, with a real socket and scripted answers, that records every request byte for byte.

    async with RecordingReceiver([Answer(503), Answer(200)]) as receiver:
        await my_sender(receiver.url)
        first, again = await receiver.wait_for("work_order.completed", 2)
        assert first.body == again.body

It can also send half an answer, reset the connection or never answer, which web frameworks do not support.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Self

from examples.sender.http.answering import Connection
from examples.sender.http.arrivals import Answer, Arrival
from examples.sender.http.recordings import Recording
from examples.sender.http.redaction import Redaction
from examples.sender.payload_map import OURS, PayloadMap

__all__ = ["Answer", "Arrival", "NotArrived", "RecordingReceiver"]


class NotArrived(AssertionError):
    """The expected requests did not arrive in time; the message says what did."""


Answers = Sequence[Answer] | Callable[[Arrival], Answer | Awaitable[Answer]]


class RecordingReceiver:
    """Listens on `host:port` (by default on a free port) during its `async with` block.

    `answers` are given one per request, then always 200; or a function chooses the answer to each complete request.
    `at_headers` may answer before the body is read. `where` has the paths of type and id. `on_end` is called for each
    request that was answered, or whose sender gave up. Raises OSError if the port is taken.
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
        where: PayloadMap = OURS,
        on_end: Callable[[Arrival], None] = lambda _: None,
    ) -> None:
        self._answers = answers
        self._at_headers = at_headers
        self._host, self._port, self._path, self._tls = host, port, path, tls
        self.where, self._on_end = where, on_end
        self._connections: set[Connection] = set()
        self._changed = asyncio.Condition()
        self._news: set[asyncio.Task[None]] = set()
        self._answered = self._numbered = 0
        self.connections = 0
        self.open_requests = 0
        self.arrivals: list[Arrival] = []
        self.malformed: list[str] = []
        """Descriptions of received data that is not HTTP/1.1."""
        self.faults: list[BaseException] = []
        """Exceptions of the script; the first one is raised again at the end of the block."""

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), self._host, self._port, ssl=self._tls)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for connection in tuple(self._connections):
            connection.stop()
        await self._server.wait_closed()
        if self.faults:
            raise self.faults[0]

    @property
    def url(self) -> str:
        """The endpoint's URL, for the sender."""
        return f"{'https' if self._tls else 'http'}://{self._host}:{self._port}{self._path}"

    def of(self, event_type: str | None = None) -> list[Arrival]:
        """The complete requests so far, of one type (name or Glartek's title) or of all."""
        wanted = event_type and self.where.named(event_type)
        return [arrival for arrival in self.arrivals if arrival.complete and wanted in (None, arrival.type)]

    def save(self, folder: Path, *, redact: bool = False) -> list[Path]:
        """Write the complete requests so far to a folder; returns the files of their bodies.

        `redact` replaces people, e-mails, tokens and free text by pseudonyms. Raises `Refusal` and OSError.
        """
        recording = Recording(folder, Redaction(self.where) if redact else None)
        return [recording.save(arrival) for arrival in self.of()]

    async def wait_for(self, event_type: str | None = None, n: int = 1, timeout: float = 10.0) -> list[Arrival]:
        """Wait for at least `n` requests of this type, or of any; raises `NotArrived` after `timeout` seconds."""
        await self.until(lambda: len(self.of(event_type)) >= n, f"{n} of {event_type or 'any type'}", timeout)
        return self.of(event_type)

    async def until(self, condition: Callable[[], bool], expected: str, timeout: float = 10.0) -> None:
        """Wait until a condition on the arrivals holds; `expected` describes it, for `NotArrived`."""
        try:
            async with asyncio.timeout(timeout), self._changed:
                await self._changed.wait_for(condition)
        except TimeoutError:
            came = ", ".join(arrival.type for arrival in self.of()) or "nothing"
            raise NotArrived(f"expected {expected} within {timeout:g} s; came: {came}") from None

    def next_number(self) -> int:
        """The number of the next request, from 1."""
        self._numbered += 1
        return self._numbered

    def joined(self, connection: Connection) -> int:
        """Count a new connection; returns its number."""
        self._connections.add(connection)
        self.connections += 1
        return self.connections

    def left(self, connection: Connection) -> None:
        self._connections.discard(connection)

    def choose_early(self, arrival: Arrival) -> Answer | None:
        """An answer before the body is read; None to read the body first."""
        return self._at_headers(arrival) if self._at_headers else None

    def ended(self, arrival: Arrival) -> None:
        """Called when a request was answered, or its sender gave up."""
        self._on_end(arrival)

    def choose(self, arrival: Arrival) -> Answer | Awaitable[Answer]:
        """The answer to a complete request."""
        if callable(self._answers):
            return self._answers(arrival)
        self._answered += 1
        return self._answers[self._answered - 1] if self._answered <= len(self._answers) else Answer()

    def tell(self) -> None:
        """Wake the tasks that wait for requests."""
        task = asyncio.get_running_loop().create_task(self._notify())
        self._news.add(task)
        task.add_done_callback(self._news.discard)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()
