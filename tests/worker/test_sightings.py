"""`python -m worker gaps` and `drift`: what workers note of events, how little that is, and what is told of it."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from receiver.queue.connection import REDIS_ERRORS, connect
from tests.conftest import ROOT, Start, hash_of, until
from tests.worker.conftest import KEYS, Rig, body_of, delivery_of, make_handler
from tests.worker.test_dead_letters import Command
from worker.drift import LEAST, changes
from worker.event import Event, parse
from worker.gaps import gaps
from worker.sightings import MOST_FIELDS, MOST_MARKS, MOST_TYPES, Sightings

DAY = 86_400_000
NOW = 100 * DAY
MONTH = 30 * 86400.0


@pytest.fixture
def worker(rig: Rig, clean_environment: Path) -> Command:
    return Command(rig.url, clean_environment, process=False)


def event(rig: Rig, event_type: str = "action.created", **payload: Any) -> Event:
    return parse(body_of("e1", event_type, **payload), rig.settings())


# ── gaps ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("before", "end", "missing"),
    [
        (["work_order.created", "work_order.started"], "work_order.completed", []),
        (["work_order.created"], "work_order.completed", ["work_order.started"]),
        ([], "work_order.completed", ["work_order.created", "work_order.started"]),
        (["action.created"], "action.solved", []),
        (["action.in_progress"], "action.cant_do", []),
        ([], "action.solved", ["action.created or action.in_progress"]),
    ],
)
def test_what_was_never_seen_is_told(before: list[str], end: str, missing: list[str]) -> None:
    """Of the same Work Order or Action, in whatever order it came."""
    marks = {f"{name} 9": NOW - DAY for name in before} | {f"{end} 9": NOW - 2 * DAY, "work_order.created 8": 1}
    found = gaps(marks, NOW, 3600)["gaps"]
    assert [one["never_seen"] for one in found] == ([missing] if missing else [])
    assert not found or found[0]["subject"] == f"{end.partition('.')[0]}:9"


def test_what_cannot_be_told_is_no_gap() -> None:
    """What may have begun before anything was remembered is counted; an event of this minute may be overtaken yet."""
    marks = {"work_order.completed 1": NOW - 9 * DAY, "work_order.completed 2": NOW - 3 * DAY}
    told = gaps(marks | {"action.solved 3": NOW - 1000}, NOW, 5 * 86400)
    assert ([one["subject"] for one in told["gaps"]], told["too_early"]) == (["work_order:2"], 1)


async def test_a_gap_is_seen_by_workers_and_told_by_the_command(rig: Rig, worker: Command, start: Start) -> None:
    """One Work Order whole, one that was only completed; what the worker noted last is written when it stops."""
    hour_ago = (time.time_ns() - 3600 * 10**9) // 1000
    for name, subject in (("created", "a"), ("started", "a"), ("completed", "a"), ("completed", "b")):
        body = body_of(f"{name} {subject}", f"work_order.{name}", work_order={"id": subject})
        await rig.accept(delivery_of(body)._replace(received_us=hour_ago))
    async with rig.working({"*": [make_handler("fine")]}):
        await rig.idle()
    told = await worker.json("gaps", "--settle", "0", code=1)
    assert [(one["subject"], one["never_seen"]) for one in told["gaps"]] == [
        ("work_order:b", ["work_order.created", "work_order.started"])
    ]
    assert "gaps: 0 of 1, 1 too early to tell" in await worker("gaps")
    process = start("-m", "worker", "gaps", "--settle", "0", REDIS_URL=rig.url, COLUMNS="100")
    assert await asyncio.to_thread(process.wait) == 1
    assert "work_order:b" in process.output
    assert "gaps: 1 of 2" in process.output


async def test_a_worker_writes_while_it_runs(rig: Rig, start: Start, tmp_path: Path) -> None:
    """What was noted is in Redis within seconds, not only when the worker stops."""
    (tmp_path / "none.py").write_text("ROUTES = {}\n")
    await rig.send("e1", action={"id": "a1"})
    start("-m", "worker", REDIS_URL=rig.url, HANDLERS="none:ROUTES", PYTHONPATH=f"{tmp_path}:{ROOT}")

    async def written() -> bool:
        return bool(await rig.keys(KEYS.seen) and await rig.keys(KEYS.types))

    await until(written, 20)


async def test_marks_are_bounded_and_expire(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go when there are too many, and what is older than REMEMBER_EVENTS; a first time stays."""
    monkeypatch.setattr("worker.sightings.MOST_MARKS", 5)
    sightings, now = Sightings(rig.redis, KEYS, MONTH), time.time_ns() // 1000
    for number in (*range(4), 0):
        sightings.see(event(rig, action={"id": f"a{number}"}), now + number)
    sightings.see(event(rig, action={"id": "old"}), now - 31 * 86400 * 10**6)
    await sightings.write()
    assert await rig.redis.zscore(KEYS.seen, "action.created old") is None
    for number in range(2, 6):
        sightings.see(event(rig, action={"id": f"a{number}"}), now + 9_000_000)
    await sightings.write()
    kept = await rig.redis.execute_command("ZRANGE", KEYS.seen, 0, -1)
    assert sorted(kept) == [f"action.created a{number}".encode() for number in range(1, 6)]
    assert await rig.redis.zscore(KEYS.seen, "action.created a2") == now // 1000
    assert 0 < await rig.redis.ttl(KEYS.seen) <= MONTH


