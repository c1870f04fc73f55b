"""The lease: whatever happens to a worker or to Redis, a job is run by one worker, to its end, and never lost."""

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
from arq.connections import ArqRedis
from redis.asyncio import Redis
from structlog.testing import capture_logs

import worker.lease.claims
import worker.lease.worker
from receiver.delivery import Delivery
from receiver.queue.connection import connect, outage
from receiver.queue.jobs import pack_job
from receiver.queue.scripts import Script
from tests.conftest import Process, Server, Start, hash_of, until, wait_until
from tests.worker.conftest import (
    KEYS,
    Journal,
    Rig,
    asks_nothing,
    body_of,
    delivery_of,
    function,
    make_handler,
    put,
    wire,
)
from worker.lease.calls import MAX_CRASHES
from worker.lease.claims import FIRST_BYTES, Claim, Claims, Ending
from worker.lease.worker import LeasedWorker

HANDLERS = """
import asyncio, os, time
from pathlib import Path

HERE = Path(os.environ["JOURNAL"])

def note(*words):
    with (HERE / "journal").open("a") as journal:
        journal.write(" ".join(map(str, words)) + "\\n")

async def act(event, ctx):
    note("start", event.id, ctx.attempt, os.getpid())
    await DO[event.payload["do"]](event)
    note("end", event.id, ctx.attempt, os.getpid())

async def end(event): pass

async def block(event):
    while not (HERE / "go").exists():
        time.sleep(0.01)

async def wait(event):
    while not (HERE / "go").exists():
        await asyncio.sleep(0.01)

async def hang(event):
    await asyncio.Event().wait()

async def die(event):
    await asyncio.sleep(0.05)
    os._exit(9)

DO = {do.__name__: do for do in (end, block, wait, hang, die)}
ROUTES = {"*": [act]}
"""


class Workers:
    """Worker processes whose handler does what an event says, and its journal."""

    def __init__(self, start: Start, folder: Path, url: str) -> None:
        (folder / "acts.py").write_text(HANDLERS, encoding="utf-8")
        (folder / "journal").touch()
        self._start, self._folder = start, folder
        self._env = {"REDIS_URL": url, "HANDLERS": "acts:ROUTES", "JOURNAL": str(folder), "LEASE": "1s"}

    def start(self, **settings: str) -> Process:
        return self._start("-m", "worker", **self._env | settings)

    def go(self) -> None:
        """Let `wait` and `block` come to their ends."""
        (self._folder / "go").touch()

    def journal(self, what: str) -> list[tuple[str, int, int]]:
        """Event, attempt and process of each start, or end, in order."""
        lines = (line.split() for line in (self._folder / "journal").read_text(encoding="utf-8").splitlines())
        return [(event, int(attempt), int(pid)) for word, event, attempt, pid in lines if word == what]

    async def wait_for(self, what: str, *events: str) -> None:
        def are_all() -> bool:
            return set(events) <= {event for event, _, _ in self.journal(what)}

        await asyncio.to_thread(wait_until, are_all, 20, lambda: str(self.journal("start")))


@pytest.fixture
def workers(start: Start, tmp_path: Path, rig: Rig) -> Workers:
    return Workers(start, tmp_path, rig.url)


async def let_leases_run_out(redis: Redis) -> None:
    """As if their time had passed."""
    for job_id in await redis.zrange(KEYS.leases, 0, -1):
        await redis.zadd(KEYS.leases, {job_id: 0})


async def lease_clock(redis: ArqRedis) -> float:
    return float((await hash_of(redis, KEYS.lease_clock)).get("reads", 0))


# ── workers that are killed, frozen, blocked or told to stop ────────────────────────────────────────────────────


