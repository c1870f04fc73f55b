"""What stock arq 0.28 loses and ours does not: each loss on arq's own worker or `enqueue_job`, and on the kit's."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import pytest
from arq.connections import ArqRedis
from arq.worker import Retry, Worker
from redis.exceptions import ConnectionError as RedisConnectionError
from structlog.testing import capture_logs

from receiver.acceptance import Acceptance, accept_directly
from receiver.queue.connection import connect
from receiver.queue.jobs import pack_job
from tests.conftest import Server, until
from tests.worker.conftest import (
    KEYS,
    Journal,
    Rig,
    asks_nothing,
    body_of,
    delivery_of,
    function,
    put,
    stock_worker,
    stopped,
    wire,
)
from worker.lease.calls import MAX_CRASHES

Run = Callable[..., Awaitable[Any]]
A_DAY_MS = 86_400_000


# ── the silent endings ──────────────────────────────────────────────────────────────────────────────────────────


async def fails(_: dict[str, Any], word: str) -> None:
    raise OSError(word)


async def hangs(_: dict[str, Any], word: str) -> None:  # noqa: ARG001 - a job's argument
    await asyncio.Event().wait()


async def greets(_: dict[str, Any], word: str) -> str:
    return word


async def asks_for_another_try(_: dict[str, Any], word: str) -> None:  # noqa: ARG001 - a job's argument
    raise Retry(defer=0.001)


@dataclass(frozen=True)
class Loss:
    """A job that stock arq deletes without a word, and what ours says of it."""

    do: Run
    reason: str
    args: tuple[Any, ...] = ("payload",)
    name: str = ""
    bytes_: bytes = b""
    function: dict[str, Any] = field(default_factory=dict)

    @property
    def job(self) -> bytes:
        return self.bytes_ or pack_job(self.name or self.do.__name__, list(self.args), 1)


LOSSES = {
    "an ordinary exception": Loss(fails, "OSError: payload"),
    "a time-out": Loss(hangs, "TimeoutError", function={"timeout": 0.02}),
    "an unknown function": Loss(greets, "no function 'renamed' in this worker", name="renamed"),
    "a payload that cannot be read": Loss(greets, "it cannot be read", bytes_=b"\xc1payload"),
    "a payload that is no job": Loss(greets, "it cannot be read", bytes_=b"\x01"),
    "wrong arguments": Loss(greets, "TypeError: ", args=("payload", 2)),
    "all tries used up": Loss(asks_for_another_try, "it was started 2 times without an end", function={"max_tries": 2}),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
async def test_what_stock_arq_deletes_in_silence_is_a_dead_letter(rig: Rig, loss: Loss, journal: Journal) -> None:
    """The stock worker leaves nothing of the job; ours keeps it as it was, with the reason, and goes on."""
    functions = [journal.function(loss.do, **loss.function), journal.function(asks_nothing)]
    await put(rig.redis, "stock", loss.job)
    await stock_worker(rig.redis, functions, burst=True, keep_result=0).async_run()
    assert journal.ends == []
    assert await rig.keys() == [f"{KEYS.queue}:health-check"]

    await put(rig.redis, "ours", loss.job)
    await put(rig.redis, "ours-too", pack_job("asks_nothing", [], 1))
    with capture_logs() as logs:
        async with rig.leased(functions, keep_result=0):
            await rig.idle()
    assert [line["job"] for line in logs] == ["ours"]
    assert "payload" not in str(logs)
    [letter] = await rig.letters()
    assert (letter.id, letter.kind, letter.job) == ("ours:job", "job", loss.job)
    assert letter.reason.startswith(loss.reason)
    assert len(journal.ends) == 1
    assert await rig.keys("arq:*:ours") == []


@pytest.mark.parametrize("time", [10**19, 1e20, 1e23, float("nan"), "x"])
async def test_a_job_that_ends_the_stock_worker_is_a_dead_letter(rig: Rig, journal: Journal, time: Any) -> None:
    """An enqueue time that is none is an error in the stock worker's main loop, and one unreadable job in ours."""
    functions, job = [journal.function(asks_nothing)], pack_job("asks_nothing", [], time)
    await put(rig.redis, "stock", job)
    with pytest.raises((ValueError, OverflowError, OSError, TypeError)):
        await stock_worker(rig.redis, functions, burst=True).async_run()
    await rig.redis.flushall()
    await put(rig.redis, "ours", job)
    async with rig.leased(functions):
        await rig.idle()
    [letter] = await rig.letters()
    assert (letter.job, letter.reason) == (job, "it cannot be read: expected an arq job in msgpack")


async def test_a_result_that_cannot_be_serialised_is_kept_as_text(arq_redis: ArqRedis, rig: Rig) -> None:
    """The stock worker says of a job that succeeded that it failed; ours says what came out."""

    async def makes(_: dict[str, Any]) -> Path:
        return Path("/report")

    for job_id in ("stock", "ours"):
        job = await arq_redis.enqueue_job("makes", _job_id=job_id)
        assert job is not None
        if job_id == "stock":
            worker = stock_worker(arq_redis, [function(makes)], burst=True, job_serializer=msgpack.packb)
            await worker.async_run()
        else:
            async with rig.leased([function(makes)]):
                await rig.idle()
        told = await job.result_info()
        assert told is not None
        assert (told.success, told.result) == (
            (False, "unable to serialize result") if job_id == "stock" else (True, repr(Path("/report")))
        )


