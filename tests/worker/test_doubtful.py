"""`python -m worker doubtful`: what was dropped by its content alone is told, and can be run."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from receiver.acceptance import Acceptance, accept_directly
from receiver.delivery import Delivery
from receiver.idempotency import IdempotencyRule
from tests.conftest import Start, until
from tests.worker.conftest import KEYS, Rig, delivery_of, make_handler
from tests.worker.test_dead_letters import Command
from worker import GiveUp, RetryLater
from worker.handler import Handler

WITHOUT = IdempotencyRule(("body-without:sentAt",))


@pytest.fixture
def worker(rig: Rig, clean_environment: Path) -> Command:
    return Command(rig.url, clean_environment, process=False)


def without_id(number: int = 1) -> Delivery:
    """A delivery that is known by its content alone."""
    return delivery_of(json.dumps({"type": "action.created", "action": {"id": number}}).encode())


def sent_at(time_of_sending: str, **more: Any) -> Delivery:
    body = json.dumps({"type": "action.created", "sentAt": time_of_sending, **more}).encode()
    return WITHOUT.delivery({}, body, time.time_ns() // 1000)


async def drop(rig: Rig, *deliveries: Delivery) -> None:
    for delivery in deliveries:
        assert await accept_directly(rig.redis, KEYS, delivery) is Acceptance.DUPLICATE


class Seen:
    """A handler that keeps what it was given."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    @property
    def handler(self) -> Handler:
        async def keeps(event: Any, _: Any) -> None:
            self.bodies.append(event.raw.encode())

        keeps.__module__ = "h"
        return keeps


async def test_a_duplicate_by_content_alone_is_told(rig: Rig, worker: Command, start: Start) -> None:
    """When it came, how long after which delivery, of what type, how many there were; with an id of its own: not."""
    first = await rig.accept(without_id())
    again = [without_id(), without_id()]
    with_id = await rig.send("e1")
    await drop(rig, *again, delivery_of(with_id.body))
    found = await worker.json("doubtful", "list")
    assert [one["id"] for one in found] == [one.job_id for one in again]
    assert {one["delivery"] for one in found} == {first.id}
    assert [(one["type"], one["source"], one["duplicates"]) for one in found] == [("action.created", "body", 2)] * 2
    assert found[0]["after_s"] == pytest.approx((again[0].received_us - first.received_us) / 1e6, abs=0.001)
    process = start("-m", "worker", "doubtful", "list", REDIS_URL=rig.url, COLUMNS="100")
    assert await asyncio.to_thread(process.wait) == 0
    assert first.id[:8] in process.output


@pytest.mark.parametrize("state", ["waits", "done", "tried again", "dead"])
async def test_one_is_run_as_a_delivery_of_its_own(rig: Rig, worker: Command, state: str) -> None:
    """Once, with the first one's payload wherever that is: its job, what is kept, a retry's job, a dead letter."""

    def fail(attempt: int) -> None:
        if state != "done":
            raise GiveUp("not today") if state == "dead" else RetryLater(600, f"busy {attempt}")

    settings = {"keep_payloads": 0 if state == "dead" else 3600}
    first, again, seen = await rig.accept(without_id()), without_id(), Seen()
    await drop(rig, again)
    if state != "waits":
        async with rig.working({"*": [make_handler("does", fail)]}, **settings):
            await (rig.closed(first) if state != "tried again" else _waits(rig, first))
    done = await worker.json("doubtful", "replay", again.job_id[:10])
    [own] = done.values()
    assert own not in {None, first.id}
    assert await worker.json("doubtful", "replay", again.job_id) == done
    [told] = await worker.json("doubtful", "list")
    assert told["run_as"] == own
    story = await worker.json("show", own)
    assert (story["source"], story["duplicates"]) == ("doubtful", 0)
    async with rig.working({"*": [seen.handler]}):
        await rig.closed(first._replace(id=own))
    assert seen.bodies.count(first.body) == (2 if state == "waits" else 1)


async def _waits(rig: Rig, delivery: Delivery) -> None:
    async def does() -> bool:
        is_written = (await rig.states(delivery)).get("h.does") == "retry"
        return is_written and not await rig.redis.zcard(KEYS.leases)  # and the job that wrote it has ended

    await until(does)


async def test_what_a_key_leaves_out_is_not_lost(rig: Rig, worker: Command) -> None:
    """Two bodies of one `body-without:` key differ: the one that was dropped is run with its own."""
    first, again, seen = await rig.accept(sent_at("10:00")), sent_at("10:05"), Seen()
    await drop(rig, again)
    await worker("doubtful", "replay", again.job_id)
    async with rig.working({"*": [seen.handler]}):
        await rig.idle()
    assert sorted(seen.bodies) == sorted([first.body, again.body])


async def test_a_payload_that_is_kept_nowhere_is_said(rig: Rig, worker: Command) -> None:
    """One line, and exit code 1; an id that is none is one line and exit code 2."""
    first, again = await rig.accept(without_id()), without_id()
    await drop(rig, again)
    async with rig.working({"*": []}, keep_payloads=0):
        await rig.closed(first)
    assert "no longer kept" in await worker("doubtful", "replay", again.job_id, code=1)
    assert "no such duplicate" in await worker("doubtful", "replay", "beef", code=2)


async def test_what_is_noted_is_bounded(rig: Rig) -> None:
    """1000 notes and 8 MiB at most, the last ones; a body over 64 KiB is not among them; all expire."""
    await rig.accept(without_id())
    for number in range(1100):
        await drop(rig, without_id()._replace(received_us=number))
    assert await rig.redis.execute_command("LLEN", KEYS.doubtful) == 1000
    [oldest] = await rig.redis.execute_command("LRANGE", KEYS.doubtful, 0, 0)
    assert f":{100:x}".encode() in oldest
    assert 6 * 86400 < await rig.redis.ttl(KEYS.doubtful) <= 7 * 86400
    await rig.accept(sent_at("", text="x" * 60_000))
    for number in range(150):
        await drop(rig, sent_at(str(number), text="x" * 60_000))
    notes = await rig.redis.execute_command("LRANGE", KEYS.doubtful, 0, -1)
    assert 7 << 20 < sum(map(len, notes)) <= 8 << 20
    assert int(await rig.redis.get(f"{KEYS.doubtful}-bytes")) == sum(map(len, notes))
    await rig.accept(sent_at("", text="x" * 70_000))
    await drop(rig, sent_at("1", text="x" * 70_000))
    [last] = await rig.redis.execute_command("LRANGE", KEYS.doubtful, -1, -1)
    assert len(last) < 200


async def test_an_empty_redis_is_fine(worker: Command) -> None:
    """It says that there is none."""
    assert "no duplicate" in await worker("doubtful", "list")
    assert await worker.json("doubtful", "list") == []