# ── drift ───────────────────────────────────────────────────────────────────────────────────────────────────────


def fields_of(samples: int, **fields: tuple[int, int, int]) -> dict[str, str]:
    counted = {f".{name}": " ".join(map(str, (*numbers, NOW, NOW))) for name, numbers in fields.items()}
    return {"samples": str(samples), "known": str(len(fields)), "since": "0", **counted}


@pytest.mark.parametrize(
    ("first", "last", "count", "verdict"),
    [
        (1, 100, 100, ""),
        (1, 100, 3, ""),
        (LEAST + 1, 100, 5, "appeared"),
        (LEAST, 100, 5, ""),
        (1, 100 - LEAST, 100 - LEAST, "vanished"),
        (1, 101 - LEAST, 101 - LEAST, ""),
        (1, 100 - LEAST, 30, ""),
        (31, 70, 40, "appeared vanished"),
    ],
)
def test_a_field_has_changed_only_if_many_samples_say_so(first: int, last: int, count: int, verdict: str) -> None:
    """One that comes now and then neither appears nor vanishes; what changed before the time asked for is not told."""
    told = changes(fields_of(100, x=(first, last, count)), 0)
    assert " ".join(name for name in ("appeared", "vanished") if told[name]) == verdict
    late = changes(fields_of(100, x=(first, last, count)), NOW)
    assert (late["appeared"], late["vanished"]) == ([], [])


async def test_fields_that_come_and_go_are_told_with_a_redacted_example(rig: Rig, worker: Command) -> None:
    """By type; items of a list are one field, and a person's name is not told."""
    sightings = Sightings(rig.redis, KEYS, MONTH)
    for number in range(60):
        changed = {"reviewer": {"name": "Ana Sousa"}} if number > 30 else {"origin": "app_3"}
        sightings.see(event(rig, action={"id": number, "labels": [{"id": "l1"}] * (number + 1), **changed}), 1)
        sightings.see(event(rig, "made.up"), 1)
        await sightings.write()
    [action, other] = await worker.json("drift", code=1)
    assert (action["type"], action["samples"], action["fields"]) == ("action.created", 60, 6)
    [appeared], [vanished] = action["appeared"], action["vanished"]
    assert (appeared["path"], appeared["in"], appeared["of"]) == ("action.reviewer.name", 29, 29)
    assert "Ana" not in json.dumps(action)
    assert appeared["example"]
    assert (vanished["path"], vanished["example"]) == ("action.origin", "app_3")
    assert (other["type"], other["appeared"]) == ("made.up", [])
    assert "action.reviewer.name" in await worker("drift", code=1)
    assert "0 fields changed" in await worker("drift", "--last", "0")


