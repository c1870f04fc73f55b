"""One run of one delivery: its handlers side by side, each under its time-out, and what became of each.

Each has its own outcome, written as soon as it is known, so that a crash repeats only what it interrupted.
"""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime
from functools import partial
from logging import INFO
from typing import Any, NamedTuple

import structlog
from arq.utils import timestamp_ms

from receiver.delivery import Delivery
from receiver.tally import tally
from worker import event, handling, tracing
from worker.ends import Ends
from worker.error_text import describe, told_in_log
from worker.handler import Context, Handler, RetryLater, Skip, name_of
from worker.lease.calls import StillRunning
from worker.lease.claims import FirstWrite
from worker.retries import Again, decide
from worker.services import Services
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

    __slots__ = (
        "_about",
        "_job_id",
        "_outcomes",
        "_received_at",
        "_services",
        "_stops",
        "_tells_success",
        "delivery",
        "event",
        "is_first",
    )

    def __init__(self, ctx: dict[str, Any], delivery: Delivery) -> None:
        services: Services = ctx["services"]
        self.delivery = delivery
        self.event = event.read(delivery, services.settings)
        # The payload has an event id even where another source decided which delivery this is.
        self._about = delivery.for_log() | {"event_id": self.event.id or "", "type": self.event.type}
        self._received_at = datetime.fromtimestamp(delivery.received_us / 1_000_000, tz=UTC)
        self._tells_success: bool = log.is_enabled_for(INFO)
        self.is_first: bool = ctx.get("fresh", False)  # nobody has started this job before
        self._job_id: str = ctx["job_id"]
        self._stops = ctx["is_stopping"]
        self._services, self._outcomes = services, services.outcomes

    async def all(self, handlers: Sequence[Handler]) -> FirstWrite | None:
        """Run the event's handlers. What is returned is still to be recorded, with the end of the job."""
        now = timestamp_ms()
        runs = [self._start(HandlerRun(handler, 1, 0, now)) for handler in handlers]
        if not runs:
            log.info("no handler to run", **self._about)
        if len(runs) > 1:
            earlier, last = await self._side_by_side(runs)
        else:  # alone, a handler runs in the job's own task: one of its own would cost more than all else about it
            earlier, last = [], [await run for run in runs]
        first = self._first_write(last) if self.is_first and not earlier else None
        if not first:
            await self._record(last, routed=True)
        self._observe(last)
        return first

    async def again(self, run: HandlerRun) -> None:
        """Run one handler, while others of the event may still be running elsewhere."""
        ended = [await self._run(run)]
        await self._record(ended, routed=False)
        self._observe(ended)

    def _observe(self, transitions: Sequence[Transition]) -> None:
        """Note how long handlers that came to their end took, from the acceptance on."""
        since = time.time() - self.delivery.received_us / 1_000_000
        for transition in transitions:
            if transition.state != "retry":
                tally.to_done.observe(since, transition.handler)

    # ── run ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _side_by_side(
        self, runs: Sequence[Coroutine[Any, Any, Transition]]
    ) -> tuple[list[Transition], list[Transition]]:
        """Run each handler in a task of its own; returns the recorded transitions, and the last, not yet recorded."""
        running = {asyncio.create_task(run) for run in runs}
        ends = Ends(running)
        recorded: list[Transition] = []
        try:
            while True:
                finished = await ends.next()
                running.difference_update(finished)
                transitions = [task.result() for task in finished]
                if not running:
                    return recorded, transitions
                await self._record(transitions, routed=False)
                self._observe(transitions)
                recorded += transitions
        finally:
            await self._cancel(running)

    async def _cancel(self, running: set[asyncio.Task[Transition]]) -> None:
        """Cancel handlers; record those that came to their end all the same: they had their effect.

        Raises `StillRunning` when this is cancelled, too, before all of them have ended.
        """
        for task in running:
            task.cancel()
        try:
            while running:
                finished, running = await asyncio.wait(running, return_when="FIRST_COMPLETED")
                if ended := [task.result() for task in finished if not task.cancelled() and not task.exception()]:
                    await self._outcomes.record(self.delivery, self._job_id, ended, routed=False)
        except asyncio.CancelledError:
            if any(not task.done() for task in running):
                raise StillRunning from None
            raise

    def _start(self, run: HandlerRun) -> Coroutine[Any, Any, Transition]:
        return self._in_turn(run) if name_of(run.handler) in self._outcomes.lines else self._run(run)

    async def _in_turn(self, run: HandlerRun) -> Transition:
        """Run a handler in order when it is its turn; it may have to wait, as a job of its own."""
        name = name_of(run.handler)
        turn = await self._outcomes.lines.turn(self.delivery, name)
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
            work = self._services.time_limit.run(task, run.handler(self.event, self._context(run, name)))
            if traces := self._services.traces:
                work = traces.of_run(work, self.delivery, name, run.attempt, calm=(RetryLater, Skip))
            await work
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and task.cancelling() and self._stops(self._job_id):
                raise  # the worker cancelled it; if the handler itself did, or another one, it has failed
            while task.cancelling():  # it may be the job's own task, which goes on
                task.uncancel()
            ended, reason = self._after(run, error), told_in_log(error)
        else:
            ended, reason = Transition(name, run.attempt, "done", start=run.start), ""
        finally:
            handling.end(task)
            tally.run.observe(seconds := time.monotonic() - began, name)
        self._tell(ended, reason, seconds)
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

    def _tell(self, ended: Transition, reason: str, seconds: float) -> None:
        """The log line of a handler's run, at once: a sibling may take minutes more, or the worker may be killed."""
        if ended.state == "done" and not self._tells_success:
            return
        bound = log.bind(**self._about, handler=ended.handler, attempt=ended.attempt)
        since = time.time() - self.delivery.received_us / 1_000_000
        times = {"ms": round(seconds * 1000, 1), "since_received_ms": round(since * 1000)}
        if ended.state == "done":
            bound.info("handled", outcome="done", **times)
            return
        at, _, lines = ended.trace.partition("\n")
        told = {"outcome": ended.state, "reason": reason, **({"at": at} if at else {}), **times}
        if ended.state == "retry":
            tell = bound.info if ended.counted_as == "asked" else bound.warning
            tell("handler will be run again", in_s=round(ended.wait, 1), **told)
        elif ended.state == "dead":
            bound.error("dead letter", why=ended.counted_as, **told)
        else:
            bound.info("skipped", **told)
        if lines:
            bound.debug("traceback", trace=lines)

    # ── what follows ───────────────────────────────────────────────────────────────────────────────────────────

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
            leaves = self._outcomes.lines.lets_pass(name, decision.tries)
            counted_as: Retrying = "asked" if is_asked else "failed"
            return Transition(
                name, run.attempt, "retry", decision.reason, again, decision.wait, counted_as, run.start, leaves, trace
            )
        end = dead(delivery, name, run.attempt, decision.reason, decision.budget or "gave_up")
        return end._replace(start=run.start, trace=trace)

    def _first_write(self, transitions: Sequence[Transition]) -> FirstWrite | None:
        """What is written with the job's end; None unless all handlers succeeded at once, as nearly always."""
        row = self._outcomes.first_row(self.delivery, transitions)
        if row is None:
            return None
        # partial: a lambda would keep this run, and with it the event, in memory while Redis is away
        return FirstWrite(row, partial(self._outcomes.record, self.delivery, self._job_id, transitions))

    async def _record(self, transitions: Sequence[Transition], *, routed: bool) -> None:
        """Write transitions, to their end before a cancellation goes on: the next worker has to see them.

        `routed`: no other handler of this event is still to be heard of.
        """

        def write() -> Coroutine[Any, Any, None]:
            return self._outcomes.record(self.delivery, self._job_id, transitions, routed=routed)

        try:
            await write()
        except asyncio.CancelledError:
            while True:
                writing = asyncio.create_task(write())  # on its way or not, once more: written twice is written once
                await asyncio.wait([writing])
                if not writing.cancelled() or self._stops(self._job_id):  # else a handler cancelled all: again
                    raise
