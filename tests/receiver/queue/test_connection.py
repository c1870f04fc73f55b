"""Every form of REDIS_URL leads somewhere, and the embedded server keeps what it was told."""

import asyncio
import itertools
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.exceptions import NoPermissionError, ResponseError
from structlog.testing import capture_logs

from receiver.queue import connection
from receiver.queue.connection import REDIS_ERRORS, Outage, connect, until_redis_answers
from receiver.queue.scripts import Script
from receiver.queue.valkey import ServerError, embedded, embedded_server
from tests.faults.proxy import Proxy


@pytest.mark.parametrize(
    ("url", "hosts", "master", "db"),
    [
        ("sentinel://one:26379,two:26380/orders/3", [("one", 26379), ("two", 26380)], "orders", 3),
        ("sentinel://one,two:1/", [("one", 26379), ("two", 1)], "mymaster", 0),
        ("sentinel://user:p%40ss@one:2/orders", [("one", 2)], "orders", 0),
    ],
)
def test_sentinels_are_found(url: str, hosts: list[tuple[str, int]], master: str, db: int) -> None:
    """Each host has its port or Sentinel's usual one; master name and database have defaults."""
    pool = connect(url).connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    sentinels = [sentinel.connection_pool.connection_kwargs for sentinel in pool.sentinel_manager.sentinels]
    assert [(one["host"], one["port"]) for one in sentinels] == hosts
    assert pool.service_name == master
    assert pool.connection_kwargs["db"] == db
    assert pool.connection_kwargs.get("password") == ("p@ss" if "@" in url else None)


async def test_a_call_can_be_cancelled_at_every_step(valkey_url: str) -> None:
    """No cancellation is lost on the way: not even one that arrives together with a result, as in stock redis-py."""
    redis = connect(valkey_url)
    for steps in itertools.count():
        call = asyncio.ensure_future(redis.ping())
        for _ in range(steps):
            await asyncio.sleep(0)
        if not call.cancel():
            break
        await asyncio.wait([call])
        assert call.cancelled()
    await redis.aclose()


async def test_a_server_that_no_longer_reads_is_noticed(tmp_path: Path) -> None:
    """What cannot be written in time ends as Redis trouble, whatever is its size."""
    with embedded_server(tmp_path) as server:
        redis = connect(server.url, timeout=0.1, retries=0)
        await redis.ping()
        server.process.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(REDIS_ERRORS):
                await redis.set("large", bytes(32 << 20))
        finally:
            server.process.send_signal(signal.SIGCONT)
        assert not await redis.exists("large")
        await redis.aclose()


async def test_a_slow_link_is_no_silence(tmp_path: Path) -> None:
    """A large message may take longer than the time-out, there and back; a server that is frozen is noticed."""
    large = os.urandom(2 << 20)
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        port, target = one.getsockname()[1], other.getsockname()[1]
    with embedded_server(tmp_path, "--port", str(target)) as server:
        async with Proxy(port, target, seed=1) as link:
            link.loss, link.rate, link.reply_rate = 0.0, 8e5, 8e5
            redis = connect(f"redis://127.0.0.1:{port}", timeout=1.0, retries=0)
            await redis.set("large", large)
            assert await redis.get("large") == large
            server.process.send_signal(signal.SIGSTOP)
            try:
                async with asyncio.timeout(5):
                    with pytest.raises(REDIS_ERRORS):
                        await redis.get("large")
            finally:
                server.process.send_signal(signal.SIGCONT)
            await redis.aclose()


async def test_the_embedded_server_keeps_its_data_over_kill_9(tmp_path: Path) -> None:
    """What was acknowledged before a crash of Valkey is there after the next start."""
    with embedded(tmp_path) as url:
        redis = connect(url)
        await redis.set("kept", "yes")
        os.kill((await redis.info("server"))["process_id"], signal.SIGKILL)
        await redis.aclose()
    with embedded(tmp_path) as url:
        redis = connect(url)
        assert await redis.get("kept") == b"yes"
        await redis.aclose()


