"""One delivery's job: each handler has its own outcome, its own retries and its own end."""

import asyncio
import gzip
import time
import zlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from receiver.delivery import Delivery
from receiver.idempotency import IdempotencyRule
from receiver.queue.jobs import job_key, pack_job, unpack
from tests.conftest import hash_of, until
from tests.worker.conftest import KEYS, Rig, body_of, delivery_of, make_handler
from worker import Context, Event, GiveUp, RetryLater, Skip
from worker.app import create_services
from worker.handler import Handler
from worker.lease.calls import MAX_CRASHES
from worker.order import in_order
from worker.outcomes import Outcomes
from worker.routes import RouteTable
from worker.transitions import Transition, retry_job

WEEK, HOUR = 7 * 86400, 3600


class Calls(Counter[str]):
    """How often each handler ran."""

    def handler(self, name: str, do: Callable[[int], Any] = lambda _: None) -> Handler:
        def count(attempt: int) -> Any:
            self[name] += 1
            return do(attempt)

        return make_handler(name, count)


def fail(error: BaseException) -> Callable[[int], None]:
    def do(_: int) -> None:
        raise error

    return do


def fail_until(last: int, error: Exception) -> Callable[[int], None]:
    """Fails before attempt `last`, then works."""

    def do(attempt: int) -> None:
        if attempt < last:
            raise error

    return do


@pytest.fixture
def calls() -> Calls:
    return Calls()


async def test_every_handler_of_an_event_runs_once(rig: Rig, calls: Calls) -> None:
    """Those of its type and those of every type are done, and nothing of the job is left."""
    delivery = await rig.send("e1")
    routes = {"action.created": [calls.handler("a"), calls.handler("b")], "*": [calls.handler("c")]}
    async with rig.working(routes, keep_payloads=0):
        await rig.closed(delivery)
        await rig.idle()
    assert calls == {"a": 1, "b": 1, "c": 1}
    assert await rig.states(delivery) == {"h.a": "done", "h.b": "done", "h.c": "done"}
    assert await rig.keys("arq:*") == []
    counts = await hash_of(rig.redis, KEYS.counts)
    assert counts == {"accepted": b"1", "h.a done": b"1", "h.b done": b"1", "h.c done": b"1"}


async def test_a_skipped_event_is_an_outcome_of_its_own(rig: Rig, calls: Calls) -> None:
    """Not done and no failure: it is not run again, the record is closed and its story says why."""
    delivery = await rig.send("e1")
    async with rig.working({"*": [calls.handler("a", fail(Skip("older than what is there"))), calls.handler("b")]}):
        await rig.closed(delivery)
        await rig.idle()
    assert calls == {"a": 1, "b": 1}
    story = await rig.story(delivery)
    told = story["handlers"]["h.a"]
    assert (told["state"], told["skipped"], told["failures"]) == ("skipped", "older than what is there", [])
    assert story["handlers"]["h.b"]["skipped"] is None
    assert story["forgotten_in_s"] > 0
    counts = await hash_of(rig.redis, KEYS.counts)
    assert counts == {"accepted": b"1", "h.a skipped": b"1", "h.b done": b"1"}


async def test_handlers_run_side_by_side(rig: Rig, calls: Calls) -> None:
    """Neither waits for the other: each can wait for what the other does."""
    first, second = asyncio.Event(), asyncio.Event()

    async def one(_: int) -> None:
        first.set()
        await second.wait()

    async def other(_: int) -> None:
        second.set()
        await first.wait()

    delivery = await rig.send("e1")
    async with rig.working({"*": [calls.handler("a", one), calls.handler("b", other)]}):
        await rig.closed(delivery)


async def test_a_handler_is_given_event_and_context(rig: Rig) -> None:
    """The event as it was sent, and what it needs to be idempotent."""
    given: list[tuple[Event, Context]] = []

    async def look(event: Event, ctx: Context) -> None:
        given.append((event, ctx))
        if ctx.attempt == 1:
            raise OSError

    delivery = await rig.send("e1", action={"id": "a1"})
    async with rig.working({"*": [look]}):
        await rig.closed(delivery)
    (event, first), (_, second) = given
    assert (event.id, event.type, event.payload["action"]) == ("e1", "action.created", {"id": "a1"})
    assert (first.delivery_id, first.attempt, second.attempt) == (delivery.id, 1, 2)
    assert first.idempotency_key == second.idempotency_key == f"test_job.look:{delivery.id}"
    assert first.received_at.timestamp() == pytest.approx(delivery.received_us / 1e6)


