"""A Redis that has lost what it held is noticed and said, once, and a fresh start is none."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from arq.connections import ArqRedis
from structlog.testing import capture_logs

from receiver.queue.keys import Keys
from receiver.queue.watermark import Watermark
from tests.receiver.test_intake import accept_all, delivery

KEYS = Keys("glartek:")


@pytest.fixture
def said() -> Iterator[list[Any]]:
    """What was logged."""
    with capture_logs() as logs:
        yield logs


def losses(said: list[Any]) -> list[str]:
    assert {line["log_level"] for line in said} <= {"error"}
    return [line["what"].split(":")[0] for line in said]


async def test_a_fresh_start_and_a_quiet_life_are_no_loss(redis: ArqRedis, tmp_path: Path, said: list[Any]) -> None:
    """An empty Redis, deliveries, another process that begins later, and a restart of it."""
    for _ in range(2):
        mark, other = Watermark(redis, KEYS, tmp_path / "mark"), Watermark(redis, KEYS)
        for number in range(3):
            await mark.look()
            await other.look()
            await accept_all(redis, delivery(f"e{number}"))
    assert said == []
    assert await mark.noted() is None


async def test_an_emptied_redis_is_noticed_by_each_process_once(redis: ArqRedis, said: list[Any]) -> None:
    """FLUSHALL between two looks, under load, with so short a history that counts and order soon are what they were."""
    marks = [Watermark(redis, KEYS), Watermark(redis, KEYS)]
    await accept_all(redis, delivery("e1"))
    for mark in marks:
        await mark.look()
    await redis.flushall()
    await accept_all(redis, delivery("e2"), delivery("e3"))
    for mark in [*marks, *marks]:
        await mark.look()
    assert losses(said) == ["it was emptied, or another one took its place"] * 2
    noted = await Watermark(redis, KEYS).noted()
    assert noted
    assert "1 deliveries had been accepted" in noted.what
    assert 6 * 86400 < await redis.ttl(KEYS.lost) <= 7 * 86400


async def test_an_older_state_is_noticed(redis: ArqRedis, said: list[Any]) -> None:
    """A backup that was restored: the same data, fewer deliveries, an earlier place in the queue."""
    mark = Watermark(redis, KEYS)
    await accept_all(redis, delivery("e1"))
    backup = {key: await redis.dump(key) for key in await redis.keys(f"{KEYS.prefix}*")}
    for number in range(2, 4):
        await mark.look()
        await accept_all(redis, delivery(f"e{number}"))
    await mark.look()
    await mark.look()
    life = await redis.get(KEYS.life)
    await redis.flushall()
    for key, value in backup.items():
        await redis.restore(key, 0, value)
    await redis.set(KEYS.life, life)
    for _ in range(3):
        await mark.look()
    assert losses(said) == [said[0]["what"].split(":")[0]]
    assert said[0]["what"].startswith("it went back to an older state")
    assert said[0]["what"].endswith("3 accepted deliveries became 1")


async def test_what_only_the_last_look_saw_may_be_gone_after_a_failover(redis: ArqRedis, said: list[Any]) -> None:
    """The latest writes may not have reached the replica, and nobody was told that they were stored."""
    mark = Watermark(redis, KEYS)
    await accept_all(redis, delivery("e1"))
    order = await redis.get(KEYS.order)
    for _ in range(3):
        await mark.look()
    await accept_all(redis, delivery("e2"))
    await mark.look()
    await redis.set(KEYS.order, order)
    await redis.execute_command("HSET", KEYS.counts, "accepted", 1)
    for _ in range(3):
        await mark.look()
    assert said == []


@pytest.mark.parametrize("what", ["emptied", "older"])
async def test_what_happened_while_no_receiver_ran_is_noticed_at_the_start(
    redis: ArqRedis, tmp_path: Path, said: list[Any], what: str
) -> None:
    """A receiver remembers beside its spool what Redis held."""
    await accept_all(redis, delivery("e1"), delivery("e2"))
    await Watermark(redis, KEYS, tmp_path / "mark").look()
    if what == "emptied":
        await redis.flushall()
    else:
        await redis.execute_command("HSET", KEYS.counts, "accepted", 1)
    for _ in range(2):
        await Watermark(redis, KEYS, tmp_path / "mark").look()
    assert len(losses(said)) == 1


async def test_another_prefix_is_another_kit(redis: ArqRedis, tmp_path: Path, said: list[Any]) -> None:
    """A file of one prefix says nothing of another, and one that cannot be read says nothing at all."""
    await Watermark(redis, KEYS, tmp_path / "mark").look()
    await redis.flushall()
    await Watermark(redis, Keys("other:"), tmp_path / "mark").look()
    (tmp_path / "mark").write_text("half a fi", encoding="utf-8")
    await Watermark(redis, KEYS, tmp_path / "mark").look()
    assert said == []
