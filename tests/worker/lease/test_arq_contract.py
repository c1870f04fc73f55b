"""What arq means for a job is what ours means, and each internal of arq that ours leans on.

What stock arq loses is in `test_arq_losses.py`.
"""

import asyncio
import importlib.metadata
import inspect
import signal
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import arq.constants
import msgpack
import pytest
from arq.connections import ArqRedis
from arq.jobs import Job, JobStatus, deserialize_job_raw, deserialize_result, serialize_job, serialize_result
from arq.utils import to_unix_ms
from arq.worker import Function, Retry, Worker

from receiver.queue import keys
from receiver.queue.connection import connect
from receiver.queue.jobs import pack, pack_job, unpack
from tests.conftest import until
from tests.worker.conftest import KEYS, Journal, Rig, asks_nothing, function, put, stock_worker, stopped
from worker.lease.worker import UNSUPPORTED, LeasedWorker
from worker.loop_watch import Watch

# ── what both mean alike ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_stock_worker_runs_the_kits_jobs(rig: Rig) -> None:
    """A delivery accepted by the kit is a job in arq's own layout, due at once, with the delivery as its argument."""
    ran: list[tuple[Any, ...]] = []

    async def deliver(ctx: dict[str, Any], value: Any) -> None:
        ran.append((ctx["job_id"], ctx["job_try"], ctx["enqueue_time"].timestamp(), value))

    delivery = await rig.send("e1")
    assert await Job(delivery.job_id, rig.redis, KEYS.queue, unpack).status() is JobStatus.queued
    await stock_worker(rig.redis, [function(deliver)], burst=True).async_run()
    [(job_id, tries, enqueued, value)] = ran
    assert (job_id, tries, value) == (delivery.job_id, 1, delivery.as_value())
    assert enqueued == pytest.approx(delivery.received_us / 1e6, abs=0.002)
    assert not await rig.redis.exists(f"arq:job:{job_id}", KEYS.queue)


async def greets(_: dict[str, Any], word: str) -> str:
    return word


async def fails(_: dict[str, Any], word: str) -> None:
    raise OSError(word)


@pytest.fixture(params=["stock", "ours"])
def worker_of(request: pytest.FixtureRequest, rig: Rig) -> Callable[..., Any]:
    """Runs functions on a stock worker, or on ours, until nothing is left."""

    async def work(functions: Sequence[Function], **options: Any) -> None:
        if request.param == "stock":
            client = connect(rig.url)
            client.job_serializer, client.job_deserializer = pack, unpack
            client.default_queue_name = KEYS.queue
            await stock_worker(client, functions, burst=True, **options).async_run()
            await client.aclose()
        else:
            async with rig.leased(functions, **options):
                await rig.idle()

    return work


class PanicException(BaseException):
    pass


Work = Callable[..., Awaitable[None]]


async def test_a_job_of_arq_has_its_arguments_context_and_result(worker_of: Work, arq_redis: ArqRedis) -> None:
    """Arguments by position and by name, arq's context, and a result that `Job.result()` finds for as long as said."""
    seen: list[dict[str, Any]] = []

    async def add(ctx: dict[str, Any], one: int, *, other: int) -> int:
        seen.append(ctx)
        return one + other

    job = await arq_redis.enqueue_job("add", 1, other=2, _job_id="j1")
    assert job is not None
    await worker_of([function(add, keep_result=60)], ctx={"mine": 5})
    assert await job.result(timeout=1) == 3
    told = await job.result_info()
    assert told is not None
    assert (told.function, tuple(told.args), told.kwargs, told.job_try) == ("add", (1,), {"other": 2}, 1)
    assert (told.success, told.job_id, told.queue_name) == (True, "j1", KEYS.queue)
    assert 50_000 < await arq_redis.pttl("arq:result:j1") <= 60_000
    [ctx] = seen
    assert (ctx["job_id"], ctx["job_try"], ctx["mine"]) == ("j1", 1, 5)
    assert ctx["score"] == to_unix_ms(ctx["enqueue_time"]) == to_unix_ms(told.enqueue_time)
    assert isinstance(ctx["redis"], ArqRedis)


