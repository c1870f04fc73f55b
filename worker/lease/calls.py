"""Runs a claimed job with arq's semantics: calls the worker's function with its context, time-out, hooks and tries.

A job that arq would drop silently goes to `bury`, with its payload.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Any, NamedTuple

import structlog
from arq.jobs import SerializationError, deserialize_job_raw, serialize_result
from arq.utils import ms_to_datetime, timestamp_ms
from arq.worker import Retry, RetryJob, Worker

from worker.lease.claims import Claim, Ending, FirstWrite

MAX_CRASHES = 5
"""Lost workers after which a job is buried; after two, a worker runs only one such job at a time."""

_NO_LIMIT = nullcontext()
log = structlog.get_logger()

Context = dict[Any, Any]
Bury = Callable[[Claim, str | BaseException], Awaitable[None]]
"""Stores a job that will not be run again, with the reason or its exception; idempotent; called before the job ends."""


class CannotRun(Exception):
    """A claim that must not be run, or not again; the message says why."""


class StillRunning(Exception):
    """Raised by a job whose work goes on after its cancellation: no other worker may run it before its lease ends."""


class Call(NamedTuple):
    """The call in a claim's job: a function, its arguments and arq's context; enqueued at `enqueued_ms` (Unix ms)."""

    function: Any
    args: Any
    kwargs: Any
    ctx: dict[Any, Any]
    enqueued_ms: int


class Calls:
    """Makes the calls for one arq worker, with its functions, limits and hooks."""

    def __init__(self, worker: Worker, bury: Bury) -> None:
        self._worker, self._bury = worker, bury

    async def make(self, claim: Claim) -> tuple[Ending, Context | None]:
        """Run a claim's call; returns how the claim ends, and the call's context if it was made.

        Raises CancelledError if it was stopped, `StillRunning` if it did not stop.
        """
        try:
            call = self._read(claim)
        except CannotRun as reason:
            log.error("job buried", job=claim.job_id, reason=str(reason))  # noqa: TRY400 - no traceback
            self._worker.jobs_failed += 1
            await self._bury(claim, str(reason))
            return Ending("done"), None
        return await self._execute(claim, call), call.ctx

    def _read(self, claim: Claim) -> Call:
        """The call in a claim's data. Raises `CannotRun`."""
        if claim.data is None:
            raise CannotRun("its payload is gone from Redis")
        if claim.crashes >= MAX_CRASHES:
            raise CannotRun(f"its worker was lost {claim.crashes} times while it ran")
        worker = self._worker
        try:
            name, args, kwargs, first, enqueued_ms = deserialize_job_raw(
                claim.data, deserializer=worker.job_deserializer
            )
            function = worker.functions.get(name)
            enqueued = ms_to_datetime(enqueued_ms)
            tries = claim.tries + max(int(first or 1) - 1, 0)  # `enqueue_job(_job_try=…)` may set the first
        except (SerializationError, TypeError, ValueError, OverflowError, OSError):
            raise CannotRun("it cannot be read: expected an arq job in msgpack") from None
        if function is None:
            raise CannotRun(f"no function {name!r:.100} in this worker")
        if tries > (worker.max_tries if function.max_tries is None else function.max_tries):
            raise CannotRun(f"it was started {tries - 1} times without an end")
        about = {"job_id": claim.job_id, "job_try": tries, "enqueue_time": enqueued, "score": int(claim.score)}
        return Call(function, args, kwargs, {**worker.ctx, **about, "fresh": claim.fresh}, enqueued_ms)

    async def _execute(self, claim: Claim, call: Call) -> Ending:
        """Make the call; any exception of its own becomes its ending."""
        started, success = timestamp_ms(), True
        function, ctx, worker = call.function, call.ctx, self._worker
        try:
            limit = worker.job_timeout_s if function.timeout_s is None else function.timeout_s
            async with asyncio.timeout(limit) if limit < math.inf else _NO_LIMIT:
                if worker.on_job_start:
                    await worker.on_job_start(ctx)
                result: Any = await function.coroutine(ctx, *call.args, **call.kwargs)
        except (Retry, RetryJob) as again:
            worker.jobs_retried += 1
            await call_hook(worker.on_job_end, ctx)
            return Ending("again", wait_ms=getattr(again, "defer_score", None) or 0)
        except BaseException as error:  # also KeyboardInterrupt and the like: the job raised it
            if is_being_cancelled():
                raise
            worker.jobs_failed += 1
            name = type(error).__name__  # its message may hold a payload
            log.error("job failed", job=claim.job_id, function=function.name, error=name)  # noqa: TRY400
            await self._bury(claim, error)
            result, success = error, False
        else:
            worker.jobs_complete += 1
        await call_hook(worker.on_job_end, ctx)
        return self._with_result(claim, call, started, result, success=success)

    def _with_result(self, claim: Claim, call: Call, started_ms: int, result: Any, *, success: bool) -> Ending:
        """An ending that stores the result for as long as arq's settings say."""
        if isinstance(result, FirstWrite):
            return Ending("done", first=result)
        function, worker = call.function, self._worker
        keep_s = worker.keep_result_s if function.keep_result_s is None else function.keep_result_s
        forever = worker.keep_result_forever if function.keep_result_forever is None else function.keep_result_forever
        if not (forever or keep_s):
            return Ending("done")
        data = serialize_result(
            function.name, call.args, call.kwargs, call.ctx["job_try"], call.enqueued_ms, success, result, started_ms,
            timestamp_ms(), f"{claim.job_id}:{function.name}", worker.queue_name, claim.job_id,
            serializer=worker.job_serializer,
        )  # fmt: skip
        if data is None:  # neither the result nor the arguments can be serialized
            return Ending("done")
        return Ending("done", result=data, result_ms=-1 if forever else round(keep_s * 1000))


async def call_hook(hook: Callable[[dict[Any, Any]], Awaitable[Any]] | None, ctx: dict[Any, Any]) -> None:
    """Call a hook and log its exception: the job must not run again because a hook failed."""
    try:
        if hook:
            await hook(ctx)
    except BaseException:  # any exception of the hook
        if is_being_cancelled():
            raise
        log.exception("a hook of the worker failed", job=ctx["job_id"])


def is_being_cancelled() -> bool:
    """Whether this task was cancelled from outside; a job may also raise CancelledError itself."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
