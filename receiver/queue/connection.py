"""Connects to Redis, and waits for a Redis that is away."""

import asyncio
import fcntl
import itertools
import socket
import struct
import sys
import termios
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, TypeVar, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import structlog
from arq.connections import ArqRedis
from redis.asyncio import ConnectionPool
from redis.asyncio.client import Pipeline
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from receiver.queue.permissions import refusal

T = TypeVar("T")
log = structlog.get_logger()

REDIS_ERRORS = (RedisError, OSError, TimeoutError, RuntimeError)
"""What any Redis call may raise while Redis is away. redis-py passes some OSErrors on; uvloop raises RuntimeError if a
connection is lost during a call."""


def connect(url: str, *, timeout: float = 2.0, retries: int = 2) -> ArqRedis:
    """A client for one process; it connects at first use.

    `timeout` (seconds) limits how long a connection may be silent. It does not limit a large message: on a slow link
    that would be sent, abandoned and sent again for ever. A command without a reply is sent again up to `retries`
    times, because every script of the kit is idempotent. After a read-only error the client reconnects: a demoted
    master keeps its connections open, but the address may lead to the new master.

    `health_check_interval` is not set: if a proxy before a stopped Redis accepts a connection and drops it, redis-py
    5.3 recurses (connecting checks the connection's health, and the check connects), and the call never ends.
    """
    options: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": min(timeout, 1.0),
        "socket_keepalive": True,
        "retry": Retry(ExponentialBackoff(cap=0.2, base=0.01), retries),
        "retry_on_error": [RedisConnectionError, RedisTimeoutError, OSError, ReadOnlyError],
    }
    if url.startswith("sentinel:"):
        client = _through_sentinel(url, options)
    else:
        if url.startswith("unix:"):
            options.pop("socket_keepalive")
        client = _Client(ConnectionPool.from_url(url, **options))
    client.auto_close_connection_pool = True  # the pool is not shared
    pool = client.connection_pool
    pool.connection_class = type("Connection", (_Patient, pool.connection_class), {})
    return client


class _Client(ArqRedis):
    """A client whose errors hold nothing that a command was given: it may be a payload, or the password of REDIS_URL.

    They go into the log. What the server repeats is taken out where its answer is read.
    """

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:  # noqa: FBT001, FBT002 - as redis-py has it
        return _Pipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)


class _Pipeline(Pipeline):
    def annotate_exception(self, exception: Exception, number: int, command: Iterable[object]) -> None:
        """Add which command failed; redis-py adds its arguments, too."""
        super().annotate_exception(exception, number, itertools.islice(command, 1))


_GIVEN = ", with args beginning with"
"""Before what a server was given in a command that it does not know; AUTH may be one."""


LARGE = 64 << 10
"""Bytes that any link takes within any time-out."""