async def test_a_failing_handler_does_not_run_the_others_again(rig: Rig, calls: Calls) -> None:
    """A Teams outage never re-runs the audit log."""
    delivery = await rig.send("e1")
    failing = calls.handler("fails", fail_until(4, OSError("away")))
    async with rig.working({"*": [failing, calls.handler("works")]}):
        await rig.closed(delivery)
    assert calls == {"fails": 4, "works": 1}
    told = (await rig.story(delivery))["handlers"]["h.fails"]
    assert (told["state"], told["attempts"]) == ("done", 4)
    assert [failure["error"] for failure in told["failures"]] == ["OSError: away"] * 3
    assert (await hash_of(rig.redis, KEYS.counts))["h.fails done"] == b"1"


async def test_a_retry_leaves_the_record_open_until_every_handler_has_ended(rig: Rig, calls: Calls) -> None:
    """A handler that was retried while another still runs does not start the window: nothing open ever expires."""
    release = asyncio.Event()
    slow = calls.handler("slow", lambda _: release.wait())
    quick = calls.handler("quick", fail_until(2, OSError("once")))
    delivery = await rig.send("e1")
    async with rig.working({"*": [slow, quick]}):
        await until(lambda: _is(rig, delivery, "h.quick", "done"))
        assert await rig.redis.pttl(KEYS.delivery(delivery.id)) == -1
        release.set()
        await rig.closed(delivery)
    assert calls == {"slow": 1, "quick": 2}


async def test_retry_later_comes_again_and_uses_no_try(rig: Rig, calls: Calls) -> None:
    """A target that says when is asked again then, however few tries there are."""
    delivery = await rig.send("e1")
    async with rig.working({"*": [calls.handler("a", fail_until(6, RetryLater(0.01, "429")))]}, max_tries=2):
        await rig.closed(delivery)
    assert calls == {"a": 6}
    assert await rig.states(delivery) == {"h.a": "done"}


async def test_a_wait_is_whole_when_the_clock_went_back(rig: Rig, calls: Calls) -> None:
    """After a failover to a server whose clock is behind, a delivery is handled at once and its retry is not."""
    ahead = (await rig.redis.time())[0] * 1000 + 60_000
    await rig.redis.set(KEYS.order, str(ahead))
    delivery = await rig.send("e1")
    async with rig.working({"*": [calls.handler("a", fail(RetryLater(5, "429")))]}):
        await until(lambda: _is(rig, delivery, "h.a", "retry"))
        await until(lambda: rig.redis.zcard(KEYS.queue))
    assert calls == {"a": 1}
    [(_, due)] = await rig.redis.zrange(KEYS.queue, 0, -1, withscores=True)
    assert due > ahead + 4000


async def test_a_wait_is_no_longer_when_the_clock_went_back(rig: Rig, calls: Calls) -> None:
    """After a moment with a clock that was a year ahead, a handler is tried again when it asked for it."""
    ahead = (await rig.redis.time())[0] * 1000 + 365 * 86_400_000
    await rig.redis.set(KEYS.order, str(ahead))
    delivery = await rig.send("e1")
    async with rig.working({"*": [calls.handler("a", fail_until(2, RetryLater(0.3, "429")))]}):
        await rig.closed(delivery)
    assert calls == {"a": 2}
    assert float(await rig.redis.get(KEYS.order) or 0) >= ahead + 300


