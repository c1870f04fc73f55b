"""One delivery's job, and one handler's retry: parse, route, run, record.

In the common case one delivery is one arq job whose handlers run side by side. Each has its own outcome, written as
soon as it is known, so that a crash repeats only what it interrupted; one that fails becomes a job of its own.
"""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

import structlog
from arq.connections import ArqRedis
from arq.worker import Retry
from structlog.typing import FilteringBoundLogger

from receiver.client import Client
from receiver.content import Unreadable, memory_bound
from receiver.delivery import Delivery
from receiver.idempotency import PART
from receiver.settings import Settings
from receiver.tally import tally
from worker import handling, tracing
from worker.event import Event, check_not_a_batch, parse
from worker.handler import Context, Handler, RetryLater, Skip, name_of
from worker.lease.calls import StillRunning
from worker.lease.claims import FirstWrite
from worker.memory import Memory
from worker.outcomes import PARSE, Dying, Outcomes, Retrying, Transition, retry_job
from worker.retries import Again, Policy, decide, describe
from worker.routes import RouteTable
from worker.sightings import Sightings
from worker.time_limit import TimeLimit

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Services:
    """What jobs need: made once for each worker process, handed to arq as `ctx["services"]`."""

    settings: Settings
    routes: RouteTable
    outcomes: Outcomes
    memory: Memory
    policy: Policy
    time_limit: TimeLimit
    redis: ArqRedis
    http: Client
    rng: random.Random
    sightings: Sightings


class Job(NamedTuple):
    """One delivery's event as a job has it. `is_first`: nobody has started it before.

    `stops` tells whether the worker itself is what cancels the job.
    """

    services: Services
    id: str
    delivery: Delivery
    event: Event
    is_first: bool
    stops: Callable[[], bool]


class Run(NamedTuple):
    """One handler about to run: its `attempt` counts from 1, `tries` were used up since `since_ms`.

    `start` is the token of its turn, where it is in order.
    """

    handler: Handler
    attempt: int
    tries: int
    since_ms: int
    start: str = ""


async def deliver(ctx: dict[str, Any], value: Mapping[str, Any]) -> FirstWrite | None:
    """A delivery's job: run every handler of its event that has no outcome yet."""
    services: Services = ctx["services"]
    delivery = Delivery.from_job(value)
    if ctx.get("fresh"):
        recorded: Mapping[str, tuple[str, int]] = {}
        tally.to_start.observe(time.time() - delivery.received_us / 1_000_000)
    else:
        recorded = await services.outcomes.recorded(delivery.id)
    async with services.memory.hold(memory_bound(delivery.headers, delivery.body, services.settings.max_body_bytes)):
        try:
            job = _read(ctx, delivery)
        except Unreadable as error:
            log.warning("unreadable delivery", delivery=delivery.id, reason=str(error))
            await services.outcomes.record(delivery, ctx["job_id"], [unread(delivery, str(error))])
            return None
        services.sightings.see(job.event, delivery.received_us)
        if not job.event.known:
            log.info("unknown event type", delivery=delivery.id, type=job.event.type)
        handlers = [handler for handler in services.routes.handlers(job.event.type) if name_of(handler) not in recorded]
        return await run_all(job, [take_turn(job, Run(handler, 1, 0, _now_ms())) for handler in handlers])


async def retry(
    ctx: dict[str, Any], value: Mapping[str, Any], handler_name: str, attempt: int, tries: int, since_ms: int
) -> None:
    """One handler again, unless it has been done meanwhile."""
    services: Services = ctx["services"]
    delivery = Delivery.from_job(value)
    check_retry(handler_name, attempt)
    state, recorded = (await services.outcomes.recorded(delivery.id)).get(handler_name, ("retry", attempt - 1))
    if state != "retry" or recorded != attempt - 1:
        return
    handler = services.routes.by_name.get(handler_name)
    if handler is None:
        reason = f"no handler {handler_name!r} in HANDLERS any more; add it and replay, or drop this dead letter"
        gone = dead(delivery, handler_name, attempt, reason, "no_handler")
        await services.outcomes.record(delivery, ctx["job_id"], [gone], routed=False)
        return
    turn = await services.outcomes.turn(delivery, handler_name)
    if turn.wait:
        raise Retry(turn.wait)
    async with services.memory.hold(memory_bound(delivery.headers, delivery.body, services.settings.max_body_bytes)):
        job = _read(ctx, delivery)
        run = Run(handler, attempt, tries, since_ms or _now_ms(), turn.start)
        await run_all(job, [run_one(job, run)], routes=False)