class _Patient(AbstractConnection):
    """A connection that gives up when no byte moves for `socket_timeout`, and whose calls can be cancelled.

    redis-py has a message take no longer than that, whatever its size. It sends with asyncio.wait_for, which before
    Python 3.12 swallows a cancellation that arrives together with its result: a handler would run on past its time-out,
    a worker past its stop. That costs a task for each call, too.
    """

    _received = 0  # bytes
    _is_large = False  # the last command: it may be on its way for longer than the time-out

    async def on_connect(self) -> None:
        reader = cast(asyncio.StreamReader, self._reader)
        feed = reader.feed_data

        def counted(data: Any) -> None:
            self._received += len(data)
            feed(data)

        vars(reader)["feed_data"] = counted  # asyncio has no other place for it
        await super().on_connect()

    async def can_read_destructive(self) -> bool:
        """Whether the server closed it, checked before each use. redis-py's own check can lose a cancellation."""
        return self._reader is None or self._reader.at_eof()

    async def disconnect(self, nowait: bool = False) -> None:  # noqa: FBT001, FBT002
        """Close; with `nowait`, used after a failure, discard what the system has not sent yet.

        An abandoned batch of 4 MiB would otherwise delay the next calls on a slow link.
        """
        if nowait and self._writer is not None and not self._writer.is_closing() and self._unsent():
            with suppress(OSError):  # closed meanwhile
                options = self._writer.get_extra_info("socket")
                options.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self._writer.transport.abort()
        await super().disconnect(nowait)

    def _unsent(self) -> int:
        """Bytes that the system has not sent yet; 0 where it does not tell."""
        with suppress(OSError):
            descriptor = cast(asyncio.StreamWriter, self._writer).get_extra_info("socket").fileno()
            return int.from_bytes(fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
        return 0

    async def read_response(
        self,
        disable_decoding: bool = False,  # noqa: FBT001, FBT002 - as redis-py has it
        timeout: float | None = None,  # noqa: ASYNC109 - the same
        *,
        disconnect_on_error: bool = True,
        push_request: bool | None = False,
    ) -> Any:
        """As redis-py's, but for as long as bytes move in either direction."""
        if timeout is not None:  # redis-py's own, of subscriptions
            return await super().read_response(
                disable_decoding, timeout, disconnect_on_error=disconnect_on_error, push_request=push_request
            )
        try:
            response = await self._read_while_bytes_move(disable_decoding=disable_decoding)
        except BaseException as error:
            if disconnect_on_error:
                await self.disconnect(nowait=True)
            if isinstance(error, OSError):
                raise RedisConnectionError(f"{type(error).__name__} while reading: {error}") from error
            raise
        if isinstance(response, ResponseError):
            response.args = (str(response).partition(_GIVEN)[0],)
            raise response
        return response

    async def _read_while_bytes_move(self, *, disable_decoding: bool) -> Any:
        left: int | None = None
        while True:
            received = self._received
            try:
                async with asyncio.timeout(self.socket_timeout):
                    return await cast(Any, self._parser).read_response(disable_decoding=disable_decoding)
            except TimeoutError:
                before, left = left, self._unsent()
                has_sent = self._is_large if before is None else left < before
                if self._received == received and not has_sent:
                    raise RedisTimeoutError(f"Timeout reading from {self._host_error()}") from None

    async def _send_packed_command(self, command: Any) -> None:
        writer = cast(asyncio.StreamWriter, self._writer)
        self._is_large = sum(map(len, command)) > LARGE
        writer.writelines(command)
        left = writer.transport.get_write_buffer_size()
        while left or writer.is_closing():
            try:
                async with asyncio.timeout(self.socket_timeout):
                    await writer.drain()
            except TimeoutError:
                before, left = left, writer.transport.get_write_buffer_size()
                if left >= before:
                    raise
            else:
                return

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:  # noqa: FBT001, FBT002
        if not self.is_connected:
            await self.connect()
        elif check_health:
            await self.check_health()
        try:
            await self._send_packed_command(command)
        except OSError as error:  # includes TimeoutError
            await self.disconnect(nowait=True)
            raise RedisConnectionError(f"{type(error).__name__} while writing: {error}") from error
        except BaseException:  # part of the command may have been sent
            await self.disconnect(nowait=True)
            raise


def _through_sentinel(url: str, options: dict[str, Any]) -> ArqRedis:
    """`sentinel://[user:password@]host:port,host:port/master-name[/db]`; each new connection looks up the master."""
    parts = urlsplit(url)
    hosts = [host.partition(":") for host in parts.netloc.rpartition("@")[2].split(",") if host]
    master, _, db = parts.path.strip("/").partition("/")
    if parts.password:
        options["password"] = unquote(parts.password)
        options["username"] = unquote(parts.username) if parts.username else None
    sentinel = Sentinel(
        [(host, int(port or 26379)) for host, _, port in hosts],
        sentinel_kwargs={"socket_timeout": options["socket_timeout"]},
        **dict(parse_qsl(parts.query)),
    )
    client = sentinel.master_for(master or "mymaster", redis_class=_Client, db=int(db or 0), **options)
    return cast(ArqRedis, client)


class Outage:
    """Logs that Redis is away: at the start, then every `repeat` s, and when it is back.

    Several callers may wait; Redis is back once all of them got an answer. Within `repeat` s after the last line only
    outages of `short` s or more are logged, because connections that break now and then would fill the log.
    """

    def __init__(self, repeat: float = 60.0, short: float = 5.0) -> None:
        self._repeat, self._short = repeat, short
        self._waiting: set[object] = set()
        self._is_told = False
        self._began, self._told_at = 0.0, float("-inf")

    def trouble(self, who: object, error: BaseException) -> None:
        """Note that a caller got an error and will try again."""
        now = time.monotonic()
        if not self._waiting:
            self._began, self._is_told = now, False
        is_long = not self._is_told and now - self._began >= self._short
        if is_long or now - self._told_at >= self._repeat:
            self._told_at, self._is_told = now, True
            said = refusal(error) or f"{type(error).__name__}: {error}"
            log.warning("redis is away: waiting", error=said[:300], for_s=round(now - self._began))
        self._waiting.add(who)

    def over(self, who: object, *, answered: bool = True) -> None:
        """Note that a caller got its answer, or gave up."""
        if who in self._waiting:
            self._waiting.remove(who)
            if answered and self._is_told and not self._waiting:
                log.info("redis is back", after_s=round(time.monotonic() - self._began, 1))


outage = Outage()


async def until_redis_answers(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat an idempotent call until Redis answers, and return the answer."""
    answered = False
    try:
        for wait in itertools.chain((0.02, 0.05, 0.1, 0.2, 0.5), itertools.repeat(1.0)):
            try:
                answer = await call()
            except REDIS_ERRORS as error:
                outage.trouble(call, error)
                await asyncio.sleep(wait)
            else:
                answered = True
                return answer
        raise AssertionError  # the waits never end
    finally:
        outage.over(call, answered=answered)
