"""The one way out of the spool leads through slow links and around what cannot go, to a real Valkey."""

import asyncio
import socket
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import structlog
from arq.connections import ArqRedis
from redis.exceptions import ConnectionError as RedisConnectionError

from receiver.intake import Intake
from receiver.packing import pack_delivery
from receiver.queue.connection import connect
from receiver.queue.jobs import unpack
from receiver.queue.valkey import embedded
from receiver.spool import Entry, Spool
from receiver.spool.drain import BATCH_ROWS, DAMAGED_REASON, ROW_TIMEOUT
from tests.conftest import Server, until
from tests.faults.proxy import Proxy
from tests.receiver.spool.conftest import KEYS, delivery, entries, made
from tests.receiver.test_intake import accept

MEGABYTE = 1_000_000


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@pytest.fixture(scope="module")
def tcp_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A Valkey that can be reached through a proxy."""
    port = free_port()
    with embedded(tmp_path_factory.mktemp("valkey"), "--port", str(port), "--bind", "127.0.0.1"):
        yield port


@pytest.fixture
async def redis(tcp_port: int) -> AsyncIterator[ArqRedis]:
    """A client that does not go through the proxy."""
    client = connect(f"redis://127.0.0.1:{tcp_port}")
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
async def link(tcp_port: int, redis: ArqRedis) -> AsyncIterator[Proxy]:  # noqa: ARG001 - an empty Valkey
    """A link to Valkey of 4 MB/s that loses nothing."""
    async with Proxy(free_port(), tcp_port, seed=1) as proxy:
        proxy.loss, proxy.rate = 0.0, 4e6
        yield proxy


@asynccontextmanager
async def intake_at(url: str, spool: Spool) -> AsyncIterator[Intake]:
    """An intake as the receiver makes it; nobody watches."""
    redis, draining = connect(url, timeout=0.5, retries=1), connect(url, timeout=ROW_TIMEOUT, retries=0)
    try:
        yield Intake(redis, draining, KEYS, spool)
    finally:
        await redis.aclose()
        await draining.aclose()


@asynccontextmanager
async def through(link: Proxy, spool: Spool) -> AsyncIterator[Intake]:
    async with intake_at(f"redis://127.0.0.1:{link.port}", spool) as intake:
        yield intake


async def drain(intake: Intake, within: float = 20) -> int:
    """Drain until nothing waits; how many were stored."""
    stored = 0
    async with asyncio.timeout(within):
        while (count := await intake.drain.step()) is not None:
            stored += count
    return stored


async def stored(redis: ArqRedis) -> list[bytes]:
    """The jobs on the queue, in order, as they are in the spool's items."""
    ids = await redis.zrange(KEYS.queue, 0, -1)
    return [await redis.get(b"arq:job:" + job_id) for job_id in ids]


def is_in(job: bytes, entry: Entry) -> bool:
    return unpack(job)["a"][0]["body"] in entry.item


async def test_large_deliveries_behind_a_slow_link_go_and_so_does_what_follows(
    link: Proxy, spool: Spool, redis: ArqRedis
) -> None:
    """Two deliveries of 1 MB through 4 MB/s take longer than a sender may wait, and stood there for good."""
    waiting = [delivery("one", MEGABYTE), delivery("two", MEGABYTE), *(delivery(f"small {n}") for n in range(20))]
    await spool.write(waiting)
    async with through(link, spool) as intake:
        assert await drain(intake) == 22
    jobs = await stored(redis)
    assert len(jobs) == 22
    assert all(map(is_in, jobs, waiting))


