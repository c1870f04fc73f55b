"""`/metrics`: one scrape for the whole system, true across processes, outages and restarts."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from receiver import events
from receiver.acceptance import accept_directly
from receiver.figures import read
from receiver.queue.connection import connect
from receiver.tally import Tally
from tests.conftest import ROOT, TOKEN, Server, Start, until
from tests.receiver.conftest import event, listening
from tests.worker.conftest import KEYS, Rig, body_of, delivery_of, make_handler
from worker import GiveUp, RetryLater, Skip
from worker.console.metrics import REFUSALS, render

Scraped = dict[str, float]


def parsed(text: bytes) -> Scraped:
    """Every sample by name and labels, as Prometheus writes it: `name{a="b"}`."""
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


async def scrape(rig: Rig) -> Scraped:
    return parsed(render(await read(rig.redis, KEYS)))


@pytest.fixture(autouse=True)
def own_tally(monkeypatch: pytest.MonkeyPatch) -> Tally:
    """What other tests have counted in this process is not of this one."""
    own = Tally()
    for module in (
        "receiver.tally",
        "receiver.intake",
        "receiver.refusals",
        "worker.job",
        "worker.run",
        "worker.recorder",
    ):
        monkeypatch.setattr(f"{module}.tally", own)
    return own


async def test_what_is_stored_is_counted_by_type(rig: Rig) -> None:
    """Each type of the catalog by its name, whatever else a sender says as `other`: their number has a bound."""
    for number, event_type in enumerate(
        ["action.created", "action.created", "x y", "", "action.created action.in_progress"]
    ):
        await rig.send(f"e{number}", event_type)
    scraped = await scrape(rig)
    assert scraped['glartek_events_accepted_total{type="action.created"}'] == 2
    assert scraped['glartek_events_accepted_total{type="other"}'] == 3
    types = {name for name in scraped if name.startswith("glartek_events_accepted_total")}
    assert len(types) == len(events.BY_NAME) + 1


async def test_what_an_older_receiver_counted_is_in_the_sum(rig: Rig) -> None:
    """It knows no types: the sum over all types is that of `counts`, which every version counts."""
    await rig.send("e1")
    await rig.redis.execute_command("HINCRBY", KEYS.counts, "accepted", 10)
    scraped = await scrape(rig)
    assert scraped['glartek_events_accepted_total{type="other"}'] == 10
    assert sum(value for name, value in scraped.items() if name.startswith("glartek_events_accepted_total")) == 11


async def test_duplicates_and_conflicts_are_counted_by_type_and_source_of_their_key(rig: Rig) -> None:
    """Once each: a batch whose reply was lost counts nothing again that it stored."""
    first = await rig.send("e1")
    await accept_directly(rig.redis, KEYS, delivery_of(body_of("e1")))
    await accept_directly(rig.redis, KEYS, delivery_of(b"no event"))
    await accept_directly(rig.redis, KEYS, delivery_of(b"no event"))
    await accept_directly(rig.redis, KEYS, delivery_of(body_of("e1", more=1)))
    await accept_directly(rig.redis, KEYS, first)
    scraped = await scrape(rig)
    assert scraped['glartek_events_duplicate_total{source="event-id",type="action.created"}'] == 1
    assert scraped['glartek_events_duplicate_total{source="body",type="other"}'] == 1
    assert scraped['glartek_events_conflict_total{source="event-id",type="action.created"}'] == 1


async def test_what_handlers_did_is_counted(rig: Rig, own_tally: Tally) -> None:
    """Ends by handler, outcome and type; retries by why; dead letters by why; durations of all of them."""

    def fails_once(attempt: int) -> None:
        if attempt == 1:
            raise OSError("away")

    def asks_once(attempt: int) -> None:
        if attempt == 1:
            raise RetryLater(0.01, "not yet")

    def gives_up(_: int) -> None:
        raise GiveUp("never")

    def skips(_: int) -> None:
        raise Skip("nothing to do")

    acts: dict[str, Callable[[int], None]] = {"fails": fails_once, "asks": asks_once, "dies": gives_up, "skips": skips}
    routes = {"*": [make_handler(name, act) for name, act in acts.items()]}
    async with rig.working(routes):
        await rig.closed(await rig.send("e1"))
        await rig.accept(delivery_of(b"no event"))
        await until(rig.operator.count)
        await rig.idle()
    scraped = await scrape(rig)
    kind = 'type="action.created"'
    for handler, outcome in {"fails": "done", "asks": "done", "dies": "dead", "skips": "skipped"}.items():
        assert scraped[f'glartek_handler_outcomes_total{{handler="h.{handler}",outcome="{outcome}",{kind}}}'] == 1
    assert scraped[f'glartek_handler_retries_total{{handler="h.fails",reason="failed",{kind}}}'] == 1
    assert scraped[f'glartek_handler_retries_total{{handler="h.asks",reason="asked",{kind}}}'] == 1
    assert scraped['glartek_dead_letters_total{handler="h.dies",reason="gave_up"}'] == 1
    assert scraped['glartek_dead_letters_total{handler="parse",reason="unreadable"}'] == 1
    assert scraped["glartek_dead_letters_kept"] == 2
    took = own_tally.take()
    assert sum(value for field, value in took.items() if field.startswith("to_start ") and "us" not in field) == 2
    assert sum(value for field, value in took.items() if field.startswith("run h.fails ") and "us" not in field) == 2
    assert (
        sum(value for field, value in took.items() if field.startswith("to_done h.fails ") and "us" not in field) == 1
    )


async def test_what_can_be_counted_is_there_from_the_start(rig: Rig) -> None:
    """As 0: the step from nothing to a first 503, conflict or dead letter is none that Prometheus could see."""
    about = {"host": "a", "version": "1", "python": "3"}
    spool = {"path": "/", "events": 0, "bytes": 0, "oldest": None, "set_aside": 0, "damaged": 0, "unusable": False}
    seconds, _ = await rig.redis.time()
    for told in ({"kind": "worker", "handlers": ["h.act"]}, {"kind": "receiver", "sources": ["ce"], "spool": spool}):
        said = f"{seconds * 1000} 1 {json.dumps({**about, **told})}"
        await rig.redis.execute_command("HSET", KEYS.processes, str(told["kind"]), said)
    scraped = await scrape(rig)
    assert scraped['glartek_requests_refused_total{status="503"}'] == 0
    assert scraped['glartek_events_conflict_total{source="ce",type="other"}'] == 0
    assert scraped['glartek_dead_letters_total{handler="h.act",reason="age"}'] == 0
    assert scraped['glartek_handler_retries_total{handler="h.act",reason="failed",type="other"}'] == 0
    assert scraped['glartek_handler_outcomes_total{handler="h.act",outcome="done",type="action.created"}'] == 0
    assert scraped["glartek_events_spooled_total"] == 0


def test_every_refusal_of_the_readme_is_counted_from_the_start() -> None:
    """The table of answers has each of them, and no other."""
    answers = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Answers")[2].partition("\n## ")[0]
    assert {int(status) for status in re.findall(r"\| (\d{3})\b", answers)} - {200} == set(REFUSALS)


async def test_retries_that_wait_are_no_backlog(rig: Rig) -> None:
    """Ready is what could run now: its number, and the age of the oldest, are what workers are scaled by."""
    now = time.time() * 1000
    await rig.redis.zadd(KEYS.queue, {f"later{number}": now + 60_000 + number for number in range(5)})
    assert (await read(rig.redis, KEYS)).oldest_ready == 0
    await rig.redis.zadd(KEYS.queue, {f"ready{number}": now - 8000 + number for number in range(1000)})
    figures = await read(rig.redis, KEYS)
    assert (figures.ready, figures.waiting) == (1000, 5)
    assert 8 <= figures.oldest_ready < 20


async def test_it_is_exactly_as_many_for_any_number(rig: Rig) -> None:
    """The search for the first that is not due finds the same as counting all."""
    now = time.time() * 1000
    for number in range(12):
        await rig.redis.zadd(KEYS.queue, {f"job{number}": now - 1000 + number})
        assert (await read(rig.redis, KEYS)).ready == number + 1


def test_a_redis_that_is_away_is_a_figure() -> None:
    """Nothing is said of what nobody knows: a count of 0 would look like a fall."""
    scraped = parsed(render(None))
    assert scraped["glartek_redis_up"] == 0
    assert {name.partition("{")[0] for name in scraped} == {"glartek_redis_up", "glartek_build_info"}


async def test_a_duration_is_a_histogram_of_prometheus(rig: Rig) -> None:
    """Buckets add up, the last one is all, the sum is in seconds."""
    fields = {"run h.act 0": 3, "run h.act 2": 1, "run h.act us": 45_000}
    for field, value in fields.items():
        await rig.redis.execute_command("HSET", KEYS.metrics, field, value)
    scraped = await scrape(rig)
    name = "glartek_handler_run_seconds"
    assert scraped[f'{name}_bucket{{handler="h.act",le="0.005"}}'] == 3
    assert scraped[f'{name}_bucket{{handler="h.act",le="0.01"}}'] == 3
    assert scraped[f'{name}_bucket{{handler="h.act",le="0.025"}}'] == 4
    assert scraped[f'{name}_count{{handler="h.act"}}'] == 4
    assert scraped[f'{name}_sum{{handler="h.act"}}'] == pytest.approx(0.045)


async def test_what_two_receivers_say_of_one_spool_is_said_once(rig: Rig) -> None:
    """They share the file; the latest report is believed."""

    async def says(name: str, age: float, waiting: int, path: str = "/spool.db") -> None:
        seconds, micros = await rig.redis.time()
        spool = {"path": path, "events": waiting, "bytes": 1, "oldest": None, "set_aside": 0, "damaged": 0}
        told = {
            "kind": "receiver",
            "host": "a",
            "sources": [],
            "version": "1",
            "python": "3",
            "spool": {**spool, "unusable": False},
        }
        at = seconds * 1000 + micros // 1000 - round(age * 1000)
        await rig.redis.execute_command("HSET", KEYS.processes, name, f"{at} 1 {json.dumps(told)}")

    await says("one", 3.0, 7)
    await says("two", 1.0, 5)
    await says("other", 1.0, 2, "/other.db")
    await says("dead", 40.0, 99, "/dead.db")
    scraped = await scrape(rig)
    assert {name: value for name, value in scraped.items() if name.startswith("glartek_spool_events")} == {
        'glartek_spool_events{host="a",path="/spool.db"}': 5,
        'glartek_spool_events{host="a",path="/other.db"}': 2,
    }
    assert scraped["glartek_receivers"] == 3


async def test_a_receiver_tells_what_only_it_knows(server: Server, start: Start, tmp_path: Path) -> None:
    """Refusals, spooled events and its spool, those of an outage included; and they stay when it is gone."""
    settings = {"WEBHOOK_TOKEN": TOKEN, "PORT": "0", "SPOOL_PATH": str(tmp_path / "spool.db")}
    receiver = listening(start("-m", "receiver", REDIS_URL=server.url, **settings))
    assert receiver.post(path="/nowhere").status == 404
    server.kill()
    assert receiver.post(event("e1")).status == 200
    server.start()
    redis = connect(server.url)

    async def drained() -> bool:
        scraped = parsed(render(await read(redis, KEYS)))
        return scraped.get("glartek_events_spooled_total") == 1 and scraped["glartek_receivers"] == 1

    await until(drained)
    scraped = parsed(render(await read(redis, KEYS)))
    assert scraped['glartek_requests_refused_total{status="404"}'] == 1
    assert scraped['glartek_events_accepted_total{type="action.created"}'] == 1
    assert time.time() - scraped['glartek_last_event_timestamp_seconds{type="action.created"}'] < 60
    assert any(name.startswith("glartek_spool_bytes") and value > 0 for name, value in scraped.items())
    receiver.process.stop()
    scraped = parsed(render(await read(redis, KEYS)))
    assert (scraped["glartek_receivers"], scraped["glartek_events_spooled_total"]) == (0, 1)
    await redis.aclose()