async def test_a_lease_is_kept_while_its_worker_lives_and_taken_over_when_it_is_killed(
    rig: Rig, workers: Workers
) -> None:
    """For two leases and more, with the event loop blocked meanwhile; after a kill -9 the other worker has both."""
    deliveries = [await rig.send("e1", do="wait"), await rig.send("e2", do="block")]
    first = workers.start(MAX_JOBS="2", HANDLER_TIMEOUT="1h")
    await workers.wait_for("start", "e1", "e2")
    second = workers.start(HANDLER_TIMEOUT="1h")
    began = await lease_clock(rig.redis)
    await until(lambda: _has_run(rig.redis, began + 2200))
    assert {pid for _, _, pid in workers.journal("start")} == {first.pid}

    first.signal(signal.SIGKILL)
    workers.go()
    await rig.closed(*deliveries)
    assert sorted(workers.journal("end")) == [("e1", 1, second.pid), ("e2", 1, second.pid)]
    assert len(workers.journal("start")) == 4


async def _has_run(redis: ArqRedis, reads: float) -> bool:
    return await lease_clock(redis) >= reads


async def test_a_frozen_worker_that_was_overtaken_changes_nothing(rig: Rig, workers: Workers) -> None:
    """It comes back, is told, stops what it ran, and the outcome of the other one stands."""
    waiting, hanging = await rig.send("e1", do="wait"), await rig.send("e2", do="hang")
    frozen = workers.start()
    await workers.wait_for("start", "e1", "e2")
    frozen.signal(signal.SIGSTOP)
    await let_leases_run_out(rig.redis)
    async with rig.working({"*": [make_handler("act")]}):
        await rig.closed(waiting, hanging)
        await rig.idle()
        before = await _all_of(rig)
        frozen.signal(signal.SIGCONT)
        await asyncio.to_thread(frozen.wait_for, "lease lost")
        workers.go()
        await rig.send("e3", do="end")
        await rig.idle()
        assert frozen.stop() == 0
    assert await rig.states(waiting) == {"h.act": "done"}
    after = await _all_of(rig)
    assert {name: after[name] for name in before} == before
    assert "Traceback" not in frozen.output


async def _all_of(rig: Rig) -> dict[str, Any]:
    """What is in Redis of the deliveries e1 and e2."""
    ids = [delivery_of(body_of(event_id)).id for event_id in ("e1", "e2")]
    names = [name for name in await rig.keys() for event_id in ids if event_id in name]
    return {name: await hash_of(rig.redis, name) if "delivery:" in name else True for name in names}


async def test_sigterm_lets_running_handlers_end(rig: Rig, workers: Workers) -> None:
    """Within the grace period, and nothing new is begun; exit code 0."""
    delivery = await rig.send("e1", do="wait")
    process = workers.start(SHUTDOWN_GRACE="20s")
    await workers.wait_for("start", "e1")
    process.signal(signal.SIGTERM)
    await asyncio.sleep(0.3)  # without a grace it would have been stopped by now
    late = await rig.send("e2", do="end")
    workers.go()
    assert await asyncio.to_thread(process.wait) == 0
    assert "Traceback" not in process.output
    assert [event for event, _, _ in workers.journal("end")] == ["e1"]
    assert (await rig.story(delivery))["open"] is False
    assert await rig.redis.zrange(KEYS.queue, 0, -1) == [late.job_id.encode()]


async def test_sigterm_gives_back_what_does_not_end(rig: Rig, workers: Workers) -> None:
    """When the grace is over: with its try and its place in the queue, for the next worker; exit code 0."""
    delivery = await rig.send("e1", do="hang")
    place = await rig.redis.zscore(KEYS.queue, delivery.job_id)
    process = workers.start(SHUTDOWN_GRACE="0")
    await workers.wait_for("start", "e1")
    process.signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait) == 0
    assert "Traceback" not in process.output
    assert await rig.redis.zscore(KEYS.queue, delivery.job_id) == place
    assert await rig.redis.get(f"arq:retry:{delivery.job_id}") == b"0"
    assert await rig.keys("arq:in-progress:*") == []
    attempts: list[int] = []
    async with rig.working({"*": [make_handler("act", attempts.append)]}):
        await rig.closed(delivery)
    assert attempts == [1]