async def test_fields_and_types_are_bounded(rig: Rig) -> None:
    """300 fields of 40 types; the type that was seen longest ago goes, and all of it expires."""
    sightings = Sightings(rig.redis, KEYS, MONTH)
    for number in range(MOST_TYPES + 5):
        sightings.see(event(rig, f"made.up_{number}", **{f"f{field}": 1 for field in range(400)}), 1)
        await sightings.write()
    last = f"made.up_{MOST_TYPES + 4}"
    sightings.see(event(rig, last, **{f"g{field}": 1 for field in range(400)}), 1)
    await sightings.write()
    names = await rig.keys(f"{KEYS.fields('')}*")
    assert len(names) == MOST_TYPES
    assert KEYS.fields("made.up_0") not in names
    fields = await hash_of(rig.redis, KEYS.fields(last))
    assert fields["samples"] == b"2"
    assert len([name for name in fields if name.startswith(".")]) == MOST_FIELDS
    assert len(fields) <= 2 * MOST_FIELDS + 4
    assert 0 < await rig.redis.ttl(names[0]) <= MONTH


async def test_one_event_of_a_type_is_looked_at_between_two_writes(rig: Rig) -> None:
    """However many there are; a large one is not."""
    sightings = Sightings(rig.redis, KEYS, MONTH)
    for _ in range(100):
        sightings.see(event(rig), 1)
    sightings.see(event(rig, "made.up", text="x" * 70_000), 1)
    await sightings.write()
    assert (await hash_of(rig.redis, KEYS.fields("action.created")))["samples"] == b"1"
    assert await rig.keys(f"{KEYS.fields('')}*") == [KEYS.fields("action.created")]


async def test_names_that_have_no_utf_8_form_are_fields_too(rig: Rig) -> None:
    """Half of a surrogate pair is escaped: it must not keep all else from being written."""
    body = b'{"id": "e", "type": "action.created", "a\\ud83d": "\\ud83d", "action": {"id": "\\ud83d"}}'
    sightings = Sightings(rig.redis, KEYS, MONTH)
    sightings.see(parse(body, rig.settings()), 1)
    await sightings.write()
    assert ".a\\ud83d" in await hash_of(rig.redis, KEYS.fields("action.created"))


# ── both ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_nothing_is_noted_where_nothing_is_to_be_remembered(rig: Rig, worker: Command) -> None:
    """REMEMBER_EVENTS=0; the commands say that there is nothing."""
    await rig.send("e1", action={"id": "a1"})
    async with rig.working({"*": []}, remember_events=0):
        await rig.idle()
    assert not await rig.keys(KEYS.seen) + await rig.keys(KEYS.types)
    assert "nothing is remembered" in await worker("gaps")
    assert "0 fields changed in 0 types" in await worker("drift")


async def test_a_wrong_duration_is_one_line(worker: Command) -> None:
    """It names the option and what was expected."""
    assert "--settle: expected a duration" in await worker("gaps", "--settle", "soon", code=2)


async def test_what_redis_did_not_take_is_written_later(rig: Rig) -> None:
    """A mark that is lost would be told as a gap."""
    gone = connect("redis://127.0.0.1:1", timeout=0.5, retries=0)
    sightings = Sightings(gone, KEYS, MONTH)
    sightings.see(event(rig, action={"id": "a1"}), time.time_ns() // 1000)
    with pytest.raises(REDIS_ERRORS):
        await sightings.write()
    await sightings.stop()
    sightings._redis = rig.redis
    await sightings.write()
    assert await rig.redis.execute_command("ZRANGE", KEYS.seen, 0, -1) == [b"action.created a1"]
    await gone.aclose()


async def test_what_waits_to_be_written_is_bounded(rig: Rig) -> None:
    """With Redis away no more than so many marks wait in memory."""
    sightings = Sightings(rig.redis, KEYS, MONTH)
    sightings._marks = {str(number): 1 for number in range(MOST_MARKS)}
    sightings.see(event(rig, action={"id": "a1"}), 1)
    assert len(sightings._marks) == MOST_MARKS
