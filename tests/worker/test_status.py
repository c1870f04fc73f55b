"""`python -m worker status`: counts, what is open, what came last, what is tried again."""

import asyncio
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from receiver.acceptance import Acceptance, accept_directly
from tests.conftest import Start, hash_of, until
from tests.terminal import Terminal
from tests.worker.conftest import KEYS, Rig, body_of, delivery_of, make_handler
from worker import GiveUp, RetryLater, Skip
from worker.status import status

ZERO = {"accepted": 0, "duplicates": 0, "conflicts": 0}


def busy(_: int) -> None:
    raise RetryLater(600, "busy")


def give_up(_: int) -> None:
    raise GiveUp("not today")


def skip(_: int) -> None:
    raise Skip("nothing to do")


async def filled(rig: Rig) -> None:
    """One delivery with each outcome: two handlers done, skipped, dead, one that waits; a duplicate and a conflict."""
    routes: dict[str, Any] = {
        "action.created": [make_handler("fine"), make_handler("skips", skip)],
        "action.solved": [make_handler("gives_up", give_up)],
    }
    sent = [await rig.send("e1"), await rig.send("e2", "action.solved"), await rig.send("e3", "made.up")]
    for body, acceptance in ((body_of("e1"), Acceptance.DUPLICATE), (body_of("e1", x=1), Acceptance.CONFLICT)):
        await asyncio.sleep(0.001)
        assert await accept_directly(rig.redis, KEYS, delivery_of(body)) is acceptance
    async with rig.working(routes):
        await rig.closed(*sent)
    waits = await rig.send("e4", "action.in_progress")
    async with rig.working({"action.in_progress": [make_handler("busy", busy)]}):
        await until(lambda: rig.states(waits))


async def test_it_counts_by_type_and_by_handler(rig: Rig) -> None:
    """In the last hour and today; a type that Glartek does not have is one of the others."""
    await filled(rig)
    told = await status(rig.redis, KEYS, 7)
    for when in ("last_hour", "today"):
        counted = told[when]
        assert {name: counted[name] for name in ZERO} == {"accepted": 4, "duplicates": 1, "conflicts": 1}
        assert counted["types"]["action.created"] == {"accepted": 1, "duplicates": 1, "conflicts": 1}
        assert counted["types"]["other"] == ZERO | {"accepted": 1}
        assert "made.up" not in counted["types"]
        none = dict.fromkeys(("done", "skipped", "retry", "dead"), 0)
        assert counted["handlers"] == {
            "h.busy": none | {"retry": 1},
            "h.fine": none | {"done": 1},
            "h.gives_up": none | {"dead": 1},
            "h.skips": none | {"skipped": 1},
        }
    assert {name: told[name] for name in ("waiting", "running", "dead", "spooled_here")} == {
        "waiting": 1,
        "running": 0,
        "dead": 2,
        "spooled_here": 7,
    }


async def test_it_tells_what_came_last_and_what_is_tried_again(rig: Rig) -> None:
    """Newest first with the states of the handlers; with the time of the next try and why."""
    await filled(rig)
    told = await status(rig.redis, KEYS, 0)
    assert [(one["key"], one["handlers"]) for one in told["recent"]] == [
        ("e4", {"h.busy": "retry"}),
        ("e3", {}),
        ("e2", {"h.gives_up": "dead"}),
        ("e1", {"h.fine": "done", "h.skips": "skipped"}),
    ]
    [waiting] = told["retrying"]
    assert (waiting["handler"], waiting["attempts"], waiting["reason"]) == ("h.busy", 1, "busy")
    assert 590 < waiting["in_s"] <= 600


async def test_it_counts_what_metrics_count(rig: Rig) -> None:
    """One step counts for both: in the same fields, for ever and for ten minutes."""
    await filled(rig)
    for_ever = await hash_of(rig.redis, KEYS.metrics)
    assert for_ever["ended h.busy asked action.in_progress"] == b"1"
    ten_minutes: Counter[str] = Counter()
    for key in await rig.keys(f"{KEYS.metrics}:*"):
        ten_minutes.update({field: int(count) for field, count in (await hash_of(rig.redis, key)).items()})
    assert ten_minutes == {field: int(count) for field, count in for_ever.items()}