# ── kills, signals, time, and Redis away ────────────────────────────────────────────────────────────────────────


async def stopped_while_running(worker: Worker, started: asyncio.Event) -> None:
    """Start a worker, and end it as SIGTERM does as soon as its job runs."""
    started.clear()
    running = asyncio.create_task(worker.async_run())
    await started.wait()
    await stopped(running, lambda: worker.handle_sig(signal.SIGTERM))
    await asyncio.wait(worker.tasks.values())


async def test_a_healthy_job_survives_its_sixth_start(rig: Rig) -> None:
    """Five SIGTERMs of its worker, and the stock worker drops it unrun; ours gives the try back each time."""
    started, may_end = asyncio.Event(), asyncio.Event()
    ends: list[tuple[str, int]] = []

    async def takes_long(ctx: dict[str, Any]) -> None:
        started.set()
        await may_end.wait()
        ends.append((ctx["job_id"], ctx["job_try"]))

    functions = [function(takes_long)]
    await put(rig.redis, "stock", pack_job("takes_long", [], 1))
    for _ in range(5):
        await stopped_while_running(stock_worker(rig.redis, functions), started)
        await rig.redis.delete("arq:in-progress:stock")  # may be left behind, and is waited for: another of its flaws
    may_end.set()
    await stock_worker(rig.redis, functions, burst=True).async_run()
    assert ends == []
    assert not await rig.redis.exists("arq:job:stock", KEYS.queue)

    await put(rig.redis, "ours", pack_job("takes_long", [], 1))
    may_end.clear()
    for _ in range(5):
        started.clear()
        async with rig.leased(functions):
            await started.wait()
    may_end.set()
    async with rig.leased(functions):
        await rig.idle()
    assert ends == [("ours", 1)]
    assert await rig.letters() == []


async def test_a_job_whose_worker_was_killed_five_times_is_kept(rig: Rig, journal: Journal) -> None:
    """What five kill -9 leave in Redis: the stock worker drops the job unrun, ours makes it a dead letter."""
    functions, job = [journal.function(asks_nothing)], pack_job("asks_nothing", [], 1)
    await put(rig.redis, "stock", job)
    await rig.redis.set("arq:retry:stock", 5)
    await stock_worker(rig.redis, functions, burst=True, keep_result=0).async_run()
    assert not await rig.redis.exists("arq:job:stock", KEYS.queue)

    await rig.redis.set("arq:job:ours", job)
    await rig.redis.zadd(KEYS.leases, {"ours": 0})
    await rig.redis.execute_command("HSET", KEYS.crashes, "ours", MAX_CRASHES - 1)
    async with rig.leased(functions):
        await rig.idle()
    [letter] = await rig.letters()
    assert (letter.job, letter.reason) == (job, "its worker was lost 5 times while it ran")
    assert journal.starts == []


async def test_a_job_of_the_kit_does_not_expire_in_the_queue(rig: Rig, arq_redis: ArqRedis) -> None:
    """`enqueue_job` gives a job 24 hours, whatever it is told; the kit's waits as long as it takes."""
    for expires in (None, 0):
        job = await arq_redis.enqueue_job("deliver", _expires=expires)
        assert job is not None
        assert 0 < await rig.redis.pttl(f"arq:job:{job.job_id}") <= A_DAY_MS
    delivery = await rig.send("e1")
    assert await rig.redis.pttl(f"arq:job:{delivery.job_id}") == -1


@pytest.mark.parametrize("lost", ["message", "reply"])
async def test_a_connection_lost_while_accepting_does_not_lose_the_delivery(
    rig: Rig, tmp_path: Path, lost: str
) -> None:
    """`enqueue_job` says None, as for a duplicate, whether the job is there or not; the kit's step says the truth."""
    async with wire(rig.url, tmp_path / "stock", b"EXEC\r\n", lost) as redis:
        assert await redis.enqueue_job("deliver") is None
    assert await rig.redis.zcard(KEYS.queue) == (0 if lost == "message" else 1)

    await rig.redis.flushall()
    async with wire(rig.url, tmp_path / "ours", b"EVALSHA\r\n", lost) as redis:
        assert await accept_directly(redis, KEYS, delivery_of(body_of("e1"))) is Acceptance.STORED
    assert await rig.redis.zcard(KEYS.queue) == 1


async def test_a_worker_outlives_its_redis(server: Server, journal: Journal) -> None:
    """When Redis is gone the stock worker ends; ours waits, and does what is there when it is back."""
    redis = connect(server.url, retries=0)
    rig = Rig(server.url, redis)
    async with rig.leased([journal.function(asks_nothing)]):
        stock = asyncio.create_task(stock_worker(redis, [function(greets)]).async_run())
        await until(lambda: redis.exists(f"{KEYS.queue}:health-check"))
        await asyncio.to_thread(server.kill)
        with pytest.raises((RedisConnectionError, OSError)):
            await stock
        await asyncio.to_thread(server.start)
        await put(redis, "ours", pack_job("asks_nothing", [], 1))
        await rig.idle()
    await redis.aclose()
    assert len(journal.ends) == 1