def _read(ctx: dict[str, Any], delivery: Delivery) -> Job:
    """The job of a delivery. Raises `Unreadable`."""
    services: Services = ctx["services"]
    event, job_id = read(delivery, services.settings), ctx["job_id"]
    return Job(services, job_id, delivery, event, ctx.get("fresh", False), partial(ctx["is_stopping"], job_id))


async def run_all(
    job: Job, runs: Sequence[Coroutine[Any, Any, Transition]], *, routes: bool = True
) -> FirstWrite | None:
    """Run handlers side by side and record each outcome as soon as it is there; one log line at the end.

    `routes` says that these are all of the event's handlers; a retry's is one, while others may still be running. What
    is returned is still to be recorded, with the end of the job.
    """
    started = time.monotonic()
    if len(runs) > 1:
        earlier, last = await _side_by_side(job, runs)
    else:  # alone, a handler runs in the job's own task: one of its own would cost more than all else about it
        earlier, last = [], [await run for run in runs]
    ended = [*earlier, *last]
    first = _first_write(job, last) if routes and job.is_first and not earlier else None
    if not first:
        await _record(job, last, routed=routes)
    _observe(job.delivery, last)
    outcomes = {one.handler: one.state if one.attempt else "waits" for one in ended} or {"no handler": "done"}
    log.info(
        "delivery handled",
        delivery=job.delivery.id,
        type=job.event.type,
        **outcomes,
        ms=round((time.monotonic() - started) * 1000, 1),
        since_received_ms=round(time.time() * 1000 - job.delivery.received_us / 1000),
    )
    return first


def _observe(delivery: Delivery, transitions: Sequence[Transition]) -> None:
    """Note how long handlers that came to their end took, from the acceptance on."""
    since = time.time() - delivery.received_us / 1_000_000
    for transition in transitions:
        if transition.state != "retry":
            tally.to_done.observe(since, transition.handler)


async def _side_by_side(
    job: Job, runs: Sequence[Coroutine[Any, Any, Transition]]
) -> tuple[list[Transition], list[Transition]]:
    """Run each handler in a task of its own; returns the recorded transitions, and the last, not yet recorded."""
    running = {asyncio.create_task(run) for run in runs}
    recorded: list[Transition] = []
    try:
        while True:
            finished, running = await asyncio.wait(running, return_when="FIRST_COMPLETED")
            transitions = [task.result() for task in finished]
            if not running:
                return recorded, transitions
            await _record(job, transitions, routed=False)
            _observe(job.delivery, transitions)
            recorded += transitions
    finally:
        await _cancel(job, running)


def _first_write(job: Job, transitions: Sequence[Transition]) -> FirstWrite | None:
    """What the job writes with its end: where all handlers succeeded at once, as nearly always. None for the rest."""
    row = job.services.outcomes.first_row(job.delivery, transitions)
    return FirstWrite(row, lambda: job.services.outcomes.record(job.delivery, job.id, transitions)) if row else None


async def _cancel(job: Job, running: set[asyncio.Task[Transition]]) -> None:
    """Cancel handlers; record those that came to their end all the same: they had their effect.

    Raises `StillRunning` when this is cancelled, too, before all of them have ended.
    """
    for task in running:
        task.cancel()
    try:
        while running:
            finished, running = await asyncio.wait(running, return_when="FIRST_COMPLETED")
            if ended := [task.result() for task in finished if not task.cancelled() and not task.exception()]:
                await job.services.outcomes.record(job.delivery, job.id, ended, routed=False)
    except asyncio.CancelledError:
        if any(not task.done() for task in running):
            raise StillRunning from None
        raise


async def take_turn(job: Job, run: Run) -> Transition:
    """Run a handler when it is its turn; one in order may have to wait, as a job of its own."""
    name = name_of(run.handler)
    turn = await job.services.outcomes.turn(job.delivery, name)
    if turn.wait:
        # Its age counts from here: else a line before a target that is gone would have MAX_AGE for one after the other.
        parked = retry_job(job.delivery, name, 1, 0, run.since_ms)
        return Transition(name, 0, "retry", "", parked, turn.wait)
    return await run_one(job, run._replace(start=turn.start))


