"""`in_order(handler)`: one order and one pace for all workers."""

import asyncio
import signal
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from arq.connections import ArqRedis
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from receiver.acceptance import accept_directly
from receiver.delivery import Delivery
from receiver.environment import SettingsError
from receiver.idempotency import IdempotencyRule
from receiver.queue.keys import RETRY, Keys
from receiver.queue.scripts import Script
from tests.conftest import Start, until, wait_until
from tests.worker.conftest import Rig, delivery_of, make_handler, wire
from worker import Context, Event, GiveUp, RetryLater, in_order
from worker.handler import Handler
from worker.lease.claims import Claims
from worker.letter import Filter
from worker.order import Order, order_of
from worker.outcomes import Keep, Outcomes
from worker.routes import RouteTable
from worker.waiting import in_words

KEYS = Keys("glartek:")
SOURCES = IdempotencyRule(["event-id", "body"])
HANDLERS = """
import asyncio, os, random
from pathlib import Path
from worker import in_order

JOURNAL = Path(os.environ["JOURNAL"])

def note(*words):
    with JOURNAL.open("a") as journal:
        journal.write(" ".join(map(str, words)) + "\\n")

async def update(event, ctx):
    note("start", event.subject.id, event.payload["number"])
    await asyncio.sleep(random.uniform(0, 0.01))
    if event.payload.get("fails") and ctx.attempt < 3:
        raise RuntimeError("not yet")
    note("end", event.subject.id, event.payload["number"])

ROUTES = {"work_order.updated": [in_order(update)], "work_order.completed": [in_order(update)]}
"""