async def test_an_event_that_waits_its_turn_is_no_retry(rig: Rig) -> None:
    """`RetryLater` without a reason: nothing has failed, and nothing is counted."""

    def waits(attempt: int) -> None:
        if attempt == 1:
            raise RetryLater(0.01)

    async with rig.working({"*": [make_handler("waits", waits)]}):
        await rig.closed(await rig.send("e1"))
    told = await status(rig.redis, KEYS, 0)
    assert told["last_hour"]["handlers"] == {"h.waits": {"done": 1, "skipped": 0, "retry": 0, "dead": 0}}


async def test_what_it_counts_stays_small(rig: Rig) -> None:
    """Any number of types and deliveries: one hash for ten minutes, gone after 26 hours, and a list of 20 000."""
    for number in range(250):
        await rig.send(f"e{number}", f"made.up_{number}")
    [counts] = await rig.keys(f"{KEYS.metrics}:*")
    assert await hash_of(rig.redis, counts) == {"accepted other": b"250"}
    assert 25 * 3600 < await rig.redis.ttl(counts) <= 26 * 3600
    await rig.redis.execute_command("RPUSH", KEYS.recent, *(f"old-{number}" for number in range(19_750)))
    assert await rig.redis.execute_command("LLEN", KEYS.recent) == 20_000
    newest = await rig.send("newest")
    assert await rig.redis.execute_command("LLEN", KEYS.recent) == 10_000
    assert await rig.redis.execute_command("LRANGE", KEYS.recent, -1, -1) == [KEYS.delivery(newest.id).encode()]


async def test_counts_of_yesterday_are_not_todays(rig: Rig) -> None:
    """Each ten minutes have a hash of their own."""
    now = int(time.time()) // 600
    await rig.redis.execute_command("HSET", KEYS.metrics_of(now - 7), "accepted action.created", 5)
    await rig.redis.execute_command("HSET", KEYS.metrics_of(now - 6), "accepted action.created", 1)
    await rig.redis.execute_command("HSET", KEYS.metrics_of(now - 145), "accepted action.created", 9)
    told = await status(rig.redis, KEYS, 0)
    assert told["last_hour"]["accepted"] == 1
    assert told["today"]["accepted"] in {0, 1, 6}  # just after midnight they are yesterday's


async def test_the_command_prints_it(rig: Rig, start: Start, tmp_path: Path) -> None:
    """Tables of 80 columns on a terminal, JSON for programs; what waits in the spool of this host is counted."""
    await filled(rig)
    plain = start("-m", "worker", "status", "--json", REDIS_URL=rig.url, SPOOL_PATH=str(tmp_path / "none.db"))
    assert await asyncio.to_thread(plain.wait) == 0, plain.output
    assert json.loads(plain.output)["spooled_here"] == 0
    said = await asyncio.to_thread(Terminal("worker", "status", REDIS_URL=rig.url, COLUMNS="80").end)
    for words in ("4 (4)", "h.gives_up", "accepted last", "tried again", "busy"):
        assert words in said


async def test_a_long_name_leaves_room_for_the_words_beside_it(rig: Rig) -> None:
    """At 80 columns, in `show` and `status`: it is folded, and neither cut nor are short words broken for it."""
    name = "h.tell_the_maintenance_planner_of_all_that_happened"
    delivery = await rig.send("e1")
    async with rig.working({"*": [make_handler(name.partition(".")[2], give_up)]}):
        await rig.closed(delivery)
    for command, words in ((["show", "e1"], ("state", "attempts", "dead", "not today")), (["status"], ("skipped",))):
        said = await asyncio.to_thread(Terminal("worker", *command, REDIS_URL=rig.url, COLUMNS="80").end)
        assert "…" not in said
        for word in words:
            assert word in said


@pytest.mark.parametrize("command", ["status"])
async def test_an_empty_redis_is_fine(rig: Rig, start: Start, command: str) -> None:
    """Zeros."""
    process = start("-m", "worker", command, REDIS_URL=rig.url)
    assert await asyncio.to_thread(process.wait) == 0, process.output
    assert "0 waiting, 0 running, 0 dead, 0 spooled here" in process.output
