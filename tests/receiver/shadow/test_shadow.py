"""Candidates for the idempotency key are tried on live traffic, without effect, and the report says which is safe."""

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Any

import msgpack
import pytest
from arq.connections import ArqRedis

from receiver.acceptance import accept_directly
from receiver.delivery import Delivery
from receiver.idempotency import IdempotencyRule
from receiver.queue.connection import connect
from receiver.queue.keys import Keys
from receiver.shadow import MOST_WAITING, SHADOW, Seen, Shadow
from receiver.shadow.difference import difference
from receiver.shadow.report import LEAST, judge, report
from tests.conftest import Process, Start, hash_of, wait_until
from tests.receiver.conftest import StartReceiver

KEYS = Keys("glartek:")
NONE = {"missing": 0, "dropped": 0, "held": 0, "twice": 0, "told apart": 0}


class Traffic:
    """What a receiver with these sources stores, and compares with these candidates."""

    def __init__(self, redis: ArqRedis, enforced: str, *candidates: str) -> None:
        self.redis, self.rule = redis, IdempotencyRule((enforced,))
        self.shadow = Shadow(IdempotencyRule(candidates), self.rule.words, redis, KEYS)

    async def send(self, headers: dict[str, str] | None = None, **payload: Any) -> Delivery:
        body = json.dumps({"type": "action.created", **payload}).encode()
        delivery = self.rule.delivery(headers or {}, body, time.time_ns() // 1000)
        await accept_directly(self.redis, KEYS, delivery)
        await self.shadow.compare([Seen(headers or {}, delivery)])
        return delivery

    async def told(self) -> list[dict[str, Any]]:
        fields = await hash_of(self.redis, KEYS.shadow)
        found = report({name: value.decode() for name, value in fields.items()})
        candidates: list[dict[str, Any]] = found["candidates"]
        return candidates


def counts(told: dict[str, Any]) -> dict[str, int]:
    """Those that are not 0."""
    return {name: told[name] for name in ("missing", "dropped", "held", "twice", "told_apart") if told[name]}


async def test_a_candidate_that_agrees_is_counted_as_such(redis: ArqRedis) -> None:
    """New is new for both, and a duplicate a duplicate; where it is missing, that is counted."""
    traffic = Traffic(redis, "event-id", "webhook-id", "body")
    for number in (1, 2, 1):
        await traffic.send({"webhook-id": f"w{number}"} if number == 1 else {}, id=f"e{number}")
    by_header, by_body = await traffic.told()
    assert (counts(by_header), counts(by_body)) == ({"missing": 1}, {})


async def test_what_a_candidate_would_have_dropped_is_told_with_its_difference(redis: ArqRedis) -> None:
    """A retry with a new time is dropped by `body-without:`; the difference of the two bodies is shown, redacted."""
    traffic = Traffic(redis, "body", "body-without:sentAt")
    first = await traffic.send(sentAt="2026-11-20T10:00:00Z", action={"id": 7, "title": "Leak at Ana's"})
    second = await traffic.send(sentAt="2026-11-20T10:05:00Z", action={"id": 7, "title": "Leak at Ana's"})
    [told] = await traffic.told()
    [example] = told["examples"]["dropped"]
    assert counts(told) == {"dropped": 1}
    assert (example["first"], example["second"], example["other"]) == (first.id, second.id, [])
    assert example["differences"] == [
        {"path": "sentAt", "first": "2026-11-20T10:00:00Z", "second": "2026-11-20T10:05:00Z"}
    ]
    assert told["verdict"] == "look"
    assert told["promote"] == "IDEMPOTENCY_SOURCES=body-without:sentAt,body"


async def test_a_candidate_that_takes_different_events_for_one_is_unsafe(redis: ArqRedis) -> None:
    """The id of the Work Order is no event id: the events differ in type; a person's name is not told."""
    traffic = Traffic(redis, "event-id", "body:work_order.id")
    await traffic.send(id="e1", type="work_order.created", work_order={"id": 9, "assignee": {"name": "Ana"}})
    await traffic.send(id="e2", type="work_order.started", work_order={"id": 9, "assignee": {"name": "Rui"}})
    [told] = await traffic.told()
    assert counts(told) == {"held": 1}
    assert told["verdict"] == "unsafe"
    [example] = told["examples"]["held"]
    assert example["other"] == ["type", "event id"]
    assert {one["path"] for one in example["differences"]} == {"id", "type", "work_order.assignee.name"}
    assert not any(name in json.dumps(told) for name in ("Ana", "Rui"))


async def test_what_a_candidate_would_have_let_through_is_told(redis: ArqRedis) -> None:
    """A header that is new on each try: each retry would be handled again. A third with the second's key would not."""
    traffic = Traffic(redis, "event-id", "header:x-try")
    for number in (1, 2, 2):
        await traffic.send({"x-try": str(number)}, id="e1")
    [told] = await traffic.told()
    assert (counts(told), told["verdict"]) == ({"twice": 1}, "unsafe")


async def test_a_candidate_that_tells_a_conflict_apart_is_told(redis: ArqRedis) -> None:
    """The enforced id has other content a second time: with the candidate it is an event of its own."""
    traffic = Traffic(redis, "event-id", "body:event_no")
    await traffic.send(id="e1", event_no=1)
    await traffic.send(id="e1", event_no=2)
    [told] = await traffic.told()
    assert counts(told) == {"told_apart": 1}


@pytest.mark.parametrize(
    ("seen", "duplicates", "counted", "others", "verdict"),
    [
        (LEAST, 1, {}, [], "safe"),
        (LEAST, 1, {"missing": 3}, [], "safe"),
        (LEAST, 1, {"told apart": 3}, [], "safe"),
        (LEAST, 0, {}, [], "unproven"),
        (LEAST - 1, 1, {}, [], "unproven"),
        (LEAST, 1, {"missing": LEAST}, [], "unproven"),
        (LEAST, 1, {"dropped": 1}, [], "look"),
        (LEAST, 1, {"held": 1}, [], "look"),
        (LEAST, 1, {"held": 1}, ["type"], "unsafe"),
        (LEAST, 1, {"twice": 1}, [], "unsafe"),
    ],
)
def test_a_verdict_needs_evidence(
    seen: int, duplicates: int, counted: dict[str, int], others: Sequence[str], verdict: str
) -> None:
    """Safe is only what was seen often, with duplicates among them, and did nothing else than the enforced key."""
    assert judge(seen, duplicates, NONE | counted, others)[0] == verdict


async def test_other_sources_begin_anew(redis: ArqRedis) -> None:
    """What was counted for another configuration says nothing of this one."""
    await Traffic(redis, "event-id", "body").send(id="e1")
    traffic = Traffic(redis, "event-id", "webhook-id")
    await traffic.send(id="e2")
    assert [counts(one) for one in await traffic.told()] == [{"missing": 1}]


async def test_memory_is_bounded(redis: ArqRedis) -> None:
    """Two hashes of so many entries, and what is remembered last stays; all of it expires."""
    rows = [[f"{number:024}", "d", [f"{number:016}"]] for number in range(100)]
    for start in range(0, 100, 10):
        await SHADOW(redis, [KEYS.shadow], ["of", msgpack.packb([0]), msgpack.packb(rows[start : start + 10]), 0, 40])
    names = sorted([key.decode() for key in await redis.keys(f"{KEYS.shadow}:*")])
    sizes = [await redis.execute_command("HLEN", name) for name in names]
    assert sizes == [40, 40]
    assert all([0 < await redis.ttl(name) <= 86400 for name in names])
    assert 0 < await redis.ttl(KEYS.shadow) <= 30 * 86400
    assert await SHADOW(redis, [KEYS.shadow], ["of", msgpack.packb([0]), msgpack.packb([rows[99]]), 0, 40]) == []
    assert (await hash_of(redis, KEYS.shadow))["repeated"] == b"1"


async def test_what_waits_in_memory_is_bounded(redis: ArqRedis) -> None:
    """More than can be looked at is counted, not kept."""
    traffic = Traffic(redis, "event-id", "body")
    delivery = traffic.rule.delivery({}, b"{}", 1)
    for _ in range(MOST_WAITING + 7):
        traffic.shadow.see({}, [delivery])
    await traffic.shadow.compare([])
    assert (await hash_of(redis, KEYS.shadow))["skipped"] == b"7"


def test_numbers_that_are_personal_are_not_told() -> None:
    """That they differ is."""
    rule = IdempotencyRule(("body",))
    told = difference({"phone": 351911}, {"phone": 351922}, rule.where)
    assert told["differences"] == [{"path": "(1 more, of numbers that are personal)"}]


async def test_a_receiver_tries_them_on_what_it_answers(
    start_receiver: StartReceiver, start: Start, valkey_url: str, redis: ArqRedis
) -> None:
    """Two deliveries and a retry over HTTP; the command prints it, and ends with 1: none is safe yet."""
    assert not await redis.keys("*")
    receiver = start_receiver(SHADOW_SOURCES="header:x-no,body-without:sentAt,attempt,body")
    for number in (1, 2, 1):
        body = json.dumps({"id": f"e{number}", "sentAt": time.time(), "type": "action.created"}).encode()
        assert receiver.post(body, x_no=str(number)).status == 200

    def keys(*more: str) -> Process:
        process = start("-m", "receiver", "keys", *more, REDIS_URL=valkey_url, COLUMNS="120")
        assert process.wait() == 1, process.output
        return process

    await asyncio.to_thread(wait_until, lambda: '"seen": 3' in keys("--json").output)
    told = json.loads((await asyncio.to_thread(keys, "--json")).output)
    assert [one["source"] for one in told["candidates"]] == ["header:x-no", "body-without:sentAt,attempt", "body"]
    assert [counts(one) for one in told["candidates"]] == [{}, {}, {"told_apart": 1}]
    assert "unproven" in (await asyncio.to_thread(keys)).output


async def test_without_candidates_nothing_is_kept(
    start_receiver: StartReceiver, start: Start, valkey_url: str, redis: ArqRedis
) -> None:
    """Off by default: no key in Redis, and the command says what to set."""
    assert start_receiver().post(b'{"id": "e1"}').status == 200
    assert not await redis.keys(f"{KEYS.shadow}*")
    process = start("-m", "receiver", "keys", REDIS_URL=valkey_url)
    assert await asyncio.to_thread(process.wait) == 1
    assert "SHADOW_SOURCES" in process.output


async def test_redis_away_costs_a_look_and_nothing_else(redis: ArqRedis) -> None:
    """What cannot be compared is skipped; the loop goes on."""
    gone = connect("redis://127.0.0.1:1", timeout=0.5, retries=0)
    traffic = Traffic(redis, "event-id", "body")
    shadow = Shadow(IdempotencyRule(("body",)), traffic.rule.words, gone, KEYS)
    shadow.see({}, [traffic.rule.delivery({}, b"{}", 1)])

    class Well:
        is_well = True

    running = asyncio.create_task(shadow.run(Well()))  # type: ignore[arg-type]
    await asyncio.to_thread(wait_until, lambda: shadow._skipped)
    assert not running.done()
    running.cancel()
    await gone.aclose()