@pytest.mark.parametrize(
    ("options", "kept"),
    [({}, 3600), ({"keep_result": 0}, None), ({"keep_result": 10}, 10), ({"keep_result_forever": True}, -1)],
    ids=["default", "not", "ten", "forever"],
)
async def test_a_result_is_kept_as_long_as_arqs_options_say(
    worker_of: Work, arq_redis: ArqRedis, options: dict[str, Any], kept: int | None
) -> None:
    """An hour unless said otherwise; a failure's is kept too, as a failure."""
    for name in ("greets", "fails"):
        await arq_redis.enqueue_job(name, "hello", _job_id=name)
    await worker_of([function(greets), function(fails)], **options)
    for name in ("greets", "fails"):
        told = await Job(name, arq_redis, _deserializer=unpack).result_info()
        assert (told and told.success) == (None if kept is None else name == "greets")
        assert await arq_redis.ttl(f"arq:result:{name}") == pytest.approx(-2 if kept is None else kept, abs=1)


async def test_retry_comes_again_after_its_wait(worker_of: Work, arq_redis: ArqRedis) -> None:
    """`Retry(defer=…)` runs the job again no earlier than that, as its next try."""
    runs: list[tuple[int, float]] = []
    clock = asyncio.get_running_loop().time

    async def twice(ctx: dict[str, Any]) -> str:
        runs.append((ctx["job_try"], clock()))
        if ctx["job_try"] == 1:
            raise Retry(defer=0.2)
        return "second"

    job = await arq_redis.enqueue_job("twice")
    assert job is not None
    await worker_of([function(twice)])
    assert await job.result(timeout=1) == "second"
    (first, began), (second, ended) = runs
    assert (first, second) == (1, 2)
    assert ended - began > 0.19


async def test_a_deferred_job_waits_and_the_first_try_has_its_number(worker_of: Work, arq_redis: ArqRedis) -> None:
    """`_defer_by` and `_job_try` of `enqueue_job` mean what they say."""
    tries: list[int] = []

    async def counts(ctx: dict[str, Any]) -> None:
        tries.append(ctx["job_try"])
        if len(tries) < 2:
            raise Retry(defer=0.001)

    clock = asyncio.get_running_loop().time
    began = clock()
    await arq_redis.enqueue_job("counts", _defer_by=0.2, _job_try=3)
    await worker_of([function(counts)])
    assert tries == [3, 4]
    assert clock() - began > 0.19


async def test_hooks_are_called_around_each_run(worker_of: Work, arq_redis: ArqRedis) -> None:
    """Start and shutdown of the worker, before and after each run whatever came of it, and once it is written."""
    calls: list[str] = []

    def hook(name: str) -> Callable[[dict[str, Any]], Awaitable[None]]:
        async def call(ctx: dict[str, Any]) -> None:
            calls.append(f"{name} {ctx['job_try']}" if "job_try" in ctx else name)

        return call

    async def twice(ctx: dict[str, Any]) -> None:
        calls.append("run")
        if ctx["job_try"] == 1:
            raise Retry(defer=0.001)
        raise OSError

    await arq_redis.enqueue_job("twice")
    names = ("on_startup", "on_job_start", "on_job_end", "after_job_end")
    await worker_of([function(twice)], **{name: hook(name) for name in names})
    one = ["on_job_start 1", "run", "on_job_end 1", "after_job_end 1"]
    assert calls == ["on_startup", *one, *(call.replace("1", "2") for call in one)]


async def test_a_job_can_enqueue_another(worker_of: Work, arq_redis: ArqRedis) -> None:
    """`ctx["redis"].enqueue_job` writes what this worker can read."""
    ran: list[str] = []

    async def first(ctx: dict[str, Any]) -> None:
        await ctx["redis"].enqueue_job("second", "from first")

    async def second(_: dict[str, Any], word: str) -> None:
        ran.append(word)

    await arq_redis.enqueue_job("first")
    await worker_of([function(first), function(second)])
    assert ran == ["from first"]


@pytest.mark.parametrize("error", [OSError, PanicException, asyncio.CancelledError, SystemExit])
async def test_a_hook_that_fails_does_not_run_a_job_again(
    rig: Rig, journal: Journal, error: type[BaseException]
) -> None:
    """The job had its effect; ends the stock worker, is a line in our log, whatever it raises."""

    async def breaks(_: dict[str, Any]) -> None:
        raise error

    await put(rig.redis, "j1", pack_job("asks_nothing", [], 1))
    functions = [journal.function(asks_nothing)]
    async with rig.leased(functions, on_job_end=breaks, after_job_end=breaks):
        await rig.idle()
    assert len(journal.ends) == 1
    assert await rig.letters() == []


