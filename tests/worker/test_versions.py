"""Receivers and workers of two versions side by side: what they write is a contract between them, held here as bytes.

What version 0.1 writes must be understood for as long as it may be in someone's Redis or spool. A test that fails
here because today's kit writes something else asks: can the workers of 0.1 that run beside it read that, too?
"""

from typing import Any

import msgpack
import pytest

from receiver.acceptance import ACCEPT, Acceptance, accept_directly
from receiver.delivery import Delivery
from receiver.packing import pack_delivery, script_args, script_keys
from receiver.queue import keys as key_names
from receiver.queue.jobs import pack_job, unpack
from tests.conftest import hash_of, until
from tests.worker.conftest import KEYS, SOURCES, Rig, delivery_of, make_handler
from worker import GiveUp, Skip
from worker.transitions import retry_job

ID = "9be1b04504cff71332126686"
BODY = b'{"id": "evt_1", "type": "action.created", "action": {"id": "a1"}}'
DIGEST = bytes.fromhex("bd5c1e71d9a3a2791ea2f2b72f7ded1bfce61761839345c18e1bce255c79b559")
VALUE = (
    b"\x89\xa2id\xb89be1b04504cff71332126686\xa6source\xa8event-id\xa3key\xa5evt_1\xa6digest\xc4 " + DIGEST +
    b'\xabreceived_us\xcf\x00\x06DYAd"@\xaaevent_type\xaeaction.created\xa7subject\xa9action:a1\xa7headers'
    b"\x81\xaccontent-type\xb0application/json\xa4body\xc4A" + BODY
)  # fmt: skip
JOB = b"\x85\xa1t\xc0\xa1f\xa7deliver\xa1a\x91" + VALUE + b"\xa1k\x80\xa2et\xcf\x00\x00\x01\x9a\xb6\x97\xe8{"
JOB_ID = f"{ID}:6445941642240"
RETRY = (
    b"\x85\xa1t\xc0\xa1f\xa5retry\xa1a\x95" + VALUE +
    b"\xa5h.act\x02\x01\xcf\x00\x00\x01\x9a\xb6\x97\xe9\xf4\xa1k\x80\xa2et\xcf\x00\x00\x01\x9a\xb6\x97\xeb\xe8"
)  # fmt: skip
RETRY_ID = f"{ID}:h.act:1"
SPOOLED = (
    b"\x9c\xda\x00)glartek:delivery:9be1b04504cff71332126686"
    b"\xda\x00.arq:job:9be1b04504cff71332126686:6445941642240\xda\x00&9be1b04504cff71332126686:6445941642240"
    b"\xb0" + DIGEST[:16] + b"\xb01764000000123456\xa5evt_1\xa8event-id\xaeaction.created\xa9action:a1"
    b"\xda\x010" + JOB + b"\xda\x00?glartek:dead:9be1b04504cff71332126686:conflict:bd5c1e71d9a3a279"
    b"\xda\x0029be1b04504cff71332126686:conflict:bd5c1e71d9a3a279"
)  # fmt: skip
RECORD = {
    "k": b"evt_1", "t": b"action.created", "d": DIGEST[:16], "a": b"1764000000123456",
    "u": b"action:a1",
}  # fmt: skip


@pytest.fixture
def delivery() -> Delivery:
    """The one that the bytes above are of."""
    return SOURCES.delivery({"content-type": "application/json"}, BODY, 1_764_000_000_123_456)


# ── what is written ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_is_written_is_what_version_0_1_writes(rig: Rig, delivery: Delivery) -> None:
    """Job, record, spooled item and retry job, byte for byte."""
    await rig.accept(delivery)
    assert await rig.redis.get(key_names.JOB + JOB_ID) == JOB
    assert await rig.redis.zrange(KEYS.queue, 0, -1) == [JOB_ID.encode()]
    record = await hash_of(rig.redis, KEYS.delivery(ID))
    del record["q"]  # of what was accepted long ago; 0.1 reads past it, as past all without a dot that it does not know
    assert record == RECORD
    assert pack_delivery(KEYS, delivery) == SPOOLED
    written = unpack(retry_job(delivery, "h.act", 2, 1, 1_764_000_000_500))
    assert msgpack.packb(written | {"et": 1_764_000_001_000}) == RETRY


