"""One run of one delivery: each handler when it is its turn, under its time-out, and what follows from how it ended.

Each has its own outcome, written as soon as it is known, so that a crash repeats only what it interrupted.
"""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple

import structlog
from arq.utils import timestamp_ms

from receiver.delivery import Delivery
from receiver.tally import tally
from worker import event, handling, tracing
from worker.error_text import describe, told_in_log
from worker.handler import Context, Handler, RetryLater, Skip, finished, name_of
from worker.lease.claims import FirstWrite
from worker.recorder import Recorder
from worker.retries import Again, decide
from worker.services import Services
from worker.side_by_side import side_by_side
from worker.transitions import Retrying, Transition, dead, retry_job

log = structlog.get_logger()


class HandlerRun(NamedTuple):
    """One handler about to run: its `attempt` counts from 1, `tries` were used up since `since_ms`.

    `start` is the token of its turn, where it is in order.
    """

    handler: Handler
    attempt: int
    tries: int
    since_ms: int
    start: str = ""


class DeliveryRun:
    """One delivery's event in the hands of one job. Raises `Unreadable` if there is none in it."""

    def __init__(self, ctx: dict[str, Any], delivery: Delivery) -> None:
        services: Services = ctx["services"]
        self.delivery = delivery
        self.event = event.read(delivery, services.settings)
        # The payload has an event id even where another source decided which delivery this is.
        self._about = delivery.for_log() | {"event_id": self.event.id or "", "type": self.event.type}
        self._received_at = datetime.fromtimestamp(delivery.received_us / 1_000_000, tz=UTC)
        self.is_first: bool = ctx.get("fresh", False)  # nobody has started this job before
        self._job_id, self._is_stopping = ctx["job_id"], ctx["is_stopping"]
        self._services, self._lines = services, services.outcomes.lines
        self._recorder = Recorder(services.outcomes, delivery, self._job_id, self._is_stopping, self._about)

    async def all(self, handlers: Sequence[Handler]) -> FirstWrite | None:
        """Run the event's handlers. What is returned is still to be recorded, with the end of the job."""
        now = timestamp_ms()
        runs = [self._start(HandlerRun(handler, 1, 0, now)) for handler in handlers]
        if not runs:
            log.info("no handler to run", **self._about)
        if len(runs) > 1:
            earlier, last = await side_by_side(runs, self._recorder)
        else:  # alone, a handler runs in the job's own task: one of its own would cost more than all else about it
            earlier, last = [], [await run for run in runs]
        first = self._recorder.first_write(last) if self.is_first and not earlier else None
        if not first:
            await self._recorder.record(last, routed=True)
        return first

    async def again(self, run: HandlerRun) -> None:
        """Run one handler, while others of the event may still be running elsewhere."""
        await self._recorder.record([await self._run(run)], routed=False)

    def _start(self, run: HandlerRun) -> Coroutine[Any, Any, Transition]:
        return self._in_turn(run) if name_of(run.handler) in self._lines else self._run(run)

    async def _in_turn(self, run: HandlerRun) -> Transition:
        """Run a handler in order when it is its turn; it may have to wait, as a job of its own."""
        name = name_of(run.handler)
        turn = await self._lines.turn(self.delivery, name)
        if not turn.wait:
            return await self._run(run._replace(start=turn.start) if turn.start else run)
        # Its age counts from here: else a line before a target that is gone would have MAX_AGE for one after the other.
        parked = retry_job(self.delivery, name, 1, 0, run.since_ms)
        log.info("waits its turn", **self._about, handler=name, in_s=round(turn.wait, 1))
        return Transition(name, 0, "retry", "", parked, turn.wait)

    async def _run(self, run: HandlerRun) -> Transition:
        """Run one handler under its time-out; whatever it raises becomes the next transition.

        KeyboardInterrupt and SystemExit, too: asyncio would let them out of the loop, and the worker would end.
        """
        name = name_of(run.handler)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - this runs in one
        began = handling.begin(task, name, self.delivery.id)
        try:
            work = self._services.time_limit.run(task, finished(run.handler, self.event, self._context(run, name)))
            if traces := self._services.traces:
                work = traces.of_run(work, self.delivery, name, run.attempt, calm=(RetryLater, Skip))
            await work
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and task.cancelling() and self._is_stopping(self._job_id):
                raise  # the worker cancelled it; if the handler itself did, or another one, it has failed
            ended, reason = self._after(run, error), told_in_log(error)
        else:
            ended, reason = Transition(name, run.attempt, "done", start=run.start), ""
        finally:
            handling.end(task)
            tally.run.observe(seconds := time.monotonic() - began, name)
        if task.cancelling():
            await _taken_back(task)
        self._recorder.tell(ended, reason, seconds)
        return ended

    def _context(self, run: HandlerRun, name: str) -> Context:
        services, delivery = self._services, self.delivery
        return Context(
            delivery_id=delivery.id,
            attempt=run.attempt,
            idempotency_key=f"{name}:{delivery.id}",
            received_at=self._received_at,
            http=services.http,
            redis=services.redis,
            prefix=services.settings.key_prefix,
            about={**self._about, "handler": name, "attempt": run.attempt},
        )

    def _after(self, run: HandlerRun, error: BaseException) -> Transition:
        """What becomes of a handler that raised."""
        services, delivery, name = self._services, self.delivery, name_of(run.handler)
        if isinstance(error, Skip):
            return Transition(name, run.attempt, "skipped", describe(error), start=run.start)
        age = time.time() - run.since_ms / 1000
        decision = decide(error, run.tries, age, services.policy, services.rng)
        is_asked = isinstance(error, RetryLater)
        trace = "" if is_asked else f"{tracing.place(error)}\n{tracing.trace(error)}"
        if isinstance(decision, Again):
            again = retry_job(delivery, name, run.attempt + 1, decision.tries, run.since_ms)
            leaves = self._lines.lets_pass(name, decision.tries)
            counted_as: Retrying = "asked" if is_asked else "failed"
            return Transition(
                name, run.attempt, "retry", decision.reason, again, decision.wait, counted_as, run.start, leaves, trace
            )
        end = dead(delivery, name, run.attempt, decision.reason, decision.budget or "gave_up")
        return end._replace(start=run.start, trace=trace)


async def _taken_back(task: "asyncio.Task[Any]") -> None:
    """Take back that a handler, now ended, has cancelled this task: it may be the job's own, which goes on."""
    while task.cancelling():
        task.uncancel()
    with suppress(asyncio.CancelledError):  # one not yet delivered: before Python 3.13 uncancel() leaves it
        await asyncio.sleep(0)