@pytest.mark.parametrize(
    ("error", "runs", "reason"),
    [
        (GiveUp("never"), 1, "never"),
        (OSError("away"), 3, "OSError: away; all 3 tries used up"),
        (asyncio.CancelledError(), 3, "CancelledError; all 3 tries used up"),
        (SystemExit(1), 3, "SystemExit: 1; all 3 tries used up"),
        (ExceptionGroup("both", [OSError(), ValueError()]), 3, "ExceptionGroup: both (2 sub-exceptions)"),
    ],
    ids=["GiveUp", "OSError", "CancelledError", "SystemExit", "ExceptionGroup"],
)
async def test_a_handler_that_does_not_succeed_is_a_dead_letter(
    rig: Rig, calls: Calls, error: BaseException, runs: int, reason: str
) -> None:
    """With payload, reason and tries, whatever it raised, and the handlers beside it are done."""
    delivery = await rig.send("e1")
    async with rig.working({"*": [calls.handler("a", fail(error)), calls.handler("b")]}, max_tries=3):
        await rig.closed(delivery)
        await rig.idle()
    [letter] = await rig.letters()
    assert (letter.kind, letter.handler, letter.delivery, letter.type) == ("dead", "h.a", delivery.id, "action.created")
    assert letter.reason.startswith(reason)
    assert letter.tries == runs
    assert letter.body() == delivery.body
    assert calls == {"a": runs, "b": 1}
    assert await rig.states(delivery) == {"h.a": "dead", "h.b": "done"}


@pytest.mark.parametrize("how", ["a coroutine", "a task", "in order"])
async def test_what_a_handler_returns_is_awaited(rig: Rig, how: str) -> None:
    """An `await` that was forgotten: it would be done, with nothing done."""
    done: list[str] = []

    async def work(event: Event) -> None:
        await asyncio.sleep(0.05)
        done.append(str(event.id))

    async def act(event: Event, _: Context) -> Any:
        return asyncio.create_task(work(event)) if how == "a task" else work(event)

    act.__module__ = "h"
    delivery = await rig.send("e1")
    async with rig.working({"*": [in_order(act) if how == "in order" else act]}):
        await rig.closed(delivery)
    assert await rig.states(delivery) == {"h.act": "done"}
    assert done == ["e1"]


def cancel_and(error: Exception | None) -> Callable[[int], None]:
    """Cancels the task that it runs in, and ends before that is delivered; in its first run only."""

    def do(attempt: int) -> None:
        if attempt == 1 and (task := asyncio.current_task()):
            task.cancel()
            if error:
                raise error

    return do


@pytest.mark.parametrize("error", [None, OSError("away")], ids=["returns", "raises"])
@pytest.mark.parametrize("beside", [(), ("b",)], ids=["alone", "beside another"])
async def test_a_handler_that_cancels_its_own_task_and_ends_fails_no_other(
    rig: Rig, calls: Calls, error: Exception | None, beside: tuple[str, ...]
) -> None:
    """The cancellation would come at the job's next await, and end the job as a dead letter of every handler."""
    delivery = await rig.send("e1")
    handlers = [calls.handler("a", cancel_and(error)), *map(calls.handler, beside)]
    async with rig.working({"*": handlers}):
        await rig.closed(delivery)
        await rig.idle()
    assert await rig.states(delivery) == {f"h.{name}": "done" for name in ("a", *beside)}
    assert calls == {"a": 2 if error else 1} | dict.fromkeys(beside, 1)