async def run_one(job: Job, run: Run) -> Transition:
    """Run one handler under its time-out; whatever it raises becomes the next transition.

    KeyboardInterrupt and SystemExit, too: asyncio would let them out of the loop, and the worker would end.
    """
    name = name_of(run.handler)
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - this runs in one
    began = handling.begin(task, name, job.delivery.id)
    try:
        await job.services.time_limit.run(task, run.handler(job.event, _context(job, name, run.attempt)))
    except BaseException as error:
        if isinstance(error, asyncio.CancelledError) and task.cancelling() and job.stops():
            raise  # the worker cancelled it; if the handler itself did, or another one, it has failed
        while task.cancelling():  # it may be the job's own task, which goes on
            task.uncancel()
        return _after(job, run, error)
    finally:
        handling.end(task)
        tally.run.observe(time.monotonic() - began, name)
    return Transition(name, run.attempt, "done", start=run.start)


def _after(job: Job, run: Run, error: BaseException) -> Transition:
    services, delivery, name = job.services, job.delivery, name_of(run.handler)
    if isinstance(error, Skip):
        reason = describe(error)
        log.info("skipped", delivery=delivery.id, handler=name, attempt=run.attempt, reason=reason)
        return Transition(name, run.attempt, "skipped", reason, start=run.start)
    age = time.time() - run.since_ms / 1000
    decision = decide(error, run.tries, age, services.policy, services.rng)
    bound = log.bind(delivery=delivery.id, handler=name, attempt=run.attempt, reason=decision.reason)
    trace = _trace(error, bound)
    if trace and (at := trace.partition("\n")[0]):
        bound = bound.bind(at=at)
    if isinstance(decision, Again):
        again = retry_job(delivery, name, run.attempt + 1, decision.tries, run.since_ms)
        leaves = services.outcomes.lets_pass(name, decision.tries)
        counted_as: Retrying = "failed"
        if isinstance(error, RetryLater):
            bound.info("handler will be run again", in_s=round(decision.wait, 1))  # it asked for that
            counted_as = "asked"
        else:
            bound.warning("handler will be run again", in_s=round(decision.wait, 1))
        return Transition(
            name, run.attempt, "retry", decision.reason, again, decision.wait, counted_as, run.start, leaves, trace
        )
    bound.error("dead letter")
    end = dead(delivery, name, run.attempt, decision.reason, decision.budget or "gave_up")
    return end._replace(start=run.start, trace=trace)


def _trace(error: BaseException, bound: FilteringBoundLogger) -> str:
    """Where a handler failed, told at debug; "" for one that only asks to wait."""
    if isinstance(error, RetryLater):
        return ""
    lines = tracing.trace(error)
    bound.debug("traceback", trace=lines)
    return f"{tracing.place(error)}\n{lines}"


def dead(delivery: Delivery, handler: str, attempt: int, reason: str, counted_as: Dying) -> Transition:
    job = retry_job(delivery, handler, attempt + 1, 0, 0)
    return Transition(handler, attempt, "dead", reason, job, counted_as=counted_as)


def _context(job: Job, handler: str, attempt: int) -> Context:
    services, delivery = job.services, job.delivery
    return Context(
        delivery_id=delivery.id,
        attempt=attempt,
        idempotency_key=f"{handler}:{delivery.id}",
        received_at=datetime.fromtimestamp(delivery.received_us / 1_000_000, tz=UTC),
        log=log.bind(delivery=delivery.id, handler=handler, attempt=attempt),
        http=services.http,
        redis=services.redis,
        prefix=services.settings.key_prefix,
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def _record(job: Job, transitions: Sequence[Transition], *, routed: bool) -> None:
    """Write transitions, to their end before a cancellation goes on: the next worker has to see them."""

    def write() -> Coroutine[Any, Any, None]:
        return job.services.outcomes.record(job.delivery, job.id, transitions, routed=routed)

    try:
        await write()
    except asyncio.CancelledError:
        while True:
            writing = asyncio.create_task(write())  # on its way or not, once more: written twice is written once
            await asyncio.wait([writing])
            if not writing.cancelled() or job.stops():  # cancelled by a handler that cancels every task: again
                raise


def read(delivery: Delivery, settings: Settings) -> Event:
    """The event in a delivery. Raises `Unreadable`."""
    if settings.where.batch and PART not in delivery.more:
        check_not_a_batch(delivery.body, settings, delivery.headers)
    return parse(delivery.body, settings, delivery.headers)


def check_retry(handler: Any, attempt: Any) -> None:
    """As for a delivery: what else got there would be an error in the scripts, again and again."""
    if not isinstance(handler, str) or not isinstance(attempt, int):
        raise TypeError("expected a handler's name and an attempt")


def unread(delivery: Delivery, reason: str, counted_as: Dying = "unreadable") -> Transition:
    return Transition(PARSE, 1, "dead", reason, delivery.job(), counted_as=counted_as)
