"""Dead letters and replay, as an operator has them: the real commands against a real Valkey."""

import asyncio
import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from receiver.acceptance import Acceptance, accept_directly
from receiver.delivery import Delivery
from receiver.environment import SettingsError
from receiver.queue.jobs import pack_job
from tests.conftest import ROOT, Start, hash_of, until
from tests.worker.conftest import KEYS, SOURCES, Rig, body_of, delivery_of, make_handler
from worker import Context, Event, GiveUp, Skip, bulk
from worker.__main__ import app
from worker.dead_letters import Operator
from worker.handler import Handler
from worker.letter import DeadLetter, Filter


class Command:
    """`python -m worker …`: as a process, or in a thread of this one to save its start."""

    def __init__(self, url: str, folder: Path, *, process: bool) -> None:
        self._env = {"REDIS_URL": url, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
        self._folder, self._run = folder, self._in_process if process else self._in_thread

    async def __call__(self, *arguments: str, answer: str = "", code: int = 0) -> str:
        returned, out, error = await asyncio.to_thread(self._run, arguments, answer)
        assert returned == code, out + error
        assert "Traceback" not in out + error
        return out or error

    async def json(self, *arguments: str, code: int = 0) -> Any:
        lines = (await self(*arguments, "--json", code=code)).splitlines()
        # in a thread, a worker of this process may log meanwhile, such as that the machine stood still
        return json.loads("\n".join(line for line in lines if not re.match(r"\d{4}-\d\d-\d\d [\d:]+ \[", line)))

    def _in_process(self, arguments: Sequence[str], answer: str) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "worker", *arguments]
        done = subprocess.run(
            command, cwd=self._folder, env=self._env, input=answer, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout, done.stderr

    def _in_thread(self, arguments: Sequence[str], answer: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(app, list(arguments), input=answer, env=self._env)
        if isinstance(done.exception, SettingsError):
            return 2, "", "".join(f"{line}\n" for line in done.exception.lines)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def worker(rig: Rig, clean_environment: Path) -> Command:
    return Command(rig.url, clean_environment, process=False)


@pytest.fixture
def worker_process(rig: Rig, tmp_path: Path) -> Command:
    return Command(rig.url, tmp_path, process=True)


class Flaky:
    """A handler that gives up until it is mended."""

    def __init__(self, reason: str = "not today") -> None:
        self.runs = 0
        self.broken = True
        self.reason = reason

    def handler(self, name: str = "flaky") -> Handler:
        def do(_: int) -> None:
            self.runs += 1
            if self.broken:
                raise GiveUp(self.reason)

        return make_handler(name, do)


@pytest.fixture
def flaky() -> Flaky:
    return Flaky()


async def run_all(rig: Rig, flaky: Flaky, *deliveries: Delivery, **settings: Any) -> None:
    """Let a worker do what there is to do."""
    async with rig.working({"*": [flaky.handler(), make_handler("fine")]}, **settings):
        await rig.idle()
        await rig.closed(*deliveries)


async def test_duplicates_are_told_with_their_times(rig: Rig, worker: Command) -> None:
    """All are counted; the last ten say when."""
    delivery = await rig.send("e1")
    for _ in range(12):
        await accept_directly(rig.redis, KEYS, delivery_of(delivery.body))
    told = await worker.json("show", "e1")
    times = [datetime.fromisoformat(at) for at in told["duplicates_at"]]
    assert (told["duplicates"], len(times), times) == (12, 10, sorted(times))
    assert times[0] >= datetime.fromisoformat(told["first_seen"])


async def test_replays_pile_up_no_wakes(rig: Rig, flaky: Flaky) -> None:
    """While no worker pops them the list stays short: a worker that is back claims in vain for each one more."""
    await run_all(rig, flaky, *[await rig.send(f"e{number}") for number in range(40)])
    await rig.redis.delete(KEYS.wake)
    replayed = [await rig.operator.replay_letter(letter) for letter in await rig.letters()]
    assert replayed == [True] * 40
    assert await rig.redis.execute_command("LLEN", KEYS.wake) == 32


async def test_what_waited_in_a_spool_says_until_when(rig: Rig, worker: Command) -> None:
    """By the two times: accepted by a receiver, and stored in Redis."""
    late = await rig.accept(SOURCES.delivery({}, body_of("e1"), time.time_ns() // 1000 - 60_000_000))
    at_once = await rig.send("e2")
    told = await worker.json("show", late.id)
    until = datetime.fromisoformat(told["spooled_until"])
    assert 60 <= (until - datetime.fromisoformat(told["first_seen"])).total_seconds() < 70
    assert "on a receiver's disk until" in await worker("show", late.id)
    assert (await worker.json("show", at_once.id))["spooled_until"] is None


# ── show ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_show_tells_the_whole_story(rig: Rig, worker: Command, worker_process: Command, flaky: Flaky) -> None:
    """By the delivery's id or the event's: when, how often, what each handler did and why."""
    delivery = await rig.send("e1")
    await accept_directly(rig.redis, KEYS, delivery_of(delivery.body))
    await accept_directly(rig.redis, KEYS, delivery_of(body_of("e1", other=1)))
    await run_all(rig, flaky, delivery)
    for name in (delivery.id, "e1"):
        story = await worker.json("show", name)
        assert (story["delivery"], story["key"], story["type"]) == (delivery.id, "e1", "action.created")
        assert (story["duplicates"], story["conflicts"], story["open"]) == (1, 1, False)
        assert story["handlers"]["h.fine"]["state"] == "done"
        assert story["handlers"]["h.flaky"]["failures"][0]["error"] == "not today"
    assert "not today" in await worker_process("show", "e1")


async def test_what_is_not_remembered_is_said_so(worker: Command) -> None:
    """Exit code 2 and one line, for every command that takes an id."""
    for arguments in (
        ("show", "e1"),
        ("replay", "e1"),
        ("dead", "show", "x"),
        ("dead", "drop", "x"),
        ("dead", "replay", "x"),
    ):
        said = await worker(*arguments, code=2)
        assert said.count("\n") == 1
        assert "no such" in said


async def test_redis_away_is_one_line(tmp_path: Path) -> None:
    """Without Redis there is nothing to show, and that is a line."""
    said = await Command("redis://127.0.0.1:1", tmp_path, process=True)("dead", "list", code=2)
    assert said.startswith("REDIS_URL: ")
    assert said.count("\n") == 1


# ── replay ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_replay_runs_what_is_dead_and_nothing_else(rig: Rig, worker_process: Command, flaky: Flaky) -> None:
    """Once mended, one command brings it to its end; the dead letter is gone, and what was done is not run."""
    delivery = await rig.send("e1")
    fine: list[int] = []
    routes = {"*": [flaky.handler(), make_handler("fine", fine.append)]}
    async with rig.working(routes):
        await rig.closed(delivery)
        flaky.broken = False
        assert await worker_process.json("replay", "e1") == {
            "h.flaky": "replayed",
            "h.fine": "done already; --force runs it again",
        }
        await rig.closed(delivery)
    assert await rig.states(delivery) == {"h.flaky": "done", "h.fine": "done"}
    assert await rig.letters() == []
    assert (flaky.runs, len(fine)) == (2, 1)
    counts = await hash_of(rig.redis, KEYS.counts)
    assert (counts["h.flaky dead"], counts["h.flaky done"]) == (b"0", b"1")


async def test_a_replay_after_success_needs_force(rig: Rig, worker: Command, flaky: Flaky) -> None:
    """What is done is run again only when asked for by force, and only while its payload is kept."""
    flaky.broken = False
    delivery = await rig.send("e1")
    await run_all(rig, flaky, delivery)
    assert "done already" in await worker("replay", "e1", code=1)
    assert await rig.redis.zcard(KEYS.queue) == 0
    assert (await worker.json("replay", "e1", "--force", "--handler", "h.flaky")) == {"h.flaky": "replayed"}
    await run_all(rig, flaky, delivery)
    assert flaky.runs == 2
    await rig.redis.delete(KEYS.payload(delivery.id))
    assert "no longer kept" in await worker("replay", "e1", "--force", code=1)


async def test_a_replay_of_one_handler_names_it(rig: Rig, worker: Command, flaky: Flaky) -> None:
    """A handler that has no part in the delivery is refused with those that have."""
    delivery = await rig.send("e1")
    await run_all(rig, flaky, delivery)
    said = await worker("replay", "e1", "--handler", "h.nobody", code=2)
    assert "h.fine" in said
    assert "h.flaky" in said


async def test_two_replays_at_once_are_one_run(rig: Rig, flaky: Flaky) -> None:
    """Two operators who press at the same time, or one who presses twice."""
    delivery = await rig.send("e1")
    await run_all(rig, flaky, delivery)
    [letter] = await rig.letters()
    replayed = await asyncio.gather(*(rig.operator.replay_letter(letter) for _ in range(10)))
    assert sorted(replayed) == [False] * 9 + [True]
    flaky.broken = False
    await run_all(rig, flaky, delivery)
    assert flaky.runs == 2
    assert await rig.operator.replay_letter(letter) is False


async def test_a_job_of_somebody_else_is_replayed_once(rig: Rig) -> None:
    """A job that no worker knew goes back as it was, under a fresh id, once however often it is asked for."""
    job = pack_job("not_ours", [1], 5)
    await rig.redis.set("arq:job:j1", job)
    await rig.redis.zadd(KEYS.queue, {"j1": 1})
    async with rig.working({"*": []}):
        await rig.idle()
    [letter] = await rig.letters()
    replayed = await asyncio.gather(*(rig.operator.replay_letter(letter) for _ in range(5)))
    assert sorted(replayed) == [False] * 4 + [True]
    [job_id] = await rig.redis.zrange(KEYS.queue, 0, -1)
    assert job_id != b"j1"
    assert await rig.redis.get(b"arq:job:" + job_id) == job


async def test_a_conflict_replayed_is_a_delivery_of_its_own(rig: Rig, worker: Command, flaky: Flaky) -> None:
    """The other event of a shared key is handled too, and has its own story."""
    first = await rig.send("e1")
    other = delivery_of(body_of("e1", title="other"))
    assert await accept_directly(rig.redis, KEYS, other) is Acceptance.CONFLICT
    flaky.broken = False
    await run_all(rig, flaky, first)
    [listed] = await worker.json("dead", "list", "--kind", "conflict")
    assert first.digest.hex()[:32] in listed["reason"]
    assert await worker.json("dead", "replay", listed["id"]) == {"replayed": 1, "chosen": 1}
    await run_all(rig, flaky, first)
    assert flaky.runs == 2
    assert await rig.letters() == []
    records = await rig.keys(f"{KEYS.delivery('')}*")
    assert len(records) == 2


async def test_an_unreadable_delivery_is_replayed_whole(rig: Rig, worker: Command, flaky: Flaky) -> None:
    """Once its reason is gone (a limit raised, a setting mended) every handler runs."""
    flaky.broken = False
    delivery = await rig.send("e1", padding="x" * 3000)
    compressed = delivery_of(gzip.compress(body_of("e2", padding="x" * 3000)), content_encoding="gzip")
    await rig.accept(compressed)
    await run_all(rig, flaky, delivery, compressed, max_body_bytes=2048)
    [letter] = await rig.letters()
    assert letter.handler == "parse"
    assert await worker.json("replay", compressed.id) == {"parse": "replayed"}
    await run_all(rig, flaky, compressed)
    assert await rig.states(compressed) == {"h.flaky": "done", "h.fine": "done"}
    assert await rig.letters() == []


async def test_a_replay_of_an_expired_record_closes_again(rig: Rig, flaky: Flaky) -> None:
    """A dead letter outlives its record; what its replay writes has a lifetime again."""
    delivery = await rig.send("e1")
    await run_all(rig, flaky, delivery)
    await rig.redis.delete(KEYS.delivery(delivery.id))
    [letter] = await rig.letters()
    flaky.broken = False
    assert await rig.operator.replay_letter(letter)
    await run_all(rig, flaky, delivery)
    assert await rig.states(delivery) == {"h.flaky": "done"}
    assert await rig.redis.ttl(KEYS.delivery(delivery.id)) > 0


async def test_a_dead_letter_is_not_replaced_by_a_later_event_of_its_key(rig: Rig, flaky: Flaky) -> None:
    """When the first is forgotten, a second with the same key is another event: both are kept, both can be replayed."""
    sent = [await rig.send("e1", title="first")]
    await run_all(rig, flaky, *sent)
    await rig.redis.delete(KEYS.delivery(sent[0].id))
    sent.append(await rig.send("e1", title="second"))
    await run_all(rig, flaky, *sent)
    letters = sorted(await rig.letters(), key=lambda letter: letter.accepted)
    assert [letter.body() for letter in letters] == [delivery.body for delivery in sent]
    bodies: list[bytes] = []

    async def handler(event: Event, _: Context) -> None:
        bodies.append(event.raw.encode())

    handler.__module__, handler.__name__ = "h", "flaky"
    for letter in letters:
        assert await rig.operator.replay_letter(letter)
    async with rig.working({"*": [handler]}):
        await rig.idle()
    assert sorted(bodies) == sorted(delivery.body for delivery in sent)
    assert await rig.letters() == []
    assert -1 not in [await rig.redis.ttl(key) for key in await rig.redis.keys(KEYS.delivery("*"))]


async def test_a_skipped_event_is_shown_with_its_reason_and_replayed_by_force(rig: Rig, worker: Command) -> None:
    """It is an end like done."""
    reasons = ["older than what is there", "older than what came since"]

    def skip(_: int) -> None:
        raise Skip(reasons.pop(0))

    delivery = await rig.send("e1")
    routes = {"*": [make_handler("act", skip)]}
    async with rig.working(routes):
        await rig.closed(delivery)
    assert " skipped: older than what is there " in await worker("show", "e1")
    assert await worker.json("replay", "e1", code=1) == {"h.act": "skipped already; --force runs it again"}
    assert await worker.json("replay", "e1", "--force") == {"h.act": "replayed"}
    async with rig.working(routes):
        await rig.closed(delivery)
    assert (await worker.json("show", "e1"))["handlers"]["h.act"]["skipped"] == "older than what came since"
    assert (await hash_of(rig.redis, KEYS.counts))["h.act skipped"] == b"1"


# ── dead list, show, drop ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def three_dead(rig: Rig, flaky: Flaky) -> list[Delivery]:
    deliveries = [
        await rig.send("e1"),
        await rig.send("e2", "action.solved"),
        await rig.accept(delivery_of(b"not JSON")),
    ]
    await run_all(rig, flaky, *deliveries)
    return deliveries


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ((), 3),
        (("--handler", "h.flaky"), 2),
        (("--handler", "parse"), 1),
        (("--type", "action.solved"), 1),
        (("--kind", "dead"), 3),
        (("--kind", "conflict"), 0),
        (("--reason", "NOT TODAY"), 2),
        (("--older-than", "1h"), 0),
        (("--older-than", "0s"), 3),
        (("--handler", "h.flaky", "--type", "action.created"), 1),
    ],
)
async def test_the_list_is_filtered(
    three_dead: list[Delivery], worker: Command, filters: tuple[str, ...], found: int
) -> None:
    """By handler, type, kind, reason and age, all that are given."""
    listed = await worker.json("dead", "list", *filters)
    assert len(listed) == found
    assert {row["delivery"] for row in listed} <= {delivery.id for delivery in three_dead}


async def test_a_wrong_age_is_a_line(worker: Command) -> None:
    """It says what a duration looks like."""
    assert (await worker("dead", "list", "--older-than", "long", code=2)).startswith(
        "--older-than: expected a duration"
    )


async def test_a_wrong_kind_is_a_line(worker: Command) -> None:
    """It says which there are: "no dead letters" would be untrue."""
    said = await worker("dead", "list", "--kind", "conflicts", code=2)
    assert said == "--kind: expected one of dead, conflict, job, got 'conflicts'\n"


async def test_the_list_prints_what_it_found_as_it_is(rig: Rig, worker: Command) -> None:
    """Square brackets in reasons and types are words, not colours."""
    delivery = await rig.send("e1", "[/red] unknown")
    flaky = Flaky("expected [/] and [bold]")
    await run_all(rig, flaky, delivery)
    listed = await worker("dead", "list")
    assert "expected [/] and [bold]" in listed
    assert "[/red] unknown" in listed
    assert "expected [/] and [bold]" in await worker("show", "e1")


async def test_nothing_dead_is_said_so(worker: Command) -> None:
    """An empty list is an answer."""
    assert "no dead letters" in await worker("dead", "list")
    assert await worker.json("dead", "list") == []


async def test_a_dead_letter_is_shown_with_its_payload(three_dead: list[Delivery], worker: Command) -> None:
    """As it was received."""
    shown = await worker.json("dead", "show", f"{three_dead[0].id}:h.flaky")
    assert shown["payload"].encode() == three_dead[0].body
    assert shown["tries"] == 1
    assert '"id": "e1"' in await worker("dead", "show", f"{three_dead[0].id}:h.flaky")


async def test_a_large_payload_is_compressed_where_that_helps(rig: Rig, worker: Command, flaky: Flaky) -> None:
    """It takes less of Redis, and is shown and replayed as it was received."""
    texts = {"plain": "x" * 100, "large": "a text, again and again; " * 4000, "dense": os.urandom(30_000).hex()}
    deliveries = {name: await rig.send(name, pad=text) for name, text in texts.items()}
    await run_all(rig, flaky, *deliveries.values())
    held = {name: await hash_of(rig.redis, KEYS.dead_letter(f"{d.id}:h.flaky")) for name, d in deliveries.items()}
    assert "job" in held["plain"]
    assert len(held["large"]["zjob"]) < 2000
    assert len(held["dense"]["zjob"]) < 0.7 * len(deliveries["dense"].body)
    for name, one in deliveries.items():
        shown = await worker.json("dead", "show", f"{one.id}:h.flaky")
        assert shown["payload"].encode() == one.body, name
    flaky.broken = False
    await worker("dead", "replay", "--all", "--yes")
    await run_all(rig, flaky, *deliveries.values())
    assert await rig.letters() == []


async def test_many_are_dropped_only_when_confirmed(
    rig: Rig, three_dead: list[Delivery], worker: Command, worker_process: Command
) -> None:
    """Nothing without ids, a filter or --all; a question when it is more than one; then they are gone."""
    assert "expected ids" in await worker("dead", "drop", code=2)
    await worker_process("dead", "drop", "--all", answer="n\n", code=1)
    for verb, done in (("drop", "dropped"), ("replay", "replayed")):
        said = await worker("dead", verb, "--all", code=2)  # nobody is there to be asked
        assert said == f"none of 3 dead letters is {done}; --yes does it without a question\n"
    assert len(await rig.letters()) == 3
    assert await worker.json("dead", "drop", "--handler", "parse") == {"dropped": 1, "chosen": 1}
    assert "dropped 2 of 2" in await worker_process("dead", "drop", "--all", answer="y\n")
    assert await rig.letters() == []
    assert await rig.keys(f"{KEYS.dead}*") == []
    assert three_dead


async def test_all_are_replayed(rig: Rig, three_dead: list[Delivery], worker: Command, flaky: Flaky) -> None:
    """In bulk, each with its whole budget again."""
    flaky.broken = False
    assert await worker.json("dead", "replay", "--all", "--handler", "h.flaky", "--yes") == {"replayed": 2, "chosen": 2}
    await run_all(rig, flaky, *three_dead)
    assert [letter.handler for letter in await rig.letters()] == ["parse"]


async def test_a_group_is_listed_previewed_and_replayed(
    rig: Rig, three_dead: list[Delivery], worker: Command, flaky: Flaky
) -> None:
    """`dead groups` names what failed alike; `--where group=…` means all of it, in list, preview and replay."""
    [group, other] = await worker.json("dead", "groups")
    assert (group["handler"], group["error"], group["count"]) == ("h.flaky", "not today", 2)
    assert (other["handler"], other["count"]) == ("parse", 1)
    assert "not today" in await worker("dead", "groups", "--where", "handler=h.flaky")
    rows = await worker.json("dead", "replay", "--all", "--preview")
    assert [(row["handler"], row["out_of_order"], row["unreadable"]) for row in rows] == [
        ("h.flaky", 2, 0), ("parse", 0, 1)
    ]  # fmt: skip
    said = await worker("dead", "replay", "--all", "--preview")
    assert "parse: 1 could not be read: they would become dead letters again" in said
    where = ("--where", f"group={group['group']}")
    assert len(await worker.json("dead", "list", *where)) == 2
    [row] = await worker.json("dead", "replay", *where, "--preview")
    assert (row["handler"], row["count"], row["out_of_order"], row["has_worker"]) == ("h.flaky", 2, 2, False)
    said = await worker("dead", "replay", *where, "--preview")
    assert "2 may run out of order" in said
    assert len(await rig.letters()) == 3
    flaky.broken = False
    assert await worker.json("dead", "replay", *where, "--yes") == {"replayed": 2, "chosen": 2}
    await run_all(rig, flaky, *three_dead)
    assert [letter.handler for letter in await rig.letters()] == ["parse"]


async def test_a_replay_is_paced_and_in_order_of_acceptance(rig: Rig, worker: Command) -> None:
    """At most so many in a minute; the event that was accepted first runs first, whenever each died."""
    first, second, third = [await rig.send(f"e{number}") for number in range(3)]
    async with rig.working({"*": [Flaky().handler()]}):
        await rig.closed(first, second, third)
    for number, one in enumerate((third, first, second)):
        await rig.redis.zadd(KEYS.dead, {f"{one.id}:h.flaky": 1000 + number})
    began = time.monotonic()
    await worker("dead", "replay", "--all", "--yes", "--per-minute", "300")
    assert time.monotonic() - began >= 0.4
    queued = await rig.redis.zrange(KEYS.queue, 0, -1)
    assert [job.decode().partition(":")[0] for job in queued] == [first.id, second.id, third.id]


@pytest.mark.parametrize("where", ["group", "=x", "handlers=x", "older_than=long", "kind=deed"])
async def test_a_wrong_where_is_a_line(worker: Command, where: str) -> None:
    """It says what was expected."""
    said = await worker("dead", "replay", "--where", where, code=2)
    assert said.startswith("--where: ")
    assert "expected" in said


async def test_a_replay_that_is_stopped_says_how_far_it_came(rig: Rig, start: Start) -> None:
    """Ctrl-C: what was not replayed is a dead letter still, and the exit code tells of it."""
    sent = [await rig.send(f"e{number}") for number in range(3)]
    async with rig.working({"*": [Flaky().handler()]}):
        await rig.closed(*sent)
    replay = start("-m", "worker", "dead", "replay", "--all", "--yes", "--per-minute", "1", REDIS_URL=rig.url)

    async def one_is_replayed() -> bool:
        return await rig.operator.count() == 2

    await until(one_is_replayed, timeout=20)
    replay.signal(signal.SIGINT)
    assert replay.wait() == 130, replay.output
    assert "replayed 1 of 3" in replay.output
    assert await rig.operator.count() == 2


async def test_a_stop_while_one_is_replayed_counts_it(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped between what Redis does and its answer: how far it came is told as it is in Redis."""
    sent = [await rig.send(f"e{number}") for number in range(3)]
    async with rig.working({"*": [Flaky().handler()]}):
        await rig.closed(*sent)
    done, answered = asyncio.Event(), asyncio.Event()

    async def slow(operator: Operator, letter: DeadLetter) -> bool:
        replayed = await operator.replay_letter(letter)
        done.set()
        await answered.wait()
        return replayed

    monkeypatch.setitem(bulk.ACTS, "replay", slow)
    letters = [letter async for letter in rig.operator.letters(Filter())]
    run = bulk.run(rig.operator, "replay", letters)
    progress = await anext(run)
    task = asyncio.ensure_future(anext(run))
    await done.wait()
    task.cancel()
    asyncio.get_running_loop().call_soon(answered.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert progress.done == 1
    assert await rig.operator.count() == 2


async def test_a_thousand_are_listed_in_order(rig: Rig) -> None:
    """Oldest first, over several pages."""
    async with rig.redis.pipeline() as pipe:
        for number in range(1200):
            pipe.hset(KEYS.dead_letter(f"d{number}"), mapping={"at": number, "job": b"", "handler": "h.a"})
            pipe.zadd(KEYS.dead, {f"d{number}": number})
        await pipe.execute()
    found = [letter.id async for letter in rig.operator.letters(Filter(handler="h.a"))]
    assert found == [f"d{number}" for number in range(1200)]


async def test_a_waiting_retry_is_run_now(rig: Rig, worker_process: Command) -> None:
    """`replay` of what waits for its turn does not wait for it."""
    attempts: list[int] = []

    def do(attempt: int) -> None:
        attempts.append(attempt)
        if attempt == 1:
            raise OSError("away")

    wait: Callable[[], Any] = lambda: _is_waiting(rig, delivery)  # noqa: E731
    delivery = await rig.send("e1")
    async with rig.working({"*": [make_handler("a", do)]}, retry_base=3000):
        await until(wait)
        await asyncio.sleep(0)
        assert await worker_process.json("replay", "e1") == {"h.a": "replayed"}
        await rig.closed(delivery)
    assert attempts == [1, 2]


async def _is_waiting(rig: Rig, delivery: Delivery) -> bool:
    return (await rig.states(delivery)).get("h.a") == "retry"