async def test_a_job_beside_a_stock_worker_is_run_once(rig: Rig) -> None:
    """Each leaves alone what the other runs, and ours is not held up by what the stock worker leaves in the queue."""
    running: dict[str, asyncio.Event] = {name: asyncio.Event() for name in ("a", "b", "c")}
    runs: list[str] = []
    may_end = asyncio.Event()

    async def takes_long(ctx: dict[str, Any]) -> None:
        runs.append(ctx["job_id"])
        running[ctx["job_id"]].set()
        await may_end.wait()

    functions = [function(takes_long)]
    for job_id in ("a", "b"):
        await put(rig.redis, job_id, pack_job("takes_long", [], 1))
    stock = stock_worker(rig.redis, functions)
    running_stock = asyncio.create_task(stock.async_run())
    await asyncio.gather(running["a"].wait(), running["b"].wait())
    await put(rig.redis, "c", pack_job("takes_long", [], 1))
    stock.allow_pick_jobs = False
    async with rig.leased(functions, max_jobs=1):
        await running["c"].wait()
        may_end.set()
        await rig.idle()
    await stopped(running_stock, running_stock.cancel)
    assert sorted(runs) == ["a", "b", "c"]


@pytest.mark.parametrize("error", [PanicException, KeyboardInterrupt, GeneratorExit, SystemExit])
async def test_a_job_that_raises_no_common_exception_is_buried_with_the_reason(
    rig: Rig, journal: Journal, error: type[BaseException]
) -> None:
    """Not with "its worker was lost", which it was not; the next one runs."""

    async def breaks(_: dict[str, Any]) -> None:
        raise error

    await put(rig.redis, "j1", pack_job("breaks", [], 1))
    await put(rig.redis, "j2", pack_job("asks_nothing", [], 1))
    async with rig.leased([function(breaks), journal.function(asks_nothing)]):
        await rig.idle()
    assert [(letter.id, letter.reason) for letter in await rig.letters()] == [("j1:job", error.__name__)]
    assert len(journal.ends) == 1


# ── arq's internals, each named in worker/lease/worker.py ─────────────────────────────────────────────────────────────


def test_arq_is_the_release_that_was_read() -> None:
    """A newer one may work: read its worker.py, run this file, then say so here."""
    assert importlib.metadata.version("arq") == "0.28.0"


def test_every_option_of_arqs_worker_is_known() -> None:
    """An option that a newer arq adds is either kept by what ours inherits or refused: nothing is taken in silence."""
    kept = {
        *("functions", "queue_name", "redis_settings", "redis_pool", "burst", "on_startup", "on_shutdown"),
        *("on_job_start", "on_job_end", "after_job_end", "handle_signals", "job_completion_wait", "max_jobs"),
        *("job_timeout", "keep_result", "keep_result_forever", "max_tries", "health_check_interval"),
        *("health_check_key", "ctx", "job_serializer", "job_deserializer", "expires_extra_ms", "timezone"),
        "log_results",
    }
    assert set(inspect.signature(Worker).parameters) == kept | UNSUPPORTED


@pytest.mark.parametrize("option", sorted(UNSUPPORTED))
async def test_an_option_that_would_do_nothing_is_refused(rig: Rig, option: str) -> None:
    """By name, when the worker is made."""
    with pytest.raises(TypeError, match=option):
        async with rig.leased([function(asks_nothing)], **{option: 1}):
            pass


def test_a_job_is_laid_out_as_arq_does() -> None:
    """`pack_job` writes what `serialize_job` does, and `deserialize_job_raw` reads it."""
    assert pack_job("f", [1], 5) == serialize_job("f", (1,), {}, None, 5, serializer=msgpack.packb)
    read: Any = deserialize_job_raw(pack_job("f", [1], 5), deserializer=unpack)
    assert read == ("f", [1], {}, None, 5)


def test_a_result_is_laid_out_as_arq_does() -> None:
    """What `serialize_result` writes with our serializer `deserialize_result` reads."""
    data = serialize_result("f", (1,), {}, 2, 3, True, "r", 4, 5, "ref", "q", "j", serializer=pack)
    assert data is not None
    told: Any = deserialize_result(data, deserializer=unpack)
    assert (told.function, told.args, told.job_try, told.success, told.result) == ("f", [1], 2, True, "r")
    assert (told.queue_name, told.job_id) == ("q", "j")


