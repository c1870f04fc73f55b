"""A low-level HTTP/1.1 client, for what ordinary clients hide or forbid.

It counts the bytes of head and body, sends chunked or in pieces, can stop within a body, detects closed connections and
is fast enough to generate load. Parsing is httptools'; nothing is decoded, redirected or retried.
"""

import asyncio
import os
import re
import ssl
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Self
from urllib.parse import urlsplit

import httptools
import httpx2

from examples.sender.http.reply import Parsing, Reply
from examples.sender.terminal import Refusal

_CONTINUE = 1.0  # seconds that a client waits for `100 Continue` before it sends its body anyway, as curl does
_ERRNO = re.compile(r"\[Errno (\d+)\]")


Headers = Mapping[str, str] | Sequence[tuple[str, str]]
"""By name, or as pairs if order, case or repeated names matter."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Address and request target of a URL."""

    host: str
    port: int
    target: str
    authority: str
    tls: ssl.SSLContext | None

    @classmethod
    def of(cls, url: str) -> Self:
        parts = urlsplit(url)
        tls = trusted() if parts.scheme == "https" else None
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        authority = parts.netloc.rpartition("@")[2]
        return cls(parts.hostname or "", parts.port or (443 if tls else 80), target, authority, tls)

    def head(self, headers: Headers, length: int | None, method: str = "POST") -> bytes:
        """The request's head; with length None the body is chunked."""
        size = ("transfer-encoding", "chunked") if length is None else ("content-length", str(length))
        lines = [f"{method} {self.target} HTTP/1.1", f"host: {self.authority}", f"{size[0]}: {size[1]}"]
        lines += [f"{name}: {value}" for name, value in _pairs(headers)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class Connection:
    """One connection to an endpoint, for one request after another. Raises OSError if it cannot be opened."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.usable = False

    async def open(self, timeout: float) -> Self:
        async with asyncio.timeout(timeout):
            self.reader, self.writer = await asyncio.open_connection(
                self.endpoint.host, self.endpoint.port, ssl=self.endpoint.tls
            )
        self.usable = True
        return self

    async def post(
        self,
        body: bytes | Sequence[bytes],
        headers: Headers,
        timeout: float,
        *,
        chunked: bool = False,
        pause: float = 0.0,
        lead: float | None = 0.0,
        method: str = "POST",
    ) -> Reply:
        """POST a body, its pieces `pause` seconds apart. Every failure is returned as a `Reply`.

        `lead` is the pause between head and body; with None the head is sent together with the first piece. With the
        header `expect: 100-continue` the body waits for that answer, at most a second.
        """
        begun = time.perf_counter()
        pieces = [body] if isinstance(body, bytes) else list(body)
        head = self.endpoint.head(headers, None if chunked else sum(map(len, pieces)), method)
        if chunked:
            pieces = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b"")]
        if lead is None:
            pieces[:1] = [head + b"".join(pieces[:1])]
        else:
            self.writer.write(head)
        parsing = Parsing()
        asked = parsing.continued if "expect" in dict(_pairs(headers)) else None
        sending = asyncio.create_task(self._send(pieces, lead or 0.0, pause, asked))
        reply = Reply()
        try:
            async with asyncio.timeout(timeout):
                reply = await self._read(parsing)
        except TimeoutError:
            reply.error = f"no answer within {timeout:g} s"
        except OSError as error:
            reply.error = f"the connection broke: {error.strerror or type(error).__name__}"
        except httptools.HttpParserError as error:
            reply.error = f"the answer is not HTTP: {error}"
        finally:
            sent = sending.done() and not sending.cancelled() and sending.exception() is None
            sending.cancel()
        reply.seconds = time.perf_counter() - begun
        reply.continued = parsing.continued.is_set()
        self.usable = reply.error is None and reply.keep_alive and sent
        return reply

    async def stall(self, headers: Headers, announced: int, sent: bytes) -> None:
        """Begin a request, and never finish its body."""
        self.writer.write(self.endpoint.head(headers, announced) + sent)
        await self.writer.drain()

    async def closed_within(self, seconds: float) -> bool:
        """Whether the server closes the idle connection within so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                return not await self.reader.read(1)
        except TimeoutError:
            return False
        except OSError:  # a reset closes it too
            return True

    @property
    def closed(self) -> bool:
        """Whether the server has closed it already."""
        return self.reader.at_eof()

    def close(self) -> None:
        self.usable = False
        self.writer.transport.abort()

    async def _send(self, pieces: Iterable[bytes], lead: float, pause: float, asked: asyncio.Event | None) -> None:
        if lead:
            await asyncio.sleep(lead)
        if asked:
            with suppress(TimeoutError):
                await asyncio.wait_for(asked.wait(), _CONTINUE)
        for number, piece in enumerate(pieces):
            if pause and number:
                await asyncio.sleep(pause)
            self.writer.write(piece)
            await self.writer.drain()

    async def _read(self, parsing: Parsing) -> Reply:
        while not parsing.complete:
            data = await self.reader.read(65536)
            if not data:
                parsing.ended()
                break
            parsing.feed(data)
        return parsing.reply


async def post(
    url: str,
    body: bytes | Sequence[bytes],
    headers: Headers,
    timeout: float = 10.0,
    *,
    chunked: bool = False,
    pause: float = 0.0,
    lead: float | None = 0.0,
    method: str = "POST",
) -> Reply:
    """One POST on a new connection; never raises because of the server."""
    connection = Connection(Endpoint.of(url))
    begun = time.perf_counter()
    try:
        await connection.open(timeout)
    except (OSError, TimeoutError) as error:
        return Reply(seconds=time.perf_counter() - begun, error=f"cannot connect: {reason(error)}")
    try:
        reply = await connection.post(body, headers, timeout, chunked=chunked, pause=pause, lead=lead, method=method)
    finally:
        connection.close()
    reply.seconds = time.perf_counter() - begun  # including the time to connect
    return reply


def _pairs(headers: Headers) -> Iterable[tuple[str, str]]:
    return headers.items() if isinstance(headers, Mapping) else headers


@cache
def trusted() -> ssl.SSLContext:
    """The TLS context: trusts the usual authorities, or those in SSL_CERT_FILE. Cached, because it is slow to create.

    Raises `Refusal` if that file cannot be used.
    """
    try:
        return httpx2.create_ssl_context()
    except OSError as error:
        file = os.environ.get("SSL_CERT_FILE", "")
        raise Refusal(f"SSL_CERT_FILE={file}: expected a file of certificates: {reason(error)}") from None


def reason(error: Exception) -> str:
    """A short text for a system error, such as `Connection refused`."""
    if isinstance(error, TimeoutError):
        return "timed out"
    if not isinstance(error, ssl.SSLError) and (number := _ERRNO.search(str(error))):
        return os.strerror(int(number[1]))  # asyncio's text repeats every address that it tried
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