async def test_an_outcome_is_written_as_version_0_1_writes_it(rig: Rig, delivery: Delivery) -> None:
    """State, attempt and milliseconds since the acceptance, in a field named as the handler."""

    def fails_once(attempt: int) -> None:
        if attempt == 1:
            raise OSError("away")

    await rig.accept(delivery)
    async with rig.working({"*": [make_handler("act", fails_once), make_handler("other", lambda _: give_up())]}):
        await rig.closed(delivery)
    record = await hash_of(rig.redis, KEYS.delivery(ID))
    assert set(record) == {"k", "t", "d", "a", "q", "h.act", "h.other"}
    state, attempt, after = record["h.act"].split()
    assert (state, attempt, after.isdigit()) == (b"done", b"2", True)
    dead = await hash_of(rig.redis, KEYS.dead_letter(f"{ID}:h.other"))
    about = {"delivery", "type", "key", "source", "accepted"}
    assert set(dead) == {"kind", "job", "reason", "handler", "tries", "at"} | about


async def test_a_skipped_event_is_an_end_for_version_0_1(rig: Rig, delivery: Delivery) -> None:
    """Its form is that of the other outcomes, and no word of it is one that 0.1 goes on with (`retry`)."""

    def skip(_: int) -> None:
        raise Skip("older")

    await rig.accept(delivery)
    async with rig.working({"*": [make_handler("act", skip)]}):
        await rig.closed(delivery)
    record = await hash_of(rig.redis, KEYS.delivery(ID))
    state, attempt, after = record["h.act"].split()
    assert (state, attempt, after.isdigit()) == (b"skipped", b"1", True)


def give_up() -> None:
    raise GiveUp("no")


# ── what an older version wrote ─────────────────────────────────────────────────────────────────────────────────


async def put(rig: Rig, job_id: str, job: bytes, **record: bytes) -> None:
    """A job and its record, as another version of the kit left them."""
    await rig.redis.set(key_names.JOB + job_id, job)
    await rig.redis.zadd(KEYS.queue, {job_id: 1_764_000_000_123})
    fields = RECORD | {name.replace("_", "."): value for name, value in record.items()}
    await rig.redis.execute_command("HSET", KEYS.delivery(ID), *(part for pair in fields.items() for part in pair))


async def test_a_delivery_spooled_by_version_0_1_is_handled(rig: Rig, delivery: Delivery) -> None:
    """A receiver that was upgraded finds its spool as the old one left it."""
    acceptances = await ACCEPT(rig.redis, script_keys(KEYS), script_args([SPOOLED]))
    assert acceptances == [Acceptance.STORED]
    async with rig.working({"*": [make_handler("act")]}):
        await rig.closed(delivery)
    assert await rig.states(delivery) == {"h.act": "done"}


async def test_a_retry_job_of_version_0_1_is_run(rig: Rig, delivery: Delivery) -> None:
    """As the attempt that it says, and its record is closed."""
    await put(rig, RETRY_ID, RETRY, h_act=b"retry 1 377", h_other=b"done 1 12")
    await rig.redis.execute_command("HDEL", KEYS.delivery(ID), "u")
    attempts: list[int] = []
    async with rig.working({"*": [make_handler("act", attempts.append), make_handler("other")]}):
        await rig.closed(delivery)
    assert attempts == [2]
    assert await rig.states(delivery) == {"h.act": "done", "h.other": "done"}


async def test_a_claim_that_a_killed_worker_of_version_0_1_left_is_taken_over(rig: Rig, delivery: Delivery) -> None:
    """Lease, token, crashes and lease clock are understood; what was done is not run again."""
    await put(rig, JOB_ID, JOB, h_other=b"done 1 12")
    await rig.redis.zrem(KEYS.queue, JOB_ID)
    await rig.redis.set(key_names.IN_PROGRESS + JOB_ID, "0f8fad5bd9cb469fa165408e1e1f9b4c")
    await rig.redis.set(key_names.RETRY + JOB_ID, 1)
    await rig.redis.execute_command("HSET", KEYS.crashes, JOB_ID, 1)
    await rig.redis.execute_command("HSET", KEYS.lease_clock, "seen", 1_764_000_005_000, "reads", 81_000)
    await rig.redis.zadd(KEYS.leases, {JOB_ID: 81_200})
    runs: list[int] = []
    async with rig.working({"*": [make_handler("act", runs.append), make_handler("other", runs.append)]}):
        await rig.closed(delivery)
        await rig.idle()
    assert runs == [1]
    assert await rig.keys("arq:*") == []


