"""A receiver for tests: a real socket, scripted answers, and everything that arrived, byte for byte.

    async with RecordingReceiver([Answer(503), Answer(200)]) as receiver:
        await my_sender(receiver.url)
        first, again = await receiver.wait_for("work_order.completed", 2)
        assert first.body == again.body

It can also do what no framework lets a server do: answer by halves, reset the connection, stay silent.
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
    """What was waited for did not come in time; says what did."""


Answers = Sequence[Answer] | Callable[[Arrival], Answer | Awaitable[Answer]]


class RecordingReceiver:
    """Listens on `host:port` (any free port by default) for as long as its `async with` block lasts.

    `answers` are given one per request and then 200 for ever, or are chosen by a function from the whole request;
    `at_headers` may answer before the body is read; `where` says where an arrival's type and id are; `on_end` is told
    of each request when it was answered, or its sender gave up. Raises OSError when the port is taken.
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
        """What was received that is not HTTP/1.1, in the parser's words."""
        self.faults: list[BaseException] = []
        """What the script raised; the first one is raised again at the end of the block."""

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
        """The endpoint's URL, to be given to a sender."""
        return f"{'https' if self._tls else 'http'}://{self._host}:{self._port}{self._path}"

    def of(self, event_type: str | None = None) -> list[Arrival]:
        """The whole requests so far, of one type or of all; Glartek's titles are understood."""
        wanted = event_type and self.where.named(event_type)
        return [arrival for arrival in self.arrivals if arrival.complete and wanted in (None, arrival.type)]

    def save(self, folder: Path, *, redact: bool = False) -> list[Path]:
        """Write the whole requests so far to a folder; the files of their bodies. Raises `Refusal` and OSError.

        `redact` puts stable stand-ins in the place of people, e-mails, tokens and free text.
        """
        recording = Recording(folder, Redaction(self.where) if redact else None)
        return [recording.save(arrival) for arrival in self.of()]

    async def wait_for(self, event_type: str | None = None, n: int = 1, timeout: float = 10.0) -> list[Arrival]:
        """At least `n` requests of this type, or of any; raises `NotArrived` after `timeout` seconds."""
        await self.until(lambda: len(self.of(event_type)) >= n, f"{n} of {event_type or 'any type'}", timeout)
        return self.of(event_type)

    async def until(self, condition: Callable[[], bool], expected: str, timeout: float = 10.0) -> None:
        """Wait until something is so about what arrived; `expected` says what, for `NotArrived`."""
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
        """Count a connection in; returns its number."""
        self._connections.add(connection)
        self.connections += 1
        return self.connections

    def left(self, connection: Connection) -> None:
        self._connections.discard(connection)

    def choose_early(self, arrival: Arrival) -> Answer | None:
        """The answer to a request whose body has not been read; None to read it first."""
        return self._at_headers(arrival) if self._at_headers else None

    def ended(self, arrival: Arrival) -> None:
        """It was answered, or its sender gave up."""
        self._on_end(arrival)

    def choose(self, arrival: Arrival) -> Answer | Awaitable[Answer]:
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