async def accept(redis: ArqRedis, number: int, subject: str, *, fails: bool = False) -> None:
    kind = "completed" if number % 3 == 0 else "updated"
    body = (
        f'{{"id": "evt_{subject}_{number}", "type": "work_order.{kind}", "number": {number},'
        f' "fails": {str(fails).lower()}, "work_order": {{"id": "{subject}"}}}}'
    )
    await accept_directly(redis, KEYS, SOURCES.delivery({}, body.encode(), time.time_ns() // 1000))


def ends(journal: Path) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for line in journal.read_text(encoding="utf-8").splitlines():
        what, subject, number = line.split()
        if what == "end":
            found[subject].append(int(number))
    return found


@pytest.fixture
def worker_settings(tmp_path: Path, valkey_url: str) -> dict[str, str]:
    (tmp_path / "ordering.py").write_text(HANDLERS, encoding="utf-8")
    (tmp_path / "journal").touch()
    return {
        "REDIS_URL": valkey_url,
        "HANDLERS": "ordering:ROUTES",
        "JOURNAL": str(tmp_path / "journal"),
        "RETRY_BASE": "0.2s",
        "LEASE": "1s",
    }


async def test_events_of_one_subject_are_handled_in_the_order_of_acceptance(
    redis: ArqRedis, start: Start, worker_settings: dict[str, str], tmp_path: Path
) -> None:
    """Two workers, one of them killed: each subject's events end once each and in order, some after retries."""
    subjects, count = [f"wo{n}" for n in range(8)], 25
    for number in range(count):
        for subject in subjects:
            await accept(redis, number, subject, fails=subject == "wo3" and number == 4)
    workers = [start("-m", "worker", **worker_settings) for _ in range(2)]
    await asyncio.to_thread(wait_until, lambda: sum(map(len, ends(tmp_path / "journal").values())) > 40)
    workers[0].signal(signal.SIGKILL)
    await asyncio.to_thread(
        wait_until,
        lambda: all(set(ends(tmp_path / "journal")[subject]) == set(range(count)) for subject in subjects),
        40,
    )
    for subject, numbers in ends(tmp_path / "journal").items():
        once = list(dict.fromkeys(numbers))  # the one that the kill interrupted may end twice
        assert once == list(range(count)), subject
        assert len(numbers) <= count + 1


async def test_a_failing_event_holds_back_its_own_subject_only(
    redis: ArqRedis, start: Start, worker_settings: dict[str, str], tmp_path: Path
) -> None:
    """While one subject's event waits for its retry, another subject's events are all handled."""
    await accept(redis, 1, "stuck", fails=True)
    for number in (2, 3):
        await accept(redis, number, "stuck")
        await accept(redis, number, "free")
    start("-m", "worker", **worker_settings | {"RETRY_BASE": "4s"})
    journal = tmp_path / "journal"
    await asyncio.to_thread(wait_until, lambda: ends(journal)["free"] == [2, 3])
    assert ends(journal)["stuck"] == []
    await asyncio.to_thread(wait_until, lambda: ends(journal)["stuck"] == [1, 2, 3], 30)


async def test_no_line_is_left_behind(
    redis: ArqRedis, start: Start, worker_settings: dict[str, str], valkey_url: str
) -> None:
    """When everything is done no line, lease or job is left in Redis, and every record has its lifetime."""
    for number in range(10):
        await accept(redis, number, "wo")
    start("-m", "worker", **worker_settings)

    def is_clean() -> bool:
        with Redis.from_url(valkey_url) as client:
            keys = client.keys("*")
            left = [key for key in keys if b":turn:" in key or key == b"glartek:leases" or key.startswith(b"arq:job:")]
            return not left and all(client.ttl(key) > 0 for key in keys if b":delivery:" in key)

    await asyncio.to_thread(wait_until, is_clean)


# ── a line ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Runs:
    """A handler `<this module>.act` that notes its events and does with each what its payload's `wish` says."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.times: list[float] = []
        self.running = self.most = 0
        self.mended = False

    async def act(self, event: Event, ctx: Context) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(0.001)
            self._do(event.payload.get("wish"), ctx.attempt)
        finally:
            self.running -= 1
        self.numbers.append(event.payload["number"])
        self.times.append(time.monotonic())

    def _do(self, wish: str | None, attempt: int) -> None:
        if wish == "later" and attempt == 1:
            raise RetryLater(0.3, "busy")
        if wish == "dies" and not self.mended:
            raise GiveUp("no")
        if wish == "fails" and not self.mended:
            raise OSError("away")


@pytest.fixture
def runs() -> Runs:
    return Runs()


async def send(rig: Rig, number: int, wish: str | None = None, subject: str = "a1") -> Delivery:
    return await rig.send(f"e{number}", action={"id": subject}, number=number, wish=wish)


async def test_one_line_for_all_events_of_a_handler(rig: Rig, runs: Runs) -> None:
    """By handler: whatever their type and subject, with one or without, events run one at a time and in order."""
    handler = in_order(runs.act, by="handler")
    for number in range(40):
        kind = ("action.created", "action.solved")[number % 2]
        about = {"action": {"id": f"a{number % 5}"}} if number % 3 else {}
        await rig.send(f"e{number}", kind, number=number, **about)
    async with rig.working({"action.created": [handler], "action.solved": [handler]}):
        await until(lambda: is_idle(rig))
    assert runs.numbers == list(range(40))
    assert runs.most == 1
    assert await rig.keys("*turn:*") == []


async def is_idle(rig: Rig) -> bool:
    return not await rig.redis.zunion([KEYS.queue, KEYS.leases])


async def test_a_first_that_asks_for_later_keeps_its_place_and_no_slot(rig: Rig, runs: Runs) -> None:
    """A worker of one slot handles other events meanwhile; then the line goes on in order."""
    await send(rig, 1, "later")
    for number in (2, 3):
        await send(rig, number)
    other = asyncio.Event()
    free = make_handler("free", lambda _: other.set())
    async with rig.working(
        {"action.created": [in_order(runs.act, by="handler")], "action.solved": [free]}, max_jobs=1
    ) as worker:
        await until(lambda: rig.redis.zcard(KEYS.queue))
        await rig.send("other", "action.solved")
        await asyncio.wait_for(other.wait(), 5)
        assert runs.numbers == []
        await until(lambda: is_idle(rig))
        assert worker.jobs_retried == 0  # nobody came back to see whether it was its turn
    assert runs.numbers == [1, 2, 3]


async def test_after_some_failures_the_others_pass(rig: Rig, runs: Runs) -> None:
    """Its failures hold them up that often; then it goes on by itself, as all do in a line for a handler."""
    failing = await send(rig, 1, "fails")
    for number in (2, 3):
        await send(rig, number)
    async with rig.working({"*": [in_order(runs.act, by="handler", step_aside=2)]}, retry_base=0.05):
        await until(lambda: has(runs, [2, 3]))
        told = (await rig.story(failing))["handlers"]["test_in_order.act"]
        assert told["attempts"] >= 2
        assert await rig.redis.zscore(KEYS.line("test_in_order.act"), failing.id) is None
        runs.mended = True
        await rig.closed(failing)
    assert runs.numbers == [2, 3, 1]


async def has(runs: Runs, numbers: Sequence[int]) -> bool:
    return runs.numbers == list(numbers)


def test_who_lets_the_others_pass() -> None:
    """By handler after three failures, by subject never, and as it was said otherwise."""
    told = [in_order(handle), in_order(handle, by="handler"), in_order(handle, by="handler", step_aside=0)]
    assert [order.failures for handler in told if (order := order_of(handler))] == [0, 3, 0]
    assert Order("subject", "", 5, "pass").failures == 5


async def test_a_dead_letter_lets_the_others_pass(rig: Rig, runs: Runs) -> None:
    """The next one runs at once."""
    await send(rig, 1, "dies")
    await send(rig, 2)
    async with rig.working({"*": [in_order(runs.act)]}):
        await until(lambda: has(runs, [2]))


@pytest.mark.parametrize("then", ["drop", "replay"])
async def test_a_dead_letter_holds_its_line_until_somebody_acts(rig: Rig, runs: Runs, then: str) -> None:
    """`show` names it; dropped, the next runs at once; replayed, it runs as the first."""
    dead = await send(rig, 1, "dies")
    waiting = [await send(rig, number) for number in (2, 3)]
    await send(rig, 9, subject="a2")
    async with rig.working({"*": [in_order(runs.act, after_dead="hold")]}):
        await until(lambda: has(runs, [9]))
        await until(lambda: is_parked(rig, waiting[1]))
        waiting.append(await send(rig, 4))
        await until(lambda: is_parked(rig, waiting[2]))
        told = (await rig.story(waiting[1]))["handlers"]["test_in_order.act"]
        assert (told["failures"], told["waits"]["ahead"], told["waits"]["first"]) == ([], 2, dead.id)
        assert in_words(told["waits"]) == (
            f"waits for its turn: 2 before it, the first is {dead.id}, a dead letter that holds the line: "
            "replay or drop it"
        )
        await rig.redis.delete(KEYS.delivery(dead.id))  # as if the record had expired: the letter is what counts
        [letter] = [letter async for letter in rig.operator.letters(Filter())]
        runs.mended = True
        assert await (rig.operator.drop(letter) if then == "drop" else rig.operator.replay_letter(letter))
        await rig.closed(*waiting)
        await rig.idle()
    assert runs.numbers == ([9, 2, 3, 4] if then == "drop" else [9, 1, 2, 3, 4])
    assert await rig.keys("*turn:*") == []


async def is_parked(rig: Rig, delivery: Delivery, handler: str = "test_in_order.act") -> bool:
    return (await rig.states(delivery)).get(handler) == "retry"


async def test_what_cannot_be_read_holds_up_nobody(rig: Rig, runs: Runs) -> None:
    """It stands in the line of a handler of every event, becomes a dead letter of none, and the next is called."""
    unreadable = await rig.accept(delivery_of(b"not JSON"))
    place = await rig.redis.zscore(KEYS.queue, unreadable.job_id)
    await rig.redis.zrem(KEYS.queue, unreadable.job_id)  # claimed by a worker that takes its time
    await rig.redis.zadd(KEYS.line("test_in_order.act"), {unreadable.id: place})
    waiting = await send(rig, 1)
    async with rig.working({"*": [in_order(runs.act, by="handler")]}):
        await until(lambda: is_parked(rig, waiting))
        await rig.redis.zadd(KEYS.queue, {unreadable.job_id: place})
        await until(lambda: has(runs, [1]), 5)
        await rig.idle()
    assert await rig.keys("*turn:*") == []


@pytest.mark.parametrize("gone", ["routed without it", "forgotten", "flushed letter"])
async def test_one_that_never_comes_holds_up_nobody(rig: Rig, runs: Runs, gone: str) -> None:
    """A first that stands in line and will not come is taken out by the next that looks."""
    line = KEYS.line("test_in_order.act")
    first = await send(rig, 0)
    await rig.redis.delete(KEYS.queue)
    await rig.redis.zadd(line, {first.id: 1})
    if gone == "routed without it":
        await rig.redis.execute_command("HDEL", KEYS.delivery(first.id), "u")
    if gone == "forgotten":
        await rig.redis.delete(KEYS.delivery(first.id))
    if gone == "flushed letter":
        await rig.redis.execute_command("HSET", KEYS.delivery(first.id), "test_in_order.act", "dead 1 5")
    await send(rig, 1)
    async with rig.working({"*": [in_order(runs.act, by="handler", after_dead="hold")]}):
        await until(lambda: has(runs, [1]), 5)


async def test_a_delivery_that_was_given_back_gets_no_new_place(rig: Rig, runs: Runs) -> None:
    """One that let the others pass, while another handler of its was not done yet, would hold them up again."""
    first = await send(rig, 1)
    await rig.redis.execute_command("HSET", KEYS.delivery(first.id), "test_in_order.act", "retry 3 12")
    await rig.redis.set(f"{RETRY}{first.job_id}", 0)  # it was started before
    await send(rig, 2)
    async with rig.working({"*": [in_order(runs.act, by="handler")]}):
        await until(lambda: has(runs, [2]), 5)


async def test_a_call_that_was_missed_is_made_by_the_next_who_looks(rig: Rig, runs: Runs) -> None:
    """A first that sleeps although it is its turn, because of a lost call, is called by anybody in its line."""
    handler = in_order(runs.act, by="handler")
    name = "test_in_order.act"
    first, second, third = [await send(rig, number, "later" if number == 1 else None) for number in (1, 2, 3)]
    async with rig.working({"*": [handler]}):
        await until(lambda: is_parked(rig, third))
    await rig.redis.zrem(KEYS.line(name), first.id)  # without a call
    await rig.redis.zrem(KEYS.queue, KEYS.retry_job_id(first.id, name, 1))
    await rig.redis.zadd(KEYS.queue, {KEYS.retry_job_id(third.id, name, 0): 1})
    async with rig.working({"*": [handler]}):
        await rig.closed(second, third)
    assert runs.numbers == [2, 3]


async def test_what_fails_after_it_waited_in_line_for_too_long_is_dead(rig: Rig, runs: Runs) -> None:
    """Its age counts from when it was parked: before a target that is gone not one after the other has MAX_AGE."""
    await send(rig, 1, "later")
    second = await send(rig, 2, "later")  # asks for 0.3 s once 0.3 s have passed
    async with rig.working({"*": [in_order(runs.act, by="handler")]}, max_age=0.55):
        await rig.closed(second)
    assert (await rig.states(second)) == {"test_in_order.act": "dead"}
    assert runs.numbers == [1]


# ── the pace ────────────────────────────────────────────────────────────────────────────────────────────────────

NEXT_START = Script.load("turn.lua").text.partition("local line, pace")[0] + (
    "local rate = {} for i = 3, #ARGV do rate[i - 2] = tonumber(ARGV[i]) end\n"
    "return next_start(KEYS[1], rate, ARGV[1], tonumber(ARGV[2]))"
)
limits = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 40)), min_size=1, max_size=3)


@given(limits=limits, pauses=st.lists(st.integers(0, 30), min_size=1, max_size=25))
def test_no_window_has_more_starts_than_its_limit(
    valkey_url: str, limits: list[tuple[int, int]], pauses: list[int]
) -> None:
    """Starts that are made as soon as `next_start` allows: every limit holds in every window, and none waits longer."""
    now, starts = 1_790_000_000_000, list[int]()
    rate = [number for limit in limits for number in limit]
    with Redis.from_url(valkey_url) as redis:
        redis.delete("pace")
        for number, pause in enumerate(pauses):
            now += pause
            at: Any = redis.eval(NEXT_START, 1, "pace", now, now, *rate)
            assert at == max((starts[-count] + span + 1 for count, span in limits if len(starts) >= count), default=0)
            now = max(now, at)
            starts.append(now)
            redis.zadd("pace", {str(number): now})
    for count, span in limits:
        for first, last in zip(starts, starts[count:], strict=False):
            assert last - first > span


def outcomes_of(rig: Rig, redis: ArqRedis, order: Order) -> Outcomes:
    return Outcomes(redis, KEYS, rig.settings(), Keep(0, 0), {"h.act": order})


async def test_a_reply_that_was_lost_takes_no_second_start(rig: Rig, tmp_path: Path) -> None:
    """The client asks again with the same token: one start is noted; a run after a crash asks anew and counts."""
    order = Order("handler", "1/10s", None, "pass")
    delivery = await rig.send("e1")
    await outcomes_of(rig, rig.redis, order).lines.turn(delivery, "h.act")
    await rig.redis.delete(KEYS.pace("h.act"))  # the server knows the script now
    async with wire(rig.url, tmp_path / "wire", b"pace:h.act", "reply") as lossy:
        assert (await outcomes_of(rig, lossy, order).lines.turn(delivery, "h.act")).wait == 0
    assert await rig.redis.zcard(KEYS.pace("h.act")) == 1
    first, second = [await outcomes_of(rig, rig.redis, order).lines.turn(delivery, "h.act") for _ in range(2)]
    assert 9 < second.wait <= first.wait <= 10.01  # a promise is kept, not given anew
    assert await rig.redis.zcard(KEYS.pace("h.act")) == 2


def assert_within(times: Sequence[float], count: int, span: float) -> None:
    for first, last in zip(times, times[count:], strict=False):
        assert last - first > span, (first, last)


async def test_a_line_keeps_the_pace_and_nobody_looks_in_vain(rig: Rig, runs: Runs) -> None:
    """Every limit holds over all; those behind the first are called once, when it is their turn."""
    for number in range(60):
        await send(rig, number)
    async with rig.working({"*": [in_order(runs.act, by="handler", rate="5/100ms, 40/1s")]}, max_jobs=10) as worker:
        await until(lambda: has(runs, range(60)), 20)
        await rig.idle()
        assert worker.jobs_retried <= 10
    assert_within(runs.times, 5, 0.1)
    assert_within(runs.times, 40, 1.0)
    assert 0 < await rig.redis.pttl(KEYS.pace("test_in_order.act")) <= 2000


async def test_many_lines_share_one_pace(rig: Rig, runs: Runs) -> None:
    """Firsts of many lines that wait for the rate come one by one, not all at once whenever one may start."""
    for number in range(100):
        await send(rig, number, subject=f"a{number}")
    rate = "20/500ms, 1000/1h"  # with the second one Redis keeps all starts
    async with rig.working({"*": [in_order(runs.act, rate=rate)]}) as worker:
        await until(lambda: is_idle(rig), 20)
        assert worker.jobs_retried < 100
    assert sorted(runs.numbers) == list(range(100))
    starts = [at for _, at in await rig.redis.zrange(KEYS.pace("test_in_order.act"), 0, -1, withscores=True)]
    assert len(starts) == 100
    assert_within(starts, 20, 500)


async def test_the_pace_goes_on_when_the_clock_went_back(rig: Rig, runs: Runs) -> None:
    """Starts that were noted a year ahead hold up those behind them for the rate's time, and not for a year."""
    ahead = (await rig.redis.time())[0] * 1000 + 365 * 86_400_000
    await rig.redis.set(KEYS.order, str(ahead))
    await rig.redis.zadd(KEYS.pace("test_in_order.act"), {"a" * 32: ahead})
    for number in range(3):
        await send(rig, number)
    async with rig.working({"*": [in_order(runs.act, by="handler", rate="1/100ms")]}):
        await until(lambda: is_idle(rig))
    assert runs.numbers == [0, 1, 2]
    assert_within(runs.times, 1, 0.1)


async def test_a_pace_needs_no_worker_that_looks_when_the_clock_went_back(rig: Rig) -> None:
    """The time of a rate passes between two claims, too: else starts would come too early by as much."""
    ahead = (await rig.redis.time())[0] * 1000 + 365 * 86_400_000
    await rig.redis.set(KEYS.order, str(ahead))
    delivery = await rig.send("e1")
    await Claims(rig.redis, KEYS, KEYS.queue, 5.0).take(1, alone=True)
    lines = outcomes_of(rig, rig.redis, Order("handler", "1/500ms, 1000/1h", None, "pass")).lines
    assert (await lines.turn(delivery, "h.act")).wait == 0

    async def may_start() -> bool:
        return (await lines.turn(delivery, "h.act")).wait == 0

    assert not await may_start()
    await until(may_start)


async def test_a_handler_without_order_asks_nothing(rig: Rig) -> None:
    """No line, no pace and no script: it costs what it did."""
    delivery = await rig.send("e1", action={"id": "a1"})
    broken = outcomes_of(rig, None, Order("handler", "1/1s", None, "pass"))  # type: ignore[arg-type]
    assert await broken.lines.turn(delivery, "h.other") == (0.0, "")


# ── the table ───────────────────────────────────────────────────────────────────────────────────────────────────


async def handle(event: Event, ctx: Context) -> None: ...


def test_a_handler_is_in_order_in_every_route_or_in_none() -> None:
    """`in_order(h)` is one handler however often it is written, and mixing it with a plain `h` stops the start."""
    table = RouteTable({"action.created": [in_order(handle)], "action.solved": [in_order(handle)]})
    assert list(table.by_name) == ["test_in_order.handle"]
    by_subject = {"test_in_order.handle": "subject"}
    assert table.lines == {"action.created": by_subject, "action.solved": by_subject}
    others: list[Handler] = [handle, in_order(handle, by="handler"), in_order(handle, rate="1/1s")]
    for other in others:
        with pytest.raises(SettingsError, match="use in_order\\(\\) in every route of it, with the same arguments"):
            RouteTable({"action.created": [in_order(handle)], "action.solved": [other]})


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        *(({"rate": rate}, "rate: expected limits such as") for rate in
          ("fast", "4", "4/", "/1s", "0/1s", "4/0s", "-1/1s", ",", "4/1s,x", "1001/1s", "4/2d", 4, ["4/1s"])),
        ({"by": "type"}, 'by: expected "subject" or "handler", got \'type\''),
        ({"step_aside": -1}, "step_aside: expected a number of failures, or 0 for never, got -1"),
        ({"step_aside": []}, "step_aside: expected a number of failures, or 0 for never, got []"),
        ({"after_dead": "stop"}, 'after_dead: expected "pass" or "hold", got \'stop\''),
    ],
)  # fmt: skip
def test_a_mistake_stops_the_start_with_a_line(wrong: dict[str, Any], line: str) -> None:
    """Each names the handler, what was expected and what was given."""
    with pytest.raises(SettingsError) as refused:
        RouteTable({"*": [in_order(handle, **wrong)]})
    [said] = refused.value.lines
    assert said.startswith(f"HANDLERS: in_order(test_in_order.handle): {line}")
    assert said.endswith(f"got {next(iter(wrong.values()))!r}")