async def test_the_embedded_server_is_safe_by_default(redis_options: dict[str, str]) -> None:
    """It neither evicts nor answers before a write is on the disk."""
    safe = {"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "always"}
    assert redis_options.items() >= safe.items()


@pytest.fixture
async def redis_options(valkey_url: str) -> dict[str, str]:
    redis = connect(valkey_url)
    options: dict[str, str] = await redis.config_get("*")
    await redis.aclose()
    return options


def test_one_folder_serves_one_run(tmp_path: Path) -> None:
    """A second server on the same data is refused with one line that says what to do."""
    with embedded(tmp_path), pytest.raises(ServerError, match="in use by another run"), embedded(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    """No traceback for a path under a file."""
    (tmp_path / "file").touch()
    with pytest.raises(ServerError, match="cannot be written"), embedded(tmp_path / "file" / "data"):
        pass


def test_a_deep_folder_has_a_socket_all_the_same(tmp_path: Path) -> None:
    """A path too long for a socket does not stop the start."""
    with embedded(tmp_path / ("deep" * 30)) as url:
        assert len(url) < 108


async def test_insist_outlasts_trouble_and_nothing_else() -> None:
    """Redis being away is waited out; a mistake of ours is not."""
    answers: list[Exception | str] = [OSError("away"), TimeoutError("away"), "there"]

    async def call() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert await until_redis_answers(call) == "there"
    answers.append(ValueError("ours"))
    with pytest.raises(ValueError, match="ours"):
        await until_redis_answers(call)


async def test_a_connection_that_is_accepted_and_dropped_is_trouble_at_once() -> None:
    """A load balancer before a Redis that is down costs milliseconds and an error, not seconds of recursion."""
    opened = 0

    async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        await reader.read(100)
        writer.transport.abort()

    server = await asyncio.start_server(drop, "127.0.0.1", 0)
    redis = connect(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", timeout=0.5, retries=1)
    began = time.monotonic()
    with pytest.raises(REDIS_ERRORS):
        await redis.get("anything")
    await redis.aclose()
    server.close()
    assert opened <= 4
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_what_was_given_up_does_not_fill_the_link(run: Callable[..., int]) -> None:
    """A batch that took too long is thrown away with its connection, and does not go on ahead of what is sent next."""
    size = 16 << 20

    async def received() -> int:
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            listener.settimeout(10)
            redis = connect(f"redis://127.0.0.1:{listener.getsockname()[1]}", timeout=0.5, retries=0)
            setting = asyncio.ensure_future(redis.set("large", bytes(size)))
            client = await asyncio.to_thread(greeted, listener)
            await asyncio.wait([setting])
            await redis.aclose()
            assert isinstance(setting.exception(), REDIS_ERRORS)
            return await asyncio.to_thread(all_of, client)

    assert run(received()) < size // 4


def greeted(listener: socket.socket) -> socket.socket:
    """A connection to a server that takes what redis-py says of itself, and reads nothing more."""
    client, _ = listener.accept()
    client.settimeout(10)  # of each wait in here: a loop does not end before its threads do
    said = b""
    while said.count(b"SETINFO") < 2 or not said.endswith(b"\r\n"):
        received = client.recv(100)
        assert received, f"given up after {said!r}"
        said += received
    client.sendall(b"+OK\r\n+OK\r\n")
    return client


def all_of(client: socket.socket) -> int:
    """How much arrives until the other side has closed."""
    count = 0
    with client, suppress(ConnectionResetError):
        while data := client.recv(1 << 16):
            count += len(data)
    return count


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_connection_that_was_lost_can_be_given_up(run: Callable[..., None], valkey_url: str) -> None:
    """Its socket is gone already, which is no error: the call that was using it is Redis trouble, and nothing else."""

    async def lose() -> None:
        redis = connect(valkey_url, retries=0)
        await redis.ping()
        [connection] = redis.connection_pool._available_connections
        assert connection._writer
        connection._writer.transport.abort()
        await asyncio.sleep(0.05)
        with pytest.raises(REDIS_ERRORS):
            await connection.send_packed_command([b"PING\r\n"])
        assert await redis.ping()
        await redis.aclose()

    run(lose())


# ── saying that Redis is away ───────────────────────────────────────────────────────────────────────────────────


async def test_an_outage_is_said_once_then_now_and_then_and_when_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many callers wait, and however often each of them tries."""
    outage = Outage(repeat=0.15)
    monkeypatch.setattr(connection, "outage", outage)
    is_away = True

    async def call() -> None:
        if is_away:
            raise OSError("away")

    with capture_logs() as logs:
        waiting = [asyncio.create_task(until_redis_answers(lambda: call())) for _ in range(20)]  # noqa: PLW0108 - one caller each
        await asyncio.sleep(0.4)
        is_away = False
        await asyncio.gather(*waiting)
    events = [(line["event"], line["log_level"]) for line in logs]
    assert events[0] == ("redis is away: waiting", "warning")
    assert events[-1] == ("redis is back", "info")
    assert 1 <= len(events) - 2 <= 3
    assert set(events[1:-1]) == {("redis is away: waiting", "warning")}
    assert logs[0]["error"] == "OSError: away"


async def test_it_is_back_when_the_last_who_waits_is_through() -> None:
    """One caller whose call fails for a reason of its own does not make the log swing to and fro."""
    outage = Outage()
    with capture_logs() as logs:
        outage.trouble("one", OSError())
        for _ in range(5):
            outage.trouble("other", OSError())
            outage.over("other")
        outage.over("never waited")
        assert [line["event"] for line in logs] == ["redis is away: waiting"]
        outage.over("one")
    assert [line["event"] for line in logs] == ["redis is away: waiting", "redis is back"]


async def test_connections_that_break_now_and_then_are_said_once() -> None:
    """A short outage soon after another one is not worth a line; a long one is."""
    outage = Outage(short=0.05)
    with capture_logs() as logs:
        for _ in range(10):
            outage.trouble("one", OSError())
            outage.over("one")
        assert len(logs) == 2
        outage.trouble("one", OSError())
        await asyncio.sleep(0.06)
        outage.trouble("one", OSError())
    assert len(logs) == 3


async def test_who_gives_up_does_not_say_that_it_is_back() -> None:
    """A handler's time-out or a worker's stop ends the waiting, not the outage."""
    outage = Outage()
    with capture_logs() as logs:
        outage.trouble("one", OSError())
        outage.over("one", answered=False)
    assert len(logs) == 1


async def test_a_permission_that_is_missing_is_said_with_its_rule() -> None:
    """Not that Redis is unwell, but what to allow."""
    with capture_logs() as logs:
        Outage().trouble("one", NoPermissionError("User kit has no permissions to run the 'config|get' command"))
    assert logs[0]["error"] == "the Redis user may not run CONFIG GET: add +config|get"


# ── what an error may say ───────────────────────────────────────────────────────────────────────────────────────


async def test_no_error_holds_the_password(tmp_path: Path) -> None:
    """A server that does not know AUTH says what it was given; so do some that only look like Redis."""
    with embedded(tmp_path, "--rename-command", "AUTH", "") as url:
        for user in ("", "glartek"):
            redis = connect(url.replace("unix://", f"unix://{user}:{SECRET}@"), retries=0)
            with pytest.raises(REDIS_ERRORS) as found:
                await redis.ping()
            assert "unknown command 'AUTH'" in str(found.value)
            assert SECRET not in _all_said(found.value)
            await redis.aclose()


@pytest.mark.parametrize("way", ["alone", "pipeline", "transaction"])
async def test_no_error_holds_what_a_command_was_given(valkey_url: str, way: str) -> None:
    """It may be a payload: neither where the server repeats it, nor where redis-py adds the command to an error."""
    redis = connect(valkey_url)
    await redis.set("text", "")

    async def run(*command: Any) -> None:
        if way == "alone":
            await redis.execute_command(*command)
        async with redis.pipeline(transaction=way == "transaction") as pipe:
            pipe.execute_command(*command)
            await pipe.execute()

    for command in (
        ("GIVE", SECRET),
        ("LPUSH", "text", SECRET),
        ("EVAL", "redis.call('INCRBY', 'text', ARGV[1])", 0, SECRET),
    ):
        with pytest.raises(ResponseError) as found:
            await run(*command)
        assert SECRET not in _all_said(found.value)
    await redis.aclose()


async def test_an_error_of_a_replicated_script_holds_no_payload(tmp_path: Path) -> None:
    """The call that stores deliveries where WAIT_REPLICAS is set, in a Redis that lacks a command."""
    with embedded(tmp_path, "--rename-command", "EVALSHA", "") as url:
        redis = connect(url)
        with pytest.raises(ResponseError) as found:
            await Script("return 1").replicated(redis, ["key"], [SECRET], (1, 1))
        assert "unknown command 'EVALSHA'" in str(found.value)
        assert SECRET not in _all_said(found.value)
        await redis.aclose()


SECRET = "Zq7-nobody-may-see-this"


def _all_said(error: BaseException | None) -> str:
    """By an error, and by what is behind it."""
    return f"{error!r} {_all_said(error.__cause__ or error.__context__)}" if error else ""