async def test_a_handler_that_takes_too_long_is_stopped(rig: Rig, calls: Calls) -> None:
    """Its run counts as failed, and it can clean up."""
    cleaned: list[int] = []

    async def hang(attempt: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(attempt)

    delivery = await rig.send("e1")
    async with rig.working({"*": [calls.handler("a", hang)]}, max_tries=2, handler_timeout=0.05):
        await rig.closed(delivery)
    [letter] = await rig.letters()
    assert letter.reason.startswith("TimeoutError")
    assert cleaned == [1, 2]


async def test_a_handler_removed_from_the_table_is_a_dead_letter(rig: Rig, calls: Calls) -> None:
    """A retry whose handler is gone says so instead of vanishing."""
    delivery = await rig.send("e1")
    gone = calls.handler("gone", fail(RetryLater(0.3, "later")))
    async with rig.working({"*": [gone]}):
        await until(lambda: _is(rig, delivery, "h.gone", "retry"))
    async with rig.working({"*": [calls.handler("other")]}):
        await rig.closed(delivery)
    [letter] = await rig.letters()
    assert "no handler 'h.gone' in HANDLERS any more" in letter.reason


async def test_no_handler_for_an_event_is_an_end_too(rig: Rig) -> None:
    """A delivery that nobody wants is closed, not forgotten in the open."""
    delivery = await rig.send("e1")
    async with rig.working({"action.solved": [make_handler("a")]}):
        await rig.closed(delivery)
        await rig.idle()
    assert await rig.states(delivery) == {}


@pytest.mark.parametrize("body", [b"", b"hello", b"[1]", b"\xff"])
async def test_a_body_that_is_no_event_is_a_dead_letter(rig: Rig, calls: Calls, body: bytes) -> None:
    """With the bytes as they came and the reason; no handler is run."""
    delivery = await rig.accept(delivery_of(body))
    async with rig.working({"*": [calls.handler("a")]}):
        await rig.closed(delivery)
    [letter] = await rig.letters()
    assert (letter.handler, letter.kind) == ("parse", "dead")
    assert letter.reason.startswith("the body is")
    assert letter.body() == body
    assert calls == {}


@pytest.mark.parametrize(
    ("pack", "encoding"),
    [
        (gzip.compress, "gzip"),
        (gzip.compress, " X-GZIP "),
        (lambda body: gzip.compress(body[:9]) + gzip.compress(body[9:]), "gzip"),
        (zlib.compress, "deflate"),
        (lambda body: zlib.compress(body, wbits=-15), "deflate"),
        (lambda body: body.decode().encode("utf-16"), "identity"),
    ],
)
async def test_a_compressed_body_is_unpacked(
    rig: Rig, calls: Calls, pack: Callable[[bytes], bytes], encoding: str
) -> None:
    """The handler sees the event, routed by the type inside."""
    delivery = await rig.accept(delivery_of(pack(body_of("e1")), content_encoding=encoding))
    async with rig.working({"action.created": [calls.handler("a")]}):
        await rig.closed(delivery)
    assert calls == {"a": 1}


@pytest.mark.parametrize(
    ("body", "encoding", "reason"),
    [
        (gzip.compress(b"0" * 50_000_000), "gzip", "unpacks to more than MAX_BODY_BYTES"),
        (gzip.compress(b"0" * 1_000_000), "gzip", "unpacks to more than 100 times"),
        (body_of("e1", x=[[]] * 100_000), "identity", "is JSON of too many values"),
        (b'{"x": ' + b"[" * 300 + b"]" * 300 + b"}", "identity", "is JSON nested too deeply"),
        (gzip.compress(b"{}")[:-9], "gzip", "cut off"),
        (b"{}", "gzip", "says gzip and is not"),
        (b"{}", "br", "compressed with 'br'"),
    ],
    ids=["bomb", "ratio", "values", "depth", "cut", "plain", "brotli"],
)
async def test_a_body_that_cannot_be_read_is_a_dead_letter(rig: Rig, body: bytes, encoding: str, reason: str) -> None:
    """It says why; a bomb is not unpacked beyond the limit, and nothing is lost either way."""
    delivery = await rig.accept(delivery_of(body, content_encoding=encoding))
    async with rig.working({"*": [make_handler("a")]}):
        await rig.closed(delivery)
    [letter] = await rig.letters()
    assert reason in letter.reason
    assert letter.body() == body


# ── the record's life ───────────────────────────────────────────────────────────────────────────────────────────


async def _is(rig: Rig, delivery: Delivery, handler: str, state: str) -> bool:
    return (await rig.states(delivery)).get(handler) == state


@pytest.mark.parametrize(
    ("source", "body", "window"),
    [("event-id", body_of("e1"), WEEK), ("body", b"{}", HOUR), ("body-without:at", b'{"at":1}', HOUR)],
)
async def test_the_window_counts_from_the_last_outcome(rig: Rig, source: str, body: bytes, window: int) -> None:
    """A week for an event id, an hour for what is known by its content only; the attempts live as long."""
    delivery = await rig.accept(IdempotencyRule([source]).delivery({}, body, time.time_ns() // 1000))
    assert await rig.redis.ttl(KEYS.delivery(delivery.id)) == -1
    async with rig.working({"*": [make_handler("a", fail_until(2, OSError()))]}):
        await rig.closed(delivery)
    for key in (KEYS.delivery(delivery.id), KEYS.attempts(delivery.id)):
        assert window - 5 < await rig.redis.ttl(key) <= window


async def test_a_record_with_open_work_never_expires(rig: Rig) -> None:
    """While a retry waits, however long, a duplicate is still a duplicate."""
    delivery = await rig.send("e1")
    async with rig.working({"*": [make_handler("a", fail(RetryLater(1000, "later"))), make_handler("b")]}):
        await until(lambda: _is(rig, delivery, "h.a", "retry"))
        await until(lambda: _is(rig, delivery, "h.b", "done"))
        await until(lambda: _no_leases(rig))
    assert await rig.redis.ttl(KEYS.delivery(delivery.id)) == -1
    assert await rig.redis.ttl(job_key(KEYS.retry_job_id(delivery.id, "h.a", 1))) == -1


async def _no_leases(rig: Rig) -> bool:
    return not await rig.redis.zcard(KEYS.leases)


async def test_a_dead_letter_does_not_expire_with_its_record(rig: Rig) -> None:
    """Nothing drops out of the dead letters by age."""
    delivery = await rig.send("e1")
    async with rig.working({"*": [make_handler("a", fail(GiveUp("no")))]}, dedupe_window=1):
        await rig.closed(delivery)
    [letter] = await rig.letters()
    assert await rig.redis.ttl(KEYS.dead_letter(letter.id)) == -1
    assert await rig.redis.ttl(KEYS.delivery(delivery.id)) <= 1


@pytest.mark.parametrize("keep", [0, 500])
async def test_a_payload_is_kept_as_long_as_it_is_said(rig: Rig, keep: int) -> None:
    """KEEP_PAYLOADS after the last outcome, for a forced replay; 0 is not at all."""
    delivery = await rig.send("e1")
    async with rig.working({"*": [make_handler("a")]}, keep_payloads=keep):
        await rig.closed(delivery)
        await rig.idle()
    assert (await rig.story(delivery))["payload_kept"] is bool(keep)
    assert keep - 5 < await rig.redis.ttl(KEYS.payload(delivery.id)) <= max(keep, -2)


async def test_kept_payloads_have_a_budget_and_the_oldest_go(rig: Rig) -> None:
    """KEEP_PAYLOADS_BYTES of them at most, however long KEEP_PAYLOADS is; 0 is none."""
    deliveries = [await rig.send(f"e{number}", pad="x" * 10_000) for number in range(8)]
    async with rig.working({"*": [make_handler("a")]}, keep_payloads_bytes=35_000, max_jobs=1):
        await rig.closed(*deliveries)
        await rig.idle()
    assert [(await rig.story(one))["payload_kept"] for one in deliveries] == [False] * 5 + [True] * 3
    kept = await rig.redis.execute_command("LRANGE", KEYS.kept, 0, -1)
    assert [one.split(b" ")[0].decode() for one in kept] == [one.id for one in deliveries[5:]]
    assert 30_000 < int(await rig.redis.get(KEYS.kept_bytes) or 0) <= 35_000
    none = await rig.send("none")
    async with rig.working({"*": [make_handler("a")]}, keep_payloads_bytes=0):
        await rig.closed(none)
        await rig.idle()
    assert not (await rig.story(none))["payload_kept"]


async def test_what_has_expired_is_the_first_to_leave_the_budget(rig: Rig) -> None:
    """It is gone already: nothing that is still kept has to go for it."""
    early = [await rig.send(f"e{number}", pad="x" * 10_000) for number in range(3)]
    async with rig.working({"*": [make_handler("a")]}, keep_payloads=0.05):
        await rig.closed(*early)
        await rig.idle()
    await until(lambda: _is_gone(rig, KEYS.payload(early[-1].id)))
    late = [await rig.send(f"l{number}", pad="x" * 10_000) for number in range(3)]
    async with rig.working({"*": [make_handler("a")]}, keep_payloads_bytes=35_000):
        await rig.closed(*late)
        await rig.idle()
    assert all([(await rig.story(one))["payload_kept"] for one in late])
    assert await rig.redis.execute_command("LLEN", KEYS.kept) == 3


async def _is_gone(rig: Rig, key: str) -> bool:
    return not await rig.redis.exists(key)


# ── outcomes ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def outcomes(rig: Rig) -> Outcomes:
    return create_services(rig.settings(), RouteTable({"*": []}), rig.redis).outcomes


def again(delivery: Delivery, attempt: int) -> Transition:
    return Transition("h.a", attempt, "retry", "why", retry_job(delivery, "h.a", attempt + 1, attempt, 1), 1000)


async def test_an_outcome_written_twice_is_one(rig: Rig, outcomes: Outcomes) -> None:
    """A write whose reply was lost is sent again, and changes nothing."""
    delivery = await rig.send("e1")
    for _ in range(2):
        await outcomes.record(delivery, delivery.job_id, [again(delivery, 1)])
    for _ in range(2):
        await outcomes.record(delivery, delivery.job_id, [Transition("h.b", 1, "done")])
    assert (await hash_of(rig.redis, KEYS.counts))["h.b done"] == b"1"
    assert len((await rig.story(delivery))["handlers"]["h.a"]["failures"]) == 1
    assert await rig.redis.zcard(KEYS.queue) == 2


@pytest.mark.parametrize("stale", ["retry", "dead", "done", "skipped"])
async def test_a_stale_attempt_changes_nothing(rig: Rig, outcomes: Outcomes, stale: Any) -> None:
    """What an overtaken worker has to say of attempt 1 is ignored after attempt 2."""
    delivery = await rig.send("e1")
    await outcomes.record(delivery, delivery.job_id, [again(delivery, 1)])
    await outcomes.record(delivery, delivery.job_id, [again(delivery, 2)])
    before = await rig.story(delivery)
    old = Transition("h.a", 1, stale, "late", retry_job(delivery, "h.a", 2, 0, 0), 0)
    await outcomes.record(delivery, delivery.job_id, [old])
    assert await rig.story(delivery) == before
    assert await rig.letters() == []


async def test_done_after_dead_is_done_and_no_dead_letter(rig: Rig, outcomes: Outcomes) -> None:
    """A frozen worker that finished what others had given up on is believed, and the ledger counts it once."""
    delivery = await rig.send("e1")
    dead = Transition("h.a", 1, "dead", "lost", retry_job(delivery, "h.a", 2, 0, 0))
    await outcomes.record(delivery, delivery.job_id, [dead])
    await outcomes.record(delivery, delivery.job_id, [Transition("h.a", 1, "done")])
    assert await rig.states(delivery) == {"h.a": "done"}
    assert await rig.letters() == []
    counts = await hash_of(rig.redis, KEYS.counts)
    assert (counts["h.a done"], counts["h.a dead"]) == (b"1", b"0")


@pytest.mark.parametrize(("first", "second"), [("skipped", "done"), ("done", "skipped"), ("dead", "skipped")])
async def test_the_first_success_of_an_attempt_is_the_one_that_counts(
    rig: Rig, outcomes: Outcomes, first: Any, second: Any
) -> None:
    """Two workers ran it, because one was frozen: skipped is a success like done, and the ledger counts one."""
    delivery = await rig.send("e1")
    job = retry_job(delivery, "h.a", 2, 0, 0)
    await outcomes.record(
        delivery, delivery.job_id, [Transition("h.a", 1, first, "" if first == "done" else "why", job)]
    )
    await outcomes.record(delivery, delivery.job_id, [Transition("h.a", 1, second, "" if second == "done" else "why")])
    expected = "skipped" if first == "dead" else first
    assert await rig.states(delivery) == {"h.a": expected}
    assert await rig.letters() == []
    counts = await hash_of(rig.redis, KEYS.counts)
    assert {name: count for name, count in counts.items() if count != b"0"} == {
        "accepted": b"1",
        f"h.a {expected}": b"1",
    }


# ── burying ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def lost(rig: Rig, job_id: str) -> None:
    """As if the job's worker had been lost three times."""
    await rig.redis.execute_command("HSET", KEYS.crashes, job_id, MAX_CRASHES - 1)
    await rig.redis.zrem(KEYS.queue, job_id)
    await rig.redis.set(f"arq:retry:{job_id}", 2)
    await rig.redis.zadd(KEYS.leases, {job_id: 0})


async def test_a_delivery_that_kills_its_worker_is_a_dead_letter_of_each_open_handler(rig: Rig, calls: Calls) -> None:
    """Each handler that has no outcome can be replayed on its own; one that is done is not touched."""
    delivery = await rig.send("e1")
    await rig.redis.execute_command("HSET", KEYS.delivery(delivery.id), "h.b", "done 1 5")
    await lost(rig, delivery.job_id)
    async with rig.working({"action.created": [calls.handler("a")], "*": [calls.handler("b"), calls.handler("c")]}):
        await rig.closed(delivery)
        await rig.idle()
    assert calls == {}
    assert await rig.states(delivery) == {"h.a": "dead", "h.b": "done", "h.c": "dead"}
    letters = await rig.letters()
    assert sorted(letter.handler for letter in letters) == ["h.a", "h.c"]
    assert {letter.reason for letter in letters} == {f"its worker was lost {MAX_CRASHES} times while it ran"}


async def test_a_compressed_delivery_that_kills_its_worker_loses_no_handler(rig: Rig, calls: Calls) -> None:
    """The receiver could not read its type; the handlers of the type inside become dead letters all the same."""
    delivery = await rig.accept(delivery_of(gzip.compress(body_of("e1")), content_encoding="gzip"))
    await lost(rig, delivery.job_id)
    async with rig.working({"action.created": [calls.handler("a")], "*": [calls.handler("b")]}):
        await rig.closed(delivery)
    assert await rig.states(delivery) == {"h.a": "dead", "h.b": "dead"}


async def test_a_finished_delivery_that_lost_its_worker_is_no_dead_letter(rig: Rig, calls: Calls) -> None:
    """When every handler had ended there is nothing to replay, and a replay would run what is done."""
    delivery = await rig.send("e1")
    await rig.redis.execute_command("HSET", KEYS.delivery(delivery.id), "h.a", "done 1 5")
    await lost(rig, delivery.job_id)
    async with rig.working({"*": [calls.handler("a")]}):
        await rig.closed(delivery)
        await rig.idle()
    assert await rig.letters() == []
    assert await rig.states(delivery) == {"h.a": "done"}


async def test_a_job_of_somebody_else_is_kept_as_it_is(rig: Rig) -> None:
    """Its bytes and the reason, whatever they are."""
    jobs = {
        "unknown": pack_job("no_such_function", [1], 5),
        "rubbish": b"\x93not msgpack",
        "pickle": b"\x80\x05K\x01.",
        "odd": pack_job(["x"], [], 5),  # type: ignore[arg-type]
        "timeless": unpack_and_change(pack_job("deliver", [{}], 5), et="x"),
        "halves": pack_job("deliver", [{"id": "x"}], 5),
        "short": pack_job("retry", [delivery_of(b"{}").as_value()], 5),
        "no-name": pack_job("retry", [delivery_of(b"{}").as_value(), None, 1, 1, 5], 5),
        "no-attempt": pack_job("retry", [delivery_of(b"{}").as_value(), "h.a", "1", 1, 5], 5),
        "headers": pack_job("deliver", [delivery_of(b"{}").as_value() | {"headers": {"content-encoding": 1}}], 5),
    }
    value = delivery_of(b"{}").as_value()
    jobs |= {name: pack_job("deliver", [value | {name: None}], 5) for name in value}
    for name, job in jobs.items():
        await rig.redis.set(f"arq:job:{name}", job)
        await rig.redis.zadd(KEYS.queue, {name: 1})
    await rig.redis.zadd(KEYS.queue, {"gone": 1})
    last = await rig.send("e1")
    async with rig.working({"*": [make_handler("a")]}):
        await rig.idle()
    assert await rig.states(last) == {"h.a": "done"}
    letters = {letter.id: letter for letter in await rig.letters()}
    assert letters.keys() == {f"{name}:job" for name in [*jobs, "gone"]}
    assert all(letters[f"{name}:job"].job == job for name, job in jobs.items())
    assert {letter.kind for letter in letters.values()} == {"job"}
    assert "no function 'no_such_function'" in letters["unknown:job"].reason
    assert "payload is gone" in letters["gone:job"].reason
    assert await rig.keys("arq:*") == []


def unpack_and_change(job: bytes, **changes: Any) -> bytes:
    import msgpack  # noqa: PLC0415 - for this one malformed job

    packed: bytes = msgpack.packb(unpack(job) | changes)
    return packed
