"""What a process counts by itself, and how it gets to Redis: once, whatever happens on the way."""

import asyncio
import json
import timeit
from pathlib import Path

import pytest
from arq.connections import ArqRedis
from redis.asyncio import Redis

from receiver import tally as tallies
from receiver.queue.connection import REDIS_ERRORS, connect
from receiver.queue.keys import Keys
from receiver.tally import BUCKETS, Reports, Tally
from tests.conftest import Server, hash_of
from tests.receiver.test_intake import SOURCES, intake_at
from tests.worker.conftest import wire

KEYS = Keys("glartek:")


@pytest.fixture
def tally(monkeypatch: pytest.MonkeyPatch) -> Tally:
    """A tally of the test's own in the place of the process's."""
    own = Tally()
    monkeypatch.setattr(tallies, "tally", own)
    return own


def reports(redis: Redis, kind: str = "worker") -> Reports:
    return Reports(redis, KEYS, kind, lambda: {"said": "something"})


async def measured(redis: ArqRedis) -> dict[str, bytes]:
    return await hash_of(redis, KEYS.metrics)


async def test_all_processes_add_to_the_same_sums(redis: ArqRedis, tally: Tally) -> None:
    """What one process counted is added to what another one did, and counted once."""
    first, second = reports(redis), reports(redis)
    tally.count("spooled", 2)
    await first.send()
    tally.count("spooled")
    tally.count("refused 404")
    await second.send()
    await first.send()
    assert await measured(redis) == {"spooled": b"3", "refused 404": b"1"}


@pytest.mark.parametrize("lost", ["message", "reply"])
async def test_a_report_that_was_cut_off_counts_once(
    redis: ArqRedis, valkey_url: str, tmp_path: Path, tally: Tally, lost: str
) -> None:
    """The client sends it again by itself, and Redis knows whether it had it."""
    await reports(redis).send()  # so that the script is known
    tally.count("spooled", 5)
    async with wire(valkey_url, tmp_path / "wire", b"EVALSHA", lost) as client:
        await reports(client).send()
    assert await measured(redis) == {"spooled": b"5"}


async def test_what_is_counted_while_redis_is_away_comes_later(server: Server, tally: Tally) -> None:
    """Nothing is forgotten, and nothing counted twice."""
    redis = connect(server.url, timeout=0.5, retries=0)
    report = reports(redis)
    tally.count("spooled")
    await report.send()
    server.kill()
    for _ in range(3):
        tally.count("spooled", 10)
        with pytest.raises(REDIS_ERRORS):
            await report.send()
    server.start()
    await report.end()
    assert await measured(redis) == {"spooled": b"31"}
    await redis.aclose()


async def test_durations_are_counted_by_bucket(redis: ArqRedis, tally: Tally) -> None:
    """A bound belongs to its bucket (`le`); the sum is in microseconds; what is longer than all has the last one."""
    for seconds in (0.0, 0.005, 0.0051, 10 * 86400.0):
        tally.run.observe(seconds, "teams.notify")
    await reports(redis).send()
    assert await measured(redis) == {
        "run teams.notify 0": b"2",
        "run teams.notify 1": b"1",
        f"run teams.notify {len(BUCKETS)}": b"1",
        "run teams.notify us": b"864000010100",
    }


async def test_a_process_with_nothing_to_tell_reports_seldom(
    redis: ArqRedis, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only that it lives, every few seconds; what it counts, or says anew of itself, it tells at the next tick."""
    ticks: asyncio.Queue[None] = asyncio.Queue()
    running = 0

    async def tick(_: float) -> None:
        await ticks.get()
        ticks.task_done()

    async def number_after(count: int) -> int:
        for _ in range(count):
            ticks.put_nowait(None)
        await ticks.join()
        [told] = (await hash_of(redis, KEYS.processes)).values()
        return int(told.split(b" ")[1])

    monkeypatch.setattr(tallies, "tick", tick)
    reporting = asyncio.create_task(Reports(redis, KEYS, "worker", lambda: {"running": running}).run())
    try:
        assert await number_after(20) == 1
        tally.count("spooled")
        assert await number_after(20) == 2
        tally.run.observe(0.1, "teams.notify")
        assert await number_after(20) == 3
        tally.latest["action.created"] = 1_800_000_000.0
        assert await number_after(20) == 4
        running = 1
        assert await number_after(20) == 5
        monkeypatch.setattr(tallies, "QUIET", 0.0)
        assert await number_after(20) > 20
    finally:
        reporting.cancel()


async def test_the_latest_time_stays(redis: ArqRedis, tally: Tally) -> None:
    """Whichever process tells it last."""
    tally.latest["action.created"] = 1_800_000_000.9
    await reports(redis).send()
    tally.latest["action.created"] = 1_700_000_000.0
    await reports(redis).send()
    assert await measured(redis) == {"seen action.created": b"1800000000"}


async def test_each_event_of_a_batch_is_seen(valkey_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its type; those outside of the catalog are one."""
    own = Tally()
    monkeypatch.setattr("receiver.intake.tally", own)
    types = ("action.created", "action.solved", "made.up")
    deliveries = [
        SOURCES.delivery({}, json.dumps({"id": name, "type": name}).encode(), number * 1_000_000)
        for number, name in enumerate(types, 1)
    ]
    async with intake_at(valkey_url, tmp_path / "spool.db") as intake:
        await intake.accept_all(deliveries)
    assert own.latest == {"action.created": 1.0, "action.solved": 2.0, "other": 3.0}


async def test_a_process_is_listed_until_it_ends_or_is_silent_for_a_minute(redis: ArqRedis, tally: Tally) -> None:
    """One that was killed cannot say so: the next that starts takes it out."""
    del tally
    seconds, micros = await redis.time()
    now = seconds * 1000 + micros // 1000
    await redis.execute_command(
        "HSET", KEYS.processes, "killed", f"{now - 61_000} 7 {{}}", "frozen", f"{now - 9000} 7 {{}}"
    )
    report = reports(redis, "receiver")
    await report.send()
    listed = await hash_of(redis, KEYS.processes)
    assert "killed" not in listed
    [told] = [json.loads(said.split(b" ", 2)[2]) for name, said in listed.items() if name != "frozen"]
    assert (told["kind"], told["said"]) == ("receiver", "something")
    await report.end()
    assert set(await hash_of(redis, KEYS.processes)) == {"frozen"}


def test_counting_costs_less_than_a_microsecond() -> None:
    """The best of many tries: what it costs by itself, whatever else the machine does."""
    tally = Tally()
    for act in (
        lambda: tally.count("refused 404"),
        lambda: tally.run.observe(0.07, "teams.notify"),
        lambda: tally.latest.__setitem__("action.created", 1.0),
    ):
        assert min(timeit.repeat(act, number=1000, repeat=50)) / 1000 < 1e-6