async def test_an_ending_under_way_when_the_worker_stops_is_written(
    rig: Rig, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that has come to its end is not left to its lease, to be run again."""
    sending = asyncio.Event()

    async def slowly(self: Claims, endings: Any) -> list[bool]:
        sending.set()
        await until(lambda: _is_closing(leased))
        await asyncio.sleep(0.05)
        return await send(self, endings)

    send = Claims._send_endings
    monkeypatch.setattr(Claims, "_send_endings", slowly)
    await put(rig.redis, "j1", pack_job("asks_nothing", [], 1))
    async with rig.leased([journal.function(asks_nothing)], keep_result=0) as leased:
        await sending.wait()
    assert len(journal.ends) == 1
    assert await rig.keys("arq:*") == []


async def _is_closing(leased: LeasedWorker) -> bool:
    return not leased.allow_pick_jobs


async def test_an_event_that_kills_its_worker_is_a_dead_letter_and_its_neighbours_are_done(
    rig: Rig, workers: Workers
) -> None:
    """Its budget is five lost workers; those beside it are run again and come to their ends."""
    poison = await rig.send("poison", do="die")
    await rig.redis.zrem(KEYS.queue, poison.job_id)  # its worker was lost twice already
    await rig.redis.zadd(KEYS.leases, {poison.job_id: 0})
    await rig.redis.execute_command("HSET", KEYS.crashes, poison.job_id, MAX_CRASHES - 3)
    neighbours = [await rig.send(f"e{number}", do="hang") for number in range(3)]
    for _ in range(2):
        process = workers.start()
        await asyncio.to_thread(process.wait)
        await let_leases_run_out(rig.redis)
    async with rig.working({"*": [make_handler("act")]}):
        await rig.closed(poison, *neighbours)
    [letter] = await rig.letters()
    assert (letter.delivery, letter.handler) == (poison.id, "h.act")
    assert letter.reason == f"its worker was lost {MAX_CRASHES} times while it ran"
    assert letter.body() == poison.body
    assert [await rig.states(neighbour) for neighbour in neighbours] == [{"h.act": "done"}] * 3


async def test_two_suspects_never_run_side_by_side(rig: Rig) -> None:
    """Jobs whose workers were lost twice run one at a time, so that an innocent one is not lost with the guilty."""
    running, most = 0, 0

    async def runs(_: dict[str, Any]) -> None:
        nonlocal running, most
        running, most = running + 1, max(most, running + 1)
        await asyncio.sleep(0.01)
        running -= 1

    for number in range(4):
        await put(rig.redis, f"j{number}", pack_job("runs", [], 1))
        await rig.redis.zrem(KEYS.queue, f"j{number}")
        await rig.redis.zadd(KEYS.leases, {f"j{number}": 0})
        await rig.redis.execute_command("HSET", KEYS.crashes, f"j{number}", 2)
    async with rig.leased([function(runs)]):
        await rig.idle()
    assert most == 1


async def test_suspects_do_not_keep_a_lost_job_from_being_claimed(rig: Rig) -> None:
    """However many wait to run one at a time, what was lost once is claimed beside them at once."""
    for number in range(20):
        await rig.redis.zadd(KEYS.leases, {f"suspect{number}": -1})
        await rig.redis.execute_command("HSET", KEYS.crashes, f"suspect{number}", 2)
    await rig.redis.zadd(KEYS.leases, {"lost": 0})
    claims = claims_of(rig.redis)
    assert [claim.job_id for claim in await claims.take(10, alone=False)] == ["lost"]


# ── a crash between any two steps ───────────────────────────────────────────────────────────────────────────────

CRASHING = """
import asyncio, os, sys
from pathlib import Path
from receiver.environment import load
from receiver.queue.scripts import Script
from worker import app, routes
from worker.settings import WorkerSettings

def script(name):
    return Script.load(name).text

recorded = asyncio.Event()

def crash_at(name, number, when):
    calls, plain = 0, Script.__call__

    async def call(self, redis, keys=(), args=()):
        nonlocal calls
        due = False
        if self.text == script(name):
            calls += 1
            due = calls == int(number)
        if due and when == "before":
            os._exit(9)
        answer = await plain(self, redis, keys, args)
        if due:
            os._exit(9)
        if self.text == script("record.lua"):
            recorded.set()
        return answer

    Script.__call__ = call

def handlers(journal):
    async def one(event, ctx):
        with journal.open("a") as ended:
            ended.write("one ")

    async def other(event, ctx):  # ends once `one` has its outcome
        await recorded.wait()
        with journal.open("a") as ended:
            ended.write("other ")

    one.__module__ = other.__module__ = "crashing"
    return routes.RouteTable({"*": [one, other]})

url, *points = sys.argv[1:]
for number, point in enumerate(points):
    if not os.fork():  # a process of its own, and the imports only once
        crash_at(*point.split())
        config = load(WorkerSettings, redis_url=f"{url}?db={number + 1}", handlers="in:process")
        asyncio.run(app.run(config, handlers(Path(f"journal-{number}"))))
sys.exit(any(os.wait()[1] != 9 << 8 for _ in points))
"""

CRASHES = {
    "claim.lua 1 before": "one other",
    "claim.lua 1 after": "one other",
    "record.lua 1 before": "one one other",
    "record.lua 1 after": "one other",
    "record.lua 2 before": "one other other",
    "record.lua 2 after": "one other",
    "finish.lua 1 before": "one other",
    "finish.lua 1 after": "one other",
}
"""Where a worker is killed, and the runs that came to their ends: its own and those of the next worker."""


async def test_a_crash_between_any_two_steps_repeats_only_what_it_interrupted(
    rig: Rig, start: Start, tmp_path: Path
) -> None:
    """Before and after each script of a delivery with two handlers: each is done once, but for the interrupted one."""
    (tmp_path / "crashing.py").write_text(CRASHING, encoding="utf-8")
    journals = [tmp_path / f"journal-{number}" for number in range(len(CRASHES))]
    databases = [f"{rig.url}?db={number + 1}" for number in range(len(CRASHES))]
    deliveries = []
    for journal, database in zip(journals, databases, strict=True):
        journal.touch()
        redis = connect(database)
        deliveries.append(await Rig(database, redis).send("e1"))
        await redis.aclose()
    crashed = start("crashing.py", rig.url, *CRASHES)
    assert await asyncio.to_thread(crashed.wait) == 0, crashed.output
    await asyncio.gather(*map(_finish, databases, deliveries, journals))
    ended = [" ".join(sorted(journal.read_text(encoding="utf-8").split())) for journal in journals]
    assert dict(zip(CRASHES, ended, strict=True)) == CRASHES


async def _finish(url: str, delivery: Delivery, journal: Path) -> None:
    """What the next worker does, once the lease has run out."""

    def handler(name: str) -> Any:
        async def run(*_: Any) -> None:
            with journal.open("a", encoding="utf-8") as ended:
                ended.write(f"{name} ")

        run.__name__, run.__module__ = name, "crashing"
        return run

    redis = connect(url)
    rig = Rig(url, redis)
    await let_leases_run_out(redis)
    async with rig.working({"*": [handler("one"), handler("other")]}):
        await rig.closed(delivery)
        await rig.idle()
    assert await rig.states(delivery) == {"crashing.one": "done", "crashing.other": "done"}
    assert await rig.keys("arq:*") == []
    await redis.aclose()


# ── Redis in trouble ────────────────────────────────────────────────────────────────────────────────────────────


async def kill(server: Server, redis: Redis) -> Callable[[], Awaitable[None]]:  # noqa: ARG001 - one shape for all
    await asyncio.to_thread(server.kill)

    async def mend() -> None:
        await asyncio.to_thread(server.start)

    return mend


async def freeze(server: Server, redis: Redis) -> Callable[[], Awaitable[None]]:  # noqa: ARG001 - one shape for all
    server.freeze()

    async def mend() -> None:
        server.thaw()

    return mend


async def demote(server: Server, redis: Redis) -> Callable[[], Awaitable[None]]:  # noqa: ARG001 - one shape for all
    await redis.execute_command("REPLICAOF", "127.0.0.1", "1")

    async def mend() -> None:
        await redis.execute_command("REPLICAOF", "NO", "ONE")

    return mend


@pytest.mark.parametrize("trouble", [kill, freeze, demote])
async def test_a_worker_goes_on_by_itself_after_any_trouble_with_redis(server: Server, trouble: Any) -> None:
    """Killed and restarted, frozen, read-only: what ran meanwhile ends once, what comes later is run."""
    redis = connect(server.url)
    rig = Rig(server.url, redis)
    may_end, ends = asyncio.Event(), []
    started = asyncio.Event()

    async def runs(ctx: dict[str, Any]) -> None:
        started.set()
        await may_end.wait()
        ends.append(ctx["job_id"])

    connect_ = partial(connect, server.url, timeout=0.7, retries=0)
    with capture_logs() as logs:
        async with rig.leased([function(runs)], connect=connect_, lease=5):
            await put(redis, "before", pack_job("runs", [], 1))
            await started.wait()
            mend = await trouble(server, redis)
            may_end.set()
            await until(_both_wait)
            await mend()
            await rig.idle()
            await put(redis, "after", pack_job("runs", [], 1))
            await rig.idle()
    assert ends == ["before", "after"]
    assert [line["event"] for line in logs] == ["redis is away: waiting", "redis is back"][: len(logs)]
    assert await rig.keys("arq:in-progress:*") == []
    await redis.aclose()


async def _both_wait() -> bool:
    """Whether the worker waits both to claim and to end its job."""
    return {LeasedWorker, FunctionType} <= {type(caller) for caller in outage._waiting}


async def test_a_worker_follows_a_failover_behind_one_address(
    server: Server, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """The demoted master keeps its connections: a worker that stays on them would wait there for ever."""
    address, other = tmp_path / "address", Server(tmp_path_factory.mktemp("promoted"))
    other.start()
    master, promoted = connect(server.url), connect(other.url)
    address.symlink_to(server.url.removeprefix("unix://"))
    rig, started, may_end = Rig(f"unix://{address}", promoted), asyncio.Event(), asyncio.Event()

    async def runs(_: dict[str, Any]) -> None:
        started.set()
        await may_end.wait()

    await put(master, "j1", pack_job("runs", [], 1))
    async with rig.leased([function(runs)], max_jobs=1, lease=60):  # it waits for its job, not at the wake list
        await started.wait()
        for key in await master.keys():
            await promoted.restore(key, 0, await master.dump(key) or b"")
        address.unlink()
        address.symlink_to(other.url.removeprefix("unix://"))
        await demote(server, master)
        may_end.set()
        await rig.idle()
    await master.aclose()
    await promoted.aclose()
    other.stop()


async def test_a_full_redis_is_drained(server: Server) -> None:
    """Claiming, retrying, burying and finishing need no memory that a full Redis would refuse."""
    redis = connect(server.url)
    rig = Rig(server.url, redis)
    deliveries = [await rig.send(f"e{number}") for number in range(5)]
    unreadable = await rig.accept(delivery_of(b"no JSON"))
    await put(redis, "foreign", b"\x93")
    await redis.config_set("maxmemory", 1)

    def fails_once(attempt: int) -> None:
        if attempt == 1:
            raise OSError

    async with rig.working({"*": [make_handler("a", fails_once)]}):
        await rig.closed(*deliveries, unreadable)
        await rig.idle()
    assert [await rig.states(delivery) for delivery in deliveries] == [{"h.a": "done"}] * 5
    assert sorted(letter.id for letter in await rig.letters()) == [f"{unreadable.id}:parse", "foreign:job"]
    await redis.aclose()


async def test_a_lease_that_only_could_not_be_renewed_does_not_start_its_job_twice(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker that takes its own job again goes on with it, and ends it under the claim that it has by then."""
    monkeypatch.setattr(worker.lease.worker, "POLL", 0.01)
    clients = iter([connect(rig.url), connect("redis://127.0.0.1:1")])
    may_end, starts = asyncio.Event(), []

    async def runs(ctx: dict[str, Any]) -> None:
        starts.append(ctx["job_id"])
        await may_end.wait()

    async def ends(self: Claims, claim: Claim, ending: Ending) -> bool:
        if claim.crashes == 1:  # once more, between the job's end and its ending
            await let_leases_run_out(rig.redis)
            await until(lambda: _holds_another(leased, claim))
        return await end(self, claim, ending)

    end = Claims.end
    monkeypatch.setattr(Claims, "end", ends)
    await put(rig.redis, "j1", pack_job("runs", [], 1))
    async with rig.leased([function(runs)], connect=lambda: next(clients), lease=60) as leased:
        await until(lambda: rig.redis.exists(KEYS.leases))
        await let_leases_run_out(rig.redis)
        await until(lambda: hash_of(rig.redis, KEYS.crashes))
        may_end.set()
        await rig.idle()
    assert starts == ["j1"]
    assert await rig.letters() == []
    assert await rig.keys("arq:*:j1") == ["arq:result:j1"]


async def test_leases_are_renewed_whatever_goes_wrong_with_that(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that nobody thought of does not end the thread: its worker would lose every job that it runs."""
    errors: list[BaseException] = [SystemExit(), KeyboardInterrupt(), asyncio.CancelledError(), AttributeError()]
    renewed = threading.Event()

    async def renew(*_: Any) -> list[str]:
        if errors:
            raise errors.pop()
        renewed.set()
        return []

    async def runs(_: dict[str, Any]) -> None:
        assert await asyncio.to_thread(renewed.wait, 10)

    monkeypatch.setattr(Claims, "renew", renew)
    await put(rig.redis, "j1", pack_job("runs", [], 1))
    async with rig.leased([function(runs)], lease=0.1):
        await rig.idle()
    assert renewed.is_set()


async def _holds_another(leased: LeasedWorker, claim: Claim) -> bool:
    return leased._held["j1"] is not claim


# ── claims, one by one ──────────────────────────────────────────────────────────────────────────────────────────


async def test_a_waiting_worker_is_woken_at_once(rig: Rig, journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the wake list: it would look for itself only after minutes."""
    monkeypatch.setattr(worker.lease.worker, "POLL", 300)
    function_ = journal.function(lambda *_: asyncio.sleep(0), name="deliver")
    async with rig.leased([function_], connect=lambda: connect(rig.url, timeout=600)):
        await until(lambda: _is_blocked(rig.redis))
        await rig.send("e1")
        await rig.idle()
    assert len(journal.ends) == 1


async def _is_blocked(redis: ArqRedis) -> bool:
    return bool((await redis.info("clients"))["blocked_clients"])


async def test_no_more_is_claimed_than_may_run(rig: Rig, journal: Journal) -> None:
    """Although claims are sent while others run: what a busy worker kept in hand, an idle one could have run."""
    for number in range(8):
        await put(rig.redis, f"j{number}", pack_job("run", [], 1))
    async with rig.leased([journal.function(lambda *_: asyncio.Event().wait(), name="run")], max_jobs=3) as leased:
        await until(lambda: _has_started(journal, 3))
        assert (leased._asked, leased._ask()) == (None, None)
        assert await rig.redis.zcard(KEYS.queue) == 5


async def _has_started(journal: Journal, count: int) -> bool:
    return len(journal.starts) == count


async def test_a_claim_on_its_way_is_given_back_when_the_worker_stops(
    rig: Rig, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its jobs are on the queue again at once, not when the lease has run out, and no crash is counted."""
    await put(rig.redis, "j", pack_job("run", [], 1))
    arrived = asyncio.Event()
    take = Claims.take

    async def slow(claims: Claims, want: int, **options: Any) -> list[Claim]:
        taken = await take(claims, want, **options)
        arrived.set()
        await asyncio.sleep(0.1)
        return taken

    monkeypatch.setattr(Claims, "take", slow)
    async with rig.leased([journal.function(asks_nothing, name="run")], lease=60):
        await arrived.wait()
    assert journal.starts == []
    assert await rig.redis.zscore(KEYS.queue, "j") == 1
    assert await rig.keys("arq:in-progress:*") == []
    assert await rig.redis.get("arq:retry:j") == b"0"


def claims_of(redis: ArqRedis, lease: float = 5.0) -> Claims:
    return Claims(redis, KEYS, KEYS.queue, lease)


@pytest.fixture
async def loaded(rig: Rig) -> Rig:
    """A Valkey that knows the scripts, so that the first EVALSHA is the one that counts."""
    for name in ("claim.lua", "finish.lua", "renew.lua"):
        await rig.redis.script_load(Script.load(name).text)
    return rig


async def test_a_claim_whose_reply_is_lost_is_handed_out_again(loaded: Rig, tmp_path: Path) -> None:
    """The same jobs to the same worker, and none is claimed for a worker that does not know of it."""
    for number in range(3):
        await put(loaded.redis, f"j{number}", pack_job("f", [], 1))
    async with wire(loaded.url, tmp_path / "wire", b"EVALSHA\r\n", "reply") as redis:
        claims = claims_of(redis)
        taken = await claims.take(2, alone=True)
        assert [claim.job_id for claim in taken] == ["j0", "j1"]
        assert [(claim.tries, claim.crashes, claim.fresh) for claim in taken] == [(1, 0, False)] * 2
        assert await loaded.redis.zrange(KEYS.queue, 0, -1) == [b"j2"]
        assert [claim.job_id for claim in await claims.take(2, alone=True)] == ["j2"]


@pytest.mark.parametrize(
    ("ending", "queue", "left"),
    [
        (Ending("done", result=b"r", result_ms=5000), 0, ["arq:result:j"]),
        (Ending("done"), 0, []),
        (Ending("again", wait_ms=60_000), 1, ["arq:job:j", "arq:retry:j"]),
        (Ending("release"), 1, ["arq:job:j", "arq:retry:j"]),
    ],
    ids=["result", "done", "again", "release"],
)
async def test_an_ending_whose_reply_is_lost_is_written_once(
    loaded: Rig, tmp_path: Path, ending: Ending, queue: int, left: list[str]
) -> None:
    """Sent again it finds the claim ended and changes nothing: no second try, no second wait, no second job."""
    await put(loaded.redis, "j", pack_job("f", [], 1))
    [claim] = await claims_of(loaded.redis).take(1, alone=True)
    async with wire(loaded.url, tmp_path / "wire", b"EVALSHA\r\n", "reply") as redis:
        assert await claims_of(redis).end(claim, ending) is False
        assert await loaded.redis.zcard(KEYS.queue) == queue
        assert await loaded.keys("arq:*:j") == left
    if queue:
        counted = 1 if ending.how == "again" else 0
        assert int(await loaded.redis.get("arq:retry:j") or 0) == counted
        wait = float(await loaded.redis.zscore(KEYS.queue, "j") or 0) - (await loaded.redis.time())[0] * 1000
        assert (50_000 < wait < 61_000) if ending.how == "again" else wait < 0


async def test_what_was_accepted_is_due_whatever_the_clock_says(rig: Rig) -> None:
    """Within its millisecond, and after a failover to a server whose clock is behind; what has to wait still waits."""
    ahead = (await rig.redis.time())[0] * 1000 + 60_000
    await rig.redis.set(KEYS.order, str(ahead))
    await rig.send("e1")
    [claim] = await claims_of(rig.redis).take(10, alone=True)
    await claims_of(rig.redis).end(claim, Ending("again", wait_ms=5000))
    assert await claims_of(rig.redis).take(10, alone=True) == []
    assert float(await rig.redis.zscore(KEYS.queue, claim.job_id) or 0) > ahead + 5000


async def test_who_lost_its_claim_changes_nothing(rig: Rig) -> None:
    """Neither renewing nor ending it: the fence is the token of the claim."""
    await put(rig.redis, "j", pack_job("f", [], 1))
    [lost] = await claims_of(rig.redis).take(1, alone=True)
    await let_leases_run_out(rig.redis)
    [held] = await claims_of(rig.redis).take(1, alone=True)
    assert (held.tries, held.crashes, held.fresh) == (2, 1, False)
    lease = await rig.redis.zscore(KEYS.leases, "j")
    assert await claims_of(rig.redis).renew([lost]) == ["j"]
    assert await rig.redis.zscore(KEYS.leases, "j") == lease
    for ending in (Ending("done"), Ending("again"), Ending("release")):
        assert await claims_of(rig.redis).end(lost, ending) is False
    assert await rig.redis.exists("arq:job:j", KEYS.leases, "arq:in-progress:j") == 3
    assert await claims_of(rig.redis).renew([held]) == []
    assert await claims_of(rig.redis).end(held, Ending("done")) is True


async def test_a_lease_does_not_run_while_nobody_could_renew_it(rig: Rig) -> None:
    """However long Redis was away or frozen, its clock goes on by less than half a lease at a time."""
    await put(rig.redis, "j", pack_job("f", [], 1))
    await claims_of(rig.redis).take(1, alone=True)
    two_days_ago = (await rig.redis.time())[0] * 1000 - 172_800_000
    for taken_over in (0, 0, 1):
        await rig.redis.execute_command("HSET", KEYS.lease_clock, "seen", two_days_ago)
        assert len(await claims_of(rig.redis).take(1, alone=True)) == taken_over


@pytest.fixture
async def bulky(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """Five jobs on the queue, of which no more than two fit one claim."""
    for module in (worker.lease.claims, worker.lease.worker):
        monkeypatch.setattr(module, "CLAIM_BYTES", 1000)
    for number in range(5):
        await put(rig.redis, f"j{number}", pack_job("run", [b"x" * 700], 1))
    return rig


async def test_a_claim_takes_as_much_as_the_link_brings_in_time(rig: Rig) -> None:
    """Less after a reply that took more than a quarter of the lease, more after one that did not."""
    claims, slow = claims_of(rig.redis, lease=5.0), claims_of(rig.redis, lease=0.0)
    for _ in range(9):
        await claims.take(1, alone=True)
        await slow.take(1, alone=True)
    assert (slow.most, claims.most) == (FIRST_BYTES >> 9, worker.lease.claims.CLAIM_BYTES)


async def test_a_claim_is_bounded_in_bytes(bulky: Rig) -> None:
    """A reply that does not arrive within its time-out would be asked for again, and again."""
    claims = claims_of(bulky.redis)
    assert [len(await claims.take(10, alone=True)) for _ in range(4)] == [2, 2, 1, 0]


async def test_what_does_not_fit_one_claim_is_claimed_at_once(
    bulky: Rig, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the next one, without waiting to be woken."""
    monkeypatch.setattr(worker.lease.worker, "POLL", 300)
    functions = [journal.function(lambda *_: asyncio.sleep(0), name="run")]
    async with bulky.leased(functions, keep_result=0, connect=lambda: connect(bulky.url, timeout=600)):
        await until(lambda: _has_ended(journal, 5))


async def _has_ended(journal: Journal, count: int) -> bool:
    return len(journal.ends) == count
