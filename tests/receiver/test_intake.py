"""A 200 is a promise: the key and the job are stored together, in Redis or on disk, whatever Redis does."""

import asyncio
import json
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from arq.connections import ArqRedis

from receiver.acceptance import ACCEPT, Acceptance
from receiver.delivery import Delivery
from receiver.idempotency import IdempotencyRule
from receiver.intake import Intake, NotStored
from receiver.packing import pack_delivery, script_args, script_keys
from receiver.queue.connection import connect
from receiver.queue.jobs import unpack
from receiver.queue.keys import Keys
from receiver.spool import Entry, Spool
from receiver.spool.drain import ROW_TIMEOUT
from tests.conftest import Server, hash_of, until

KEYS = Keys("glartek:")
SOURCES = IdempotencyRule(("event-id", "body"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def delivery(event_id: str, at: int = 0, **more: Any) -> Delivery:
    body = json.dumps({"id": event_id, "type": "action.created", **more}).encode()
    return SOURCES.delivery({}, body, at or time.time_ns() // 1000)


async def accept_all(redis: ArqRedis, *deliveries: Delivery) -> list[int]:
    """What the script answers to one batch."""
    items = [pack_delivery(KEYS, one) for one in deliveries]
    answers: list[int] = await ACCEPT(redis, script_keys(KEYS), script_args(items))
    return answers


async def queued(redis: ArqRedis) -> list[str]:
    """The event ids on the queue, in the order in which workers take them."""
    jobs = [unpack(await redis.get(b"arq:job:" + job_id)) for job_id in await redis.zrange(KEYS.queue, 0, -1)]
    return [json.loads(job["a"][0]["body"])["id"] for job in jobs]


@asynccontextmanager
async def intake_at(url: str, spool_path: Path, *, is_watched: bool = True) -> AsyncIterator[Intake]:
    """An intake as the receiver makes it, being watched."""
    redis, draining = connect(url, timeout=0.5, retries=1), connect(url, timeout=ROW_TIMEOUT, retries=0)
    spool = Spool(spool_path)
    intake = Intake(redis, draining, KEYS, spool)
    watching = asyncio.create_task(intake.watch.run() if is_watched else asyncio.sleep(0))
    try:
        yield intake
    finally:
        watching.cancel()
        await asyncio.wait([watching])
        await intake.until_stored()
        await spool.close()
        await redis.aclose()
        await draining.aclose()


async def accept(intake: Intake, one: Delivery) -> Acceptance:
    [acceptance] = await intake.accept_all([one])
    return acceptance


async def within_a_second(answer: Awaitable[Acceptance]) -> Acceptance:
    async with asyncio.timeout(1):
        return await answer


# ── the script ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_delivery_is_stored_with_its_key_and_its_job(redis: ArqRedis) -> None:
    """One call writes the record, the job and its place on the queue, and wakes a worker."""
    one = delivery("e1")
    assert await accept_all(redis, one) == [Acceptance.STORED]
    record = await hash_of(redis, KEYS.delivery(one.id))
    assert (record["k"], record["t"]) == (b"e1", b"action.created")
    assert "s" not in record  # a key from the event id, as nearly all are
    assert await redis.zrange(KEYS.queue, 0, -1) == [one.job_id.encode()]
    assert await redis.get(f"arq:job:{one.job_id}") == one.job()
    assert await redis.execute_command("LLEN", KEYS.wake) == 1


async def test_nothing_that_is_open_expires(redis: ArqRedis) -> None:
    """Stock arq gives a queued job 24 hours; ours waits as long as it takes, and so does its key."""
    one = delivery("e1")
    await accept_all(redis, one)
    for key in (f"arq:job:{one.job_id}", KEYS.queue, KEYS.delivery(one.id), KEYS.order):
        assert await redis.pttl(key) == -1, key


async def test_the_same_event_again_is_counted_and_dropped(redis: ArqRedis) -> None:
    """A duplicate makes no job."""
    first = delivery("e1", at=1)
    await accept_all(redis, first)
    assert await accept_all(redis, delivery("e1", at=2), delivery("e1", at=3)) == [Acceptance.DUPLICATE] * 2
    assert await queued(redis) == ["e1"]
    assert (await hash_of(redis, KEYS.delivery(first.id)))["n"] == b"2"
    assert await hash_of(redis, KEYS.counts) == {"accepted": b"1", "duplicates": b"2"}


async def test_the_same_key_with_other_bytes_is_kept_as_a_conflict(redis: ArqRedis) -> None:
    """A wrongly chosen id field swallows nothing: the other event waits beside the dead letters, payload and all."""
    first, other = delivery("e1", at=1), delivery("e1", at=2, title="other")
    await accept_all(redis, first)
    assert await accept_all(redis, other, delivery("e1", at=3, title="other")) == [Acceptance.CONFLICT] * 2
    [dead_id] = await redis.zrange(KEYS.dead, 0, -1)
    kept = await hash_of(redis, KEYS.dead_letter(dead_id.decode()))
    assert kept["kind"] == b"conflict"
    assert unpack(kept["job"])["a"][0]["body"] == other.body
    assert kept["first_digest"] == first.digest[:16]
    assert kept["digest"] == other.digest[:16]
    assert (await hash_of(redis, KEYS.delivery(first.id)))["c"] == b"1"
    assert await redis.pttl(KEYS.dead_letter(dead_id.decode())) == -1
    assert await queued(redis) == ["e1"]


async def test_the_first_conflicts_of_a_key_are_kept_and_all_are_counted(redis: ArqRedis) -> None:
    """A sender that gives every event the same id fills no Redis; what is kept shows what is wrong."""
    first = delivery("e1", at=1)
    others = [delivery("e1", at=number, title=f"{number}") for number in range(2, 32)]
    acceptances = [acceptance for one in (first, *others) for acceptance in await accept_all(redis, one)]
    assert acceptances == [Acceptance.STORED] + [Acceptance.CONFLICT] * 30
    assert await redis.zcard(KEYS.dead) == len(await redis.keys(KEYS.dead_letter("*"))) == 10
    assert (await hash_of(redis, KEYS.delivery(first.id)))["c"] == b"30"
    assert (await hash_of(redis, KEYS.counts))["conflicts"] == b"30"
    await accept_all(redis, others[0])
    assert (await hash_of(redis, KEYS.delivery(first.id)))["c"] == b"30"


async def test_an_acceptance_sent_twice_is_one(redis: ArqRedis) -> None:
    """Who lost the reply sends the same batch again and hears the truth: stored, once, and no duplicate."""
    batch_of_two = [delivery("e1"), delivery("e2")]
    assert await accept_all(redis, *batch_of_two) == [Acceptance.STORED] * 2
    assert await accept_all(redis, *batch_of_two) == [Acceptance.STORED] * 2
    assert await queued(redis) == ["e1", "e2"]
    assert await hash_of(redis, KEYS.counts) == {"accepted": b"2"}


async def test_what_is_stored_already_is_written_to_wait_for(redis: ArqRedis) -> None:
    """A WAIT behind the call must wait for the replica even where the call itself changed nothing."""
    first, other = delivery("e1", at=1), delivery("e1", at=2, title="other")
    await accept_all(redis, first, other)
    for again in (first, other):
        before = (await redis.info("persistence"))["rdb_changes_since_last_save"]
        await accept_all(redis, again)
        assert (await redis.info("persistence"))["rdb_changes_since_last_save"] > before


async def test_each_of_a_batch_has_its_own_fate(redis: ArqRedis) -> None:
    """Stored, duplicate and conflict in one call are told apart, in order."""
    deliveries = [delivery("e1", at=1), delivery("e1", at=2), delivery("e1", at=3, title="x"), delivery("e2")]
    assert await accept_all(redis, *deliveries) == [
        Acceptance.STORED,
        Acceptance.DUPLICATE,
        Acceptance.CONFLICT,
        Acceptance.STORED,
    ]


async def test_scores_rise_strictly_in_the_order_of_acceptance(redis: ArqRedis) -> None:
    """Within a batch, within a millisecond and when the clock goes back, first accepted is first run."""
    names = [f"{number:03}" for number in range(300)]
    shuffled = sorted(names, key=lambda name: (int(name) * 7919) % 300)
    for start in range(0, 300, 50):
        await accept_all(redis, *(delivery(name) for name in shuffled[start : start + 50]))
    ahead = float(await redis.get(KEYS.order)) + 60_000
    await redis.set(KEYS.order, repr(ahead))
    await accept_all(redis, delivery("late"), delivery("a"))
    scores = [score for _, score in await redis.zrange(KEYS.queue, 0, -1, withscores=True)]
    assert len(set(scores)) == 302
    assert scores[-2] > ahead
    assert await queued(redis) == [*shuffled, "late", "a"]


async def test_a_full_redis_stores_all_of_a_delivery_or_nothing(server: Server) -> None:
    """There is no moment in which the key exists without the job."""
    redis = connect(server.url)
    await redis.config_set("maxmemory", 1)
    with pytest.raises(Exception, match="maxmemory"):
        await accept_all(redis, delivery("e1"))
    assert await redis.dbsize() == 0
    await redis.aclose()


async def test_wakes_do_not_pile_up(redis: ArqRedis) -> None:
    """While no worker pops them, the list of wakes stays short."""
    for number in range(50):
        await accept_all(redis, delivery(str(number)))
    assert await redis.execute_command("LLEN", KEYS.wake) == 32


async def test_a_retry_that_differs_where_the_key_does_not_look_is_a_duplicate(redis: ArqRedis) -> None:
    """And no conflict: the fields that body-without leaves out are expected to differ."""
    rule = IdempotencyRule(["body-without:sentAt", "body"])
    first, again = (rule.delivery({}, b'{"id":"e1","sentAt":%d}' % number, number) for number in (1, 2))
    assert await accept_all(redis, first) + await accept_all(redis, again) == [1, 2]


# ── the intake ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_one_key_sent_500_times_at_once_to_two_receivers_is_one_job(
    valkey_url: str, redis: ArqRedis, folder: Path
) -> None:
    """However many senders and receivers, one key is one job, and each is told what became of its own."""
    async with intake_at(valkey_url, folder / "a.db") as one, intake_at(valkey_url, folder / "b.db") as other:
        acceptances = await asyncio.gather(*(accept((one, other)[i % 2], delivery("e1", at=i + 1)) for i in range(500)))
    assert Counter(acceptances) == {Acceptance.STORED: 1, Acceptance.DUPLICATE: 499}
    assert await queued(redis) == ["e1"]


async def test_a_batch_is_stored_whole_and_in_order_beside_others(
    valkey_url: str, redis: ArqRedis, folder: Path
) -> None:
    """A thousand events of one request keep their order however many requests arrive at once; each has its answer."""
    async with intake_at(valkey_url, folder / "spool.db") as intake:
        requests = [
            [delivery(f"{n}.{i}", at=n * 1000 + i + 1) for i in range(1000 if n == 0 else 30)] for n in range(9)
        ]
        acceptances = await asyncio.gather(*map(intake.accept_all, requests))
        again = await intake.accept_all([delivery("0.999"), delivery("new"), delivery("new", at=2)])
    assert {acceptance for one in acceptances for acceptance in one} == {Acceptance.STORED}
    assert again == [Acceptance.DUPLICATE, Acceptance.STORED, Acceptance.DUPLICATE]
    order = await queued(redis)
    for number, request in enumerate(requests):
        assert [key for key in order if key.startswith(f"{number}.")] == [one.key for one in request]


async def test_a_batch_of_which_some_is_stored_already_is_stored_the_rest(
    valkey_url: str, redis: ArqRedis, folder: Path
) -> None:
    """A sender that was not answered comes again with all of it: what is there is a duplicate, nothing is twice."""
    batch = [delivery(str(number), at=number + 1) for number in range(6)]
    async with intake_at(valkey_url, folder / "spool.db") as intake:
        await intake.accept_all(batch[:4])
        again = [one._replace(received_us=one.received_us + 100) for one in batch]
        assert await intake.accept_all(again) == [Acceptance.DUPLICATE] * 4 + [Acceptance.STORED] * 2
    assert await queued(redis) == [str(number) for number in range(6)]


async def test_a_sender_that_hangs_up_does_not_abort_the_storing(
    valkey_url: str, redis: ArqRedis, folder: Path
) -> None:
    """What was received is stored, whether anybody still waits for the answer or not."""
    async with intake_at(valkey_url, folder / "spool.db") as intake:
        accepting = asyncio.create_task(accept(intake, delivery("e1")))
        await asyncio.sleep(0)
        accepting.cancel()
        await intake.until_stored()
        assert accepting.cancelled()
        assert await queued(redis) == ["e1"]


async def test_redis_away_spools_and_drains_in_order(server: Server, folder: Path) -> None:
    """Killed and started again: everything was answered at once, and ends on the queue in the order of arrival."""
    async with intake_at(server.url, folder / "spool.db") as intake:
        assert await accept(intake, delivery("0")) is Acceptance.STORED
        server.kill()
        for number in range(1, 40):
            assert await within_a_second(accept(intake, delivery(str(number)))) is Acceptance.SPOOLED
        assert await within_a_second(accept(intake, delivery("7"))) is Acceptance.SPOOLED
        assert intake.spool.depth == 40
        server.start()
        await until(lambda: intake.spool.depth == 0)
        redis = connect(server.url)
        assert await queued(redis) == [str(number) for number in range(40)]
        assert (await hash_of(redis, KEYS.counts))["duplicates"] == b"1"
        await redis.aclose()
        await until(lambda: not intake.watch.redis_away)
        assert await accept(intake, delivery("after")) is Acceptance.STORED


async def test_a_frozen_redis_is_answered_for_within_a_second(server: Server, folder: Path) -> None:
    """A Redis that says nothing costs a sender no more than a second, at any concurrency."""
    async with intake_at(server.url, folder / "spool.db") as intake:
        await accept(intake, delivery("0"))
        server.freeze()
        acceptances = await asyncio.gather(*(within_a_second(accept(intake, delivery(f"f{i}"))) for i in range(300)))
        assert set(acceptances) == {Acceptance.SPOOLED}
        assert await within_a_second(accept(intake, delivery("x"))) is Acceptance.SPOOLED
        server.thaw()
        await until(lambda: intake.spool.depth == 0)
        redis = connect(server.url)
        assert sorted(await queued(redis)) == sorted(["0", "x", *(f"f{i}" for i in range(300))])
        await redis.aclose()


async def test_redis_nearly_full_is_left_alone(server: Server, folder: Path) -> None:
    """Over 75 % of its memory the receiver spools, so that workers can claim and drain; with room again it goes on."""
    redis = connect(server.url)
    used = (await redis.info("memory"))["used_memory"]
    await redis.config_set("maxmemory", int(used / 0.8))
    async with intake_at(server.url, folder / "spool.db") as intake:
        await until(lambda: intake.watch.redis_full)
        assert await accept(intake, delivery("1")) is Acceptance.SPOOLED
        assert await redis.zcard(KEYS.queue) == 0
        await redis.config_set("maxmemory", 0)
        await until(lambda: intake.spool.depth == 0)
        assert await queued(redis) == ["1"]
    await redis.aclose()


async def test_a_read_only_redis_spools_until_it_is_written_again(server: Server, folder: Path) -> None:
    """A demoted master is as good as away, and is told once, not with every look."""
    redis = connect(server.url)
    async with intake_at(server.url, folder / "spool.db") as intake:
        await redis.replicaof("127.0.0.1", "1")
        with structlog.testing.capture_logs() as logs:
            for number in range(3):
                assert await within_a_second(accept(intake, delivery(str(number)))) is Acceptance.SPOOLED
            await asyncio.sleep(1)  # several looks and attempts to drain
        assert [line["event"] for line in logs] == ["redis is away: spooling"]
        await redis.replicaof("NO", "ONE")
        await until(lambda: intake.spool.depth == 0)
        assert await queued(redis) == ["0", "1", "2"]
    await redis.aclose()


async def test_no_redis_and_no_disk_is_said_so(server: Server, folder: Path) -> None:
    """With nowhere to store it, the caller is told; what was spooled before is still there."""
    async with intake_at(server.url, folder / "spool.db") as intake:
        server.kill()
        assert await accept(intake, delivery("kept")) is Acceptance.SPOOLED
        db = intake.spool._tables.file._db
        assert db
        db.execute("PRAGMA max_page_count=1")
        with pytest.raises(NotStored):
            await accept(intake, delivery("lost", padding="x" * 100_000))
        assert intake.spool.depth == 1


async def test_what_a_killed_receiver_spooled_another_drains(server: Server, folder: Path) -> None:
    """The spool belongs to the host: it drains after a restart, through the same deduplication."""
    left = Spool(folder / "spool.db")
    redis = connect(server.url)
    await accept_all(redis, twice := delivery("twice"))
    await left.write([Entry(pack_delivery(KEYS, twice)), Entry(pack_delivery(KEYS, delivery("once")))])
    await left.close()
    async with intake_at(server.url, folder / "spool.db") as intake:
        await until(lambda: intake.spool.depth == 0)
        assert await queued(redis) == ["twice", "once"]
        assert "duplicates" not in await hash_of(redis, KEYS.counts)
    await redis.aclose()


async def test_two_receivers_drain_one_spool_once(server: Server, folder: Path) -> None:
    """Side by side on one host they empty it in order, each item once."""
    async with intake_at(server.url, folder / "spool.db") as one, intake_at(server.url, folder / "spool.db") as other:
        server.kill()
        for number in range(100):
            await accept((one, other)[number % 2], delivery(str(number)))
        server.start()
        await until(lambda: not one.spool.depth and not other.spool.depth)
        redis = connect(server.url)
        assert await queued(redis) == [str(number) for number in range(100)]
        assert "duplicates" not in await hash_of(redis, KEYS.counts)
        await redis.aclose()


# ── what goes behind the spool, and what need not ───────────────────────────────────────────────────────────────


async def test_order_is_kept_within_a_subject_across_receivers(server: Server, folder: Path) -> None:
    """What one receiver spooled, the next event of its subject waits for at another one; other subjects do not."""
    nowhere, path = "redis://127.0.0.1:1", folder / "spool.db"
    async with intake_at(server.url, path, is_watched=False) as one, intake_at(nowhere, path) as cut_off:
        assert await accept(one, about("a", 0)) is Acceptance.STORED
        assert await accept(cut_off, about("a", 1)) is Acceptance.SPOOLED
        assert await accept(one, about("a", 2)) is Acceptance.SPOOLED
        assert await accept(one, about("b", 0)) is Acceptance.STORED
        assert await accept(one, delivery("without a subject")) is Acceptance.STORED
        many = [accept(one, about(subject, number)) for number in range(3, 30) for subject in "abc"]
        assert Counter(await asyncio.gather(*many)) == {Acceptance.SPOOLED: 27, Acceptance.STORED: 54}
        watching = asyncio.create_task(one.watch.run())
        await until(lambda: not one.spool.depth)
        assert await accept(one, about("a", 30)) is Acceptance.STORED
        watching.cancel()
        await asyncio.wait([watching])
    redis = connect(server.url)
    of_a = [name for name in await queued(redis) if name.startswith("a ")]
    assert of_a == [f"a {number}" for number in range(31)]
    await redis.aclose()


async def test_a_receiver_that_is_cut_off_leaves_the_turn_to_another_one(server: Server, folder: Path) -> None:
    """What it has begun to drain, one that reaches Redis takes at once."""
    path = folder / "spool.db"
    async with intake_at(server.url, path) as cut_off, intake_at(server.url, path, is_watched=False) as other:

        async def lost(*_: object) -> list[Acceptance]:
            raise ConnectionError

        cut_off.drain._store = lost
        await cut_off.spool.write([Entry(pack_delivery(KEYS, about("a", number))) for number in range(5)])
        await asyncio.sleep(0.6)  # several looks
        assert cut_off.spool.depth == 5
        watching = asyncio.create_task(other.watch.run())
        await until(lambda: not cut_off.spool.depth, timeout=3)  # less than a lease
        watching.cancel()
        await asyncio.wait([watching])
    redis = connect(server.url)
    assert await queued(redis) == [f"a {number}" for number in range(5)]
    await redis.aclose()


async def test_what_is_left_to_a_frozen_receiver_comes_back_by_itself(server: Server, folder: Path) -> None:
    """Frozen in the middle of a write, with Redis away: others store in a new file, and all of it gets to Redis."""
    path = folder / "spool.db"
    async with intake_at(server.url, path) as intake:
        server.kill()
        assert await accept(intake, delivery("before")) is Acceptance.SPOOLED
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        assert await accept(intake, delivery("meanwhile")) is Acceptance.SPOOLED
        server.start()
        redis = connect(server.url)
        async with asyncio.timeout(10):
            while sorted(await queued(redis)) != ["before", "meanwhile"]:  # noqa: ASYNC110 - in another process
                await asyncio.sleep(0.05)
        await redis.aclose()
        holder.close()


async def test_nothing_is_looked_up_while_the_spool_is_empty(
    valkey_url: str, redis: ArqRedis, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty spool costs a delivery no call into its thread."""
    async with intake_at(valkey_url, folder / "spool.db") as intake:
        await until(intake.spool.is_empty)
        calls: list[object] = []
        monkeypatch.setattr(intake.spool, "waiting", calls.append)
        await asyncio.gather(*(accept(intake, about("a", number)) for number in range(100)))
        assert calls == []
    assert len(await queued(redis)) == 100


async def test_a_spool_that_cannot_be_written_does_not_stop_what_redis_can_take(server: Server, folder: Path) -> None:
    """With a full disk and Redis back everything is stored, what would wait behind the spool, too."""
    async with intake_at(server.url, folder / "spool.db", is_watched=False) as intake:
        intake.watch.redis_away = True
        assert await accept(intake, about("a", 0)) is Acceptance.SPOOLED
        no_more(intake)
        with structlog.testing.capture_logs() as logs:
            assert await accept(intake, about("a", 1)) is Acceptance.STORED  # although Redis is said to be away
            intake.watch.redis_away = False
            acceptances = await asyncio.gather(*(accept(intake, about("a", number)) for number in range(2, 302)))
        assert set(acceptances) == {Acceptance.STORED}
        assert [line for line in logs if line["log_level"] == "error"] == []
        watching = asyncio.create_task(intake.watch.run())
        await until(lambda: not intake.spool.depth)
        watching.cancel()
        await asyncio.wait([watching])
    redis = connect(server.url)
    assert len(await queued(redis)) == 302
    await redis.aclose()


async def test_redis_nearly_full_and_a_full_disk_store_what_fits(server: Server, folder: Path) -> None:
    """Above its mark Redis is better than nothing; beyond its limit the sender is told to come again."""
    redis = connect(server.url)
    used = (await redis.info("memory"))["used_memory"]
    await redis.config_set("maxmemory", int(used / 0.8))
    async with intake_at(server.url, folder / "spool.db") as intake:
        await until(lambda: intake.watch.redis_full)
        no_more(intake)
        assert await accept(intake, delivery("1")) is Acceptance.STORED
        await redis.config_set("maxmemory", 1)
        with pytest.raises(NotStored):
            await accept(intake, delivery("2"))
        await redis.config_set("maxmemory", 0)
        await until(lambda: not intake.watch.redis_full)
        assert await accept(intake, delivery("2")) is Acceptance.STORED
    await redis.aclose()


def no_more(intake: Intake) -> None:
    """Let the spool's file grow no more, as on a full disk."""
    db = intake.spool._tables.file._db
    assert db
    db.execute("PRAGMA query_only=1")


# ── a Redis that allows less, and a log that cannot be written ──────────────────────────────────────────────────


async def test_a_redis_that_does_not_tell_its_memory_is_used_all_the_same(server: Server, folder: Path) -> None:
    """INFO refused is said once; what was spooled is stored, and what comes is, too."""
    redis = connect(server.url)
    async with intake_at(server.url, folder / "spool.db", is_watched=False) as intake:
        intake.watch.redis_away = True
        assert await accept(intake, delivery("1")) is Acceptance.SPOOLED
        await redis.execute_command("ACL", "SETUSER", "default", "-info")
        with structlog.testing.capture_logs() as logs:
            watching = asyncio.create_task(intake.watch.run())
            await until(lambda: not intake.spool.depth)
            await asyncio.sleep(1.5)  # another look at the memory
            assert await accept(intake, delivery("2")) is Acceptance.STORED
            watching.cancel()
            await asyncio.wait([watching])
        assert intake.watch.memory_unknown
        assert len([line for line in logs if "how full" in line["event"]]) == 1
    await redis.aclose()


async def test_a_redis_that_refuses_for_want_of_memory_is_left_alone_for_a_while(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is full rather than away, whether it tells its memory or not, until it takes deliveries again."""
    monkeypatch.setattr("receiver.watch.FULL_SECONDS", 1.0)
    redis = connect(server.url)
    await redis.execute_command("ACL", "SETUSER", "default", "-info")
    await redis.config_set("maxmemory", 1)
    async with intake_at(server.url, folder / "spool.db") as intake:
        assert await accept(intake, delivery("1")) is Acceptance.SPOOLED
        assert (intake.watch.redis_full, intake.watch.redis_away) == (True, False)
        await redis.config_set("maxmemory", 0)
        await until(lambda: not intake.spool.depth)
        assert await accept(intake, delivery("2")) is Acceptance.STORED
        assert await queued(redis) == ["1", "2"]
    await redis.aclose()


async def test_a_log_that_cannot_be_written_does_not_stop_the_spool(server: Server, folder: Path) -> None:
    """Whatever is told fails, Redis is noticed to be back and the spool drains."""

    def no_space(*_: Any) -> str:
        raise OSError(28, "No space left on device")

    async with intake_at(server.url, folder / "spool.db") as intake:
        structlog.configure(processors=[no_space])
        server.kill()
        assert await within_a_second(accept(intake, delivery("1"))) is Acceptance.SPOOLED
        await asyncio.sleep(1)  # several looks
        server.start()
        await until(lambda: not intake.spool.depth)
        assert await within_a_second(accept(intake, delivery("2"))) is Acceptance.STORED


async def test_a_failed_store_is_told_until_one_succeeds(server: Server, folder: Path) -> None:
    """By a delivery, or by Redis being there again; and not for ever if nothing more is sent."""
    async with intake_at(server.url, folder / "spool.db") as intake:
        assert not intake.watch.is_failing()
        server.kill()
        no_more(intake)
        with pytest.raises(NotStored):
            await accept(intake, delivery("1"))
        await asyncio.sleep(0.5)  # looks at Redis and at the spool
        assert intake.watch.is_failing()
        db = intake.spool._tables.file._db
        assert db
        db.execute("PRAGMA query_only=0")
        assert await accept(intake, delivery("1")) is Acceptance.SPOOLED
        assert not intake.watch.is_failing()
        no_more(intake)
        with pytest.raises(NotStored):
            await accept(intake, delivery("2"))
        assert intake.watch.is_failing()
        server.start()
        await until(lambda: not intake.watch.is_failing())


async def test_a_failure_is_forgotten_when_nobody_sends_any_more(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A load balancer that sends nothing to a receiver that says 503 must not wait for one to be stored."""
    monkeypatch.setattr("receiver.watch.FAILING_SECONDS", 0.5)
    async with intake_at(server.url, folder / "spool.db") as intake:
        server.kill()
        no_more(intake)
        with pytest.raises(NotStored):
            await accept(intake, delivery("1"))
        assert intake.watch.is_failing()
        await until(lambda: not intake.watch.is_failing())


def about(subject: str, number: int) -> Delivery:
    return delivery(f"{subject} {number}", action={"id": subject})


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Log lines of these tests are expected."""
    with structlog.testing.capture_logs():
        yield