async def test_a_batch_that_takes_too_long_is_halved_until_it_goes(
    link: Proxy, spool: Spool, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What passes decides how much is sent at once, and more is sent again once more passes."""
    monkeypatch.setattr("receiver.spool.drain.BATCH_TIMEOUT", 0.5)
    waiting = [delivery(str(number), 40_000) for number in range(60)]
    await spool.write(waiting)
    link.rate = 1e6
    async with through(link, spool) as intake:
        assert await intake.drain.step() == 0
        assert await intake.drain.step() == 0
        assert await drain(intake) == 60
        assert intake.drain._count < 30
        link.rate = None
        await spool.write([delivery(f"more {number}") for number in range(1500)])
        assert await drain(intake) == 1500
        assert intake.drain._count == BATCH_ROWS
    assert all(map(is_in, await stored(redis), waiting))
    await spool.look()
    assert spool.aside == 0


async def test_what_alone_takes_too_long_is_set_aside_and_goes_once_it_can(
    link: Proxy, spool: Spool, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those behind it go on; it is kept, told of, and tried again by itself."""
    monkeypatch.setattr("receiver.spool.drain.BATCH_TIMEOUT", 0.5)
    monkeypatch.setattr("receiver.spool.drain.ROW_TIMEOUT", 1.0)
    monkeypatch.setattr("receiver.spool.drain.RETRY_INTERVAL", 0.5)
    large, small = delivery("large", 3 * MEGABYTE), [delivery(str(number)) for number in range(5)]
    await spool.write([small[0], large, *small[1:]])
    link.rate = 1e6
    async with through(link, spool) as intake:
        with structlog.testing.capture_logs() as logs:
            assert await drain(intake) == 5
        assert [line["reason"] for line in logs if "set aside" in line["event"]] == ["took more than 1 s"]
        assert all(map(is_in, await stored(redis), small))
        await spool.look()
        assert (spool.depth, spool.aside) == (0, 1)
        await asyncio.sleep(0.6)
        await intake.drain.retry()
        await spool.look()
        assert spool.aside == 1
        link.rate = None
        await asyncio.sleep(0.6)
        await intake.drain.retry()
        await spool.look()
        assert spool.aside == 0
    assert is_in((await stored(redis))[-1], large)


async def test_what_redis_refuses_is_set_aside_and_nothing_else(link: Proxy, spool: Spool, redis: ArqRedis) -> None:
    """A delivery whose record is something else in Redis is found among all others, which are stored, in order."""
    refused = made("refused")
    await redis.set(KEYS.delivery(refused.id), "not a hash")
    waiting = [delivery(str(number)) for number in range(100)]
    await spool.write([*waiting[:60], Entry(pack_delivery(KEYS, refused)), *waiting[60:]])
    async with through(link, spool) as intake:
        with structlog.testing.capture_logs() as logs:
            assert await drain(intake) == 100
    [told] = [line for line in logs if "set aside" in line["event"]]
    assert (told["delivery"], "WRONGTYPE" in told["reason"]) == (refused.id, True)
    assert all(map(is_in, await stored(redis), waiting))
    await spool.look()
    assert (spool.depth, spool.aside) == (0, 1)


@pytest.mark.parametrize("nonsense", [b"", b"\x93nonsense", b"\xc1", b"\x9c"])
async def test_what_is_no_delivery_is_set_aside(link: Proxy, spool: Spool, redis: ArqRedis, nonsense: bytes) -> None:
    """It is not sent, because in a batch it would change how those behind it are read."""
    waiting = [delivery(str(number)) for number in range(20)]
    await spool.write([*waiting[:5], *entries(nonsense), *waiting[5:]])
    async with through(link, spool) as intake:
        assert await drain(intake) == 20
    assert all(map(is_in, await stored(redis), waiting))
    await spool.look()
    assert (spool.depth, spool.aside) == (0, 1)


async def test_what_is_damaged_in_the_file_is_set_aside(link: Proxy, spool: Spool, redis: ArqRedis, path: Path) -> None:
    """A delivery that is not what was written is never handled as if it were."""
    waiting = [delivery(str(number)) for number in range(10)]
    await spool.write(waiting)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("UPDATE spool SET item = replace(item, 'action.created', 'action.creates') WHERE seq = 5")
    db.close()
    async with through(link, spool) as intake:
        assert await drain(intake) == 9
        row = await spool.take_aside(time.time())
        assert row
        assert await intake.drain.try_again(row, 1) == DAMAGED_REASON
    assert len(await stored(redis)) == 9


async def test_connections_that_break_are_no_fault_of_a_delivery(
    link: Proxy, spool: Spool, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that fails alone, because its connection was lost, is tried again at once."""
    monkeypatch.setattr("receiver.spool.drain.BATCH_ROWS", 1)
    await spool.write([delivery(str(number)) for number in range(40)])
    async with through(link, spool) as intake:
        link.loss = 0.1
        async with asyncio.timeout(20):
            while len(await stored(redis)) < 40:
                with suppress(RedisConnectionError):  # that of the probe was lost, too
                    await intake.drain.step()
        link.loss = 0.0
    await spool.look()
    assert spool.aside == 0


@pytest.mark.parametrize("harm", [Server.kill, Server.freeze])
async def test_redis_in_trouble_is_no_fault_of_a_delivery(
    server: Server, spool: Spool, harm: Callable[[Server], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While Redis is away or frozen nothing is set aside, however often it is tried."""
    monkeypatch.setattr("receiver.spool.drain.BATCH_TIMEOUT", 0.2)
    monkeypatch.setattr("receiver.spool.drain.ROW_TIMEOUT", 0.2)
    await spool.write([delivery("e1")])
    harm(server)
    async with intake_at(server.url, spool) as intake:
        for _ in range(5):
            with pytest.raises((OSError, RedisConnectionError)):
                await intake.drain.step()
    await spool.look()
    assert (spool.depth, spool.aside) == (1, 0)


async def test_fresh_deliveries_do_not_wait_for_a_long_drain(link: Proxy, spool: Spool) -> None:
    """They go straight to Redis while the spool drains, each well within a second."""
    await spool.write([delivery(f"old {number}", 100_000) for number in range(120)])  # 3 s of this link
    async with through(link, spool) as intake:
        watching = asyncio.create_task(intake.watch.run())
        await until(lambda: spool.depth < 120)
        waits: list[float] = []
        while spool.depth:
            began = time.monotonic()
            fresh = await asyncio.wait_for(accept(intake, made(f"fresh {len(waits)}")), 1)
            waits.append(time.monotonic() - began)
            assert fresh.name == "STORED"
        watching.cancel()
        await asyncio.wait([watching])
    assert len(waits) > 10