async def test_a_dead_letter_and_a_conflict_of_version_0_1_are_replayed(rig: Rig, delivery: Delivery) -> None:
    """However old they are."""
    dead_id, conflict_id = f"{ID}:h.act", f"{ID}:conflict:bd5c1e71d9a3a279"
    about = ("type", "action.created", "key", "evt_1", "source", "event-id", "accepted", "1764000000123456")
    dead = ("kind", "dead", "job", RETRY, "reason", "no", "handler", "h.act", "tries", 1, "at", 1_764_000_000_500)
    conflict = ("kind", "conflict", "job", JOB, "at", 1_764_000_000_500, "digest", DIGEST[:16])
    first = ("first_digest", b"\0" * 16)
    await rig.redis.execute_command("HSET", KEYS.dead_letter(dead_id), *dead, *about, "delivery", ID)
    await rig.redis.execute_command("HSET", KEYS.dead_letter(conflict_id), *conflict, *first, *about)
    await rig.redis.zadd(KEYS.dead, {dead_id: 1_764_000_000_500, conflict_id: 1_764_000_000_501})
    letters = await rig.letters()
    assert [letter.id for letter in letters] == [dead_id, conflict_id]
    assert [letter.body() for letter in letters] == [BODY, BODY]
    runs: list[int] = []
    async with rig.working({"*": [make_handler("act", runs.append)]}):
        assert [await rig.operator.replay_letter(letter) for letter in letters] == [True, True]
        await rig.closed(delivery)
        await rig.idle()
    assert sorted(runs) == [1, 2]
    assert await rig.letters() == []


# ── what a newer version writes ─────────────────────────────────────────────────────────────────────────────────


def newer(delivery: Delivery) -> Delivery:
    """As a receiver of a version to come may have written it."""
    return delivery._replace(more={"tenant": "north", "trace": {"id": b"\x01"}})


async def test_what_a_newer_version_added_to_a_delivery_is_handed_on(rig: Rig, delivery: Delivery) -> None:
    """Through a handler that does not know it, a retry, a dead letter and its replay."""
    added = newer(delivery).more
    assert await accept_directly(rig.redis, KEYS, newer(delivery)) is Acceptance.STORED
    attempts: list[int] = []

    def fails_twice(attempt: int) -> None:
        attempts.append(attempt)
        if attempt == 1:
            raise OSError("away")
        if attempt == 2:
            raise GiveUp("no")

    async with rig.working({"*": [make_handler("act", fails_twice), make_handler("other")]}):
        await rig.closed(delivery)
        [letter] = await rig.letters()
        assert Delivery.from_job(unpack(letter.job)["a"][0]) == newer(delivery)
        assert await rig.operator.replay_letter(letter)
        await rig.closed(delivery)
        await rig.idle()
    assert attempts == [1, 2, 3]
    assert added.items() <= unpack(await rig.redis.get(KEYS.payload(ID)))["a"][0].items()


async def test_a_record_with_more_than_today_knows_is_closed(rig: Rig, delivery: Delivery) -> None:
    """Another field, another word after an outcome, another state of a handler: none keeps it open, none is run."""
    await put(rig, JOB_ID, JOB, y=b"new", h_act=b"done 1 12 by-hand", h_other=b"postponed 1 12")
    await rig.redis.set(key_names.RETRY + JOB_ID, 0)
    runs: list[int] = []
    async with rig.working({"*": [make_handler("act", runs.append), make_handler("other", runs.append)]}):
        await rig.closed(delivery)
    assert runs == []
    assert await rig.states(delivery) == {"h.act": "done", "h.other": "postponed"}
    assert (await hash_of(rig.redis, KEYS.delivery(ID)))["y"] == b"new"


@pytest.mark.parametrize(
    ("function", "more", "letter_id"),
    [("deliver_again", [], f"{JOB_ID}:job"), ("retry", ["h.act", 2, 1, 5, "new"], f"{ID}:h.act")],
    ids=["function", "argument"],
)
async def test_a_job_that_only_a_newer_version_can_run_is_kept_for_it(
    rig: Rig, delivery: Delivery, function: str, more: list[Any], letter_id: str
) -> None:
    """A dead letter with its payload, to be replayed once every worker is new."""
    job = pack_job(function, [delivery.as_value(), *more], 5)
    await put(rig, JOB_ID, job, h_act=b"retry 1 12")
    async with rig.working({"*": [make_handler("act")]}):
        await until(rig.letters)
    [letter] = await rig.letters()
    assert (letter.id, letter.body()) == (letter_id, BODY)


def test_nothing_is_required_that_version_0_1_does_not_write() -> None:
    """A field that is added later has a default: jobs of 0.1 lack it."""
    value = delivery_of(BODY).as_value()
    assert set(value) == {"id", "source", "key", "digest", "received_us", "event_type", "subject", "headers", "body"}
    for missing in value:
        with pytest.raises(TypeError):
            Delivery.from_job({name: part for name, part in value.items() if name != missing})
    assert Delivery.from_job(value).as_value() == value