def test_arqs_keys_have_the_names_that_the_scripts_use() -> None:
    """Queue, job, in-progress and retry keys."""
    theirs = arq.constants
    assert theirs.default_queue_name == keys.OLD_QUEUE
    assert theirs.job_key_prefix == keys.JOB
    assert theirs.in_progress_key_prefix == keys.IN_PROGRESS
    assert theirs.retry_key_prefix == keys.RETRY


def test_a_function_has_what_a_call_needs() -> None:
    """`func` and `Worker.functions` keep name, coroutine, time-out, tries and how long the result is kept."""
    made = function(asks_nothing, name="n", timeout=1, max_tries=2, keep_result=3, keep_result_forever=False)
    assert (made.name, made.timeout_s, made.max_tries, made.keep_result_s) == ("n", 1, 2, 3)
    assert made.keep_result_forever is False
    assert made.coroutine is asks_nothing
    plain = function(asks_nothing)
    assert (plain.timeout_s, plain.max_tries, plain.keep_result_s, plain.keep_result_forever) == (None,) * 4


async def test_arqs_signal_handlers_wait_for_tasks_then_cancel_main(rig: Rig) -> None:
    """SIGTERM stops the picking, gives `tasks` their time, cancels those that are left, and then `main`."""
    worker = LeasedWorker([function(asks_nothing)], connect=lambda: connect(rig.url), keys=KEYS, bury=_never,
                          watch=Watch, handle_signals=False, job_completion_wait=0.2)  # fmt: skip
    worker.main_task = asyncio.create_task(asyncio.sleep(60))
    quick, slow = (asyncio.create_task(asyncio.sleep(seconds)) for seconds in (0.01, 60))
    for name, task in (("quick", quick), ("slow", slow)):
        worker.tasks[name] = task
        task.add_done_callback(partial(lambda name, _: worker.tasks.pop(name), name))
    worker.handle_sig_wait_for_completion(signal.SIGTERM)
    assert worker.allow_pick_jobs is False
    await asyncio.wait([worker.main_task, quick, slow])
    assert (quick.cancelled(), slow.cancelled(), worker.main_task.cancelled()) == (False, True, True)
    await worker.pool.aclose()


async def test_arq_asks_for_its_signal_handlers_by_this_method(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """`_add_signal_handler`, which ours overrides, once for SIGINT and once for SIGTERM."""
    asked: list[tuple[int, str]] = []
    monkeypatch.setattr(Worker, "_add_signal_handler", lambda _, number, call: asked.append((number, call.__name__)))
    stock_worker(rig.redis, [function(asks_nothing)], handle_signals=True, job_completion_wait=1)
    assert asked == [(number, "handle_sig_wait_for_completion") for number in (signal.SIGINT, signal.SIGTERM)]


async def test_arqs_handler_without_a_grace_cancels_at_once(rig: Rig) -> None:
    """With `job_completion_wait=0` both are cancelled at once."""
    worker = stock_worker(rig.redis, [function(asks_nothing)])
    worker.main_task = asyncio.create_task(asyncio.sleep(60))
    worker.tasks["j"] = task = asyncio.create_task(asyncio.sleep(60))
    worker.handle_sig(signal.SIGTERM)
    await asyncio.wait([worker.main_task, task])
    assert task.cancelled()
    assert worker.main_task.cancelled()


async def _never(*_: Any) -> None:
    raise AssertionError


async def test_the_health_key_is_arqs(rig: Rig) -> None:
    """`record_health` writes what `arq --check` looks for, counters and all, and `close` takes it away."""
    await put(rig.redis, "j1", pack_job("asks_nothing", [], 1))
    async with rig.leased([function(asks_nothing)], health_check_interval=0.01):
        await rig.idle()
        await until(lambda: _health_has(rig.redis, b"j_complete=1 j_failed=0 j_retried=0 j_ongoing=0 queued=0"))
    assert not await rig.redis.exists(f"{KEYS.queue}:health-check")


async def _health_has(redis: ArqRedis, words: bytes) -> bool:
    return words in (await redis.get(f"{KEYS.queue}:health-check") or b"")
