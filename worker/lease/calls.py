"""A claimed job as arq means it: a call of one of the worker's functions, with its context, time-out, hooks and tries.

What arq would end in silence goes to `bury`, payload and all.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog
from arq.jobs import SerializationError, deserialize_job_raw, serialize_result
from arq.utils import ms_to_datetime, timestamp_ms
from arq.worker import Retry, RetryJob, Worker

from worker.lease.claims import Claim, Ending

MAX_CRASHES = 5
"""Workers that may be lost while a job runs before it is buried; after two it runs beside no other suspect."""

log = structlog.get_logger()

Context = dict[Any, Any]
Bury = Callable[[Claim, str | BaseException], Awaitable[None]]
"""Keeps a job that will not be run again, with the reason, or what it raised; idempotent; before the job ends."""


class CannotRun(Exception):
    """A claim that must not be run, or not again: its message says why."""


class StillRunning(Exception):
    """Raised by a job whose work goes on although it was cancelled: nobody may have it before its lease ends."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a claim asks for: a function with its arguments and arq's context; enqueued at `enqueued_ms` (Unix ms)."""

    function: Any
    args: Any
    kwargs: Any
    ctx: dict[Any, Any]
    enqueued_ms: int


class Calls:
    """Makes the calls of one arq worker, whose functions, limits and hooks it takes."""

    def __init__(self, worker: Worker, bury: Bury) -> None:
        self._worker, self._bury = worker, bury

    async def make(self, claim: Claim) -> tuple[Ending, Context | None]:
        """How a claim ends, and the context of its call if there was one.

        Raises CancelledError when it was stopped, `StillRunning` when that was of no use.
        """
        try:
            call = self._read(claim)
        except CannotRun as reason:
            log.error("job buried", job=claim.job_id, reason=str(reason))  # noqa: TRY400 - one line says it
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
        """Run a job that is a call of one of our functions; whatever it raises becomes its ending."""
        started, success = timestamp_ms(), True
        function, ctx, worker = call.function, call.ctx, self._worker
        try:
            async with asyncio.timeout(worker.job_timeout_s if function.timeout_s is None else function.timeout_s):
                if worker.on_job_start:
                    await worker.on_job_start(ctx)
                result: Any = await function.coroutine(ctx, *call.args, **call.kwargs)
        except (Retry, RetryJob) as again:
            worker.jobs_retried += 1
            await call_hook(worker.on_job_end, ctx)
            return Ending("again", wait_ms=getattr(again, "defer_score", None) or 0)
        except BaseException as error:  # KeyboardInterrupt, an extension's own kind: they are the job's all the same
            if is_being_cancelled():
                raise
            worker.jobs_failed += 1
            name = type(error).__name__  # its text may be a payload
            log.error("job failed", job=claim.job_id, function=function.name, error=name)  # noqa: TRY400
            await self._bury(claim, error)
            result, success = error, False
        else:
            worker.jobs_complete += 1
        await call_hook(worker.on_job_end, ctx)
        return self._with_result(claim, call, started, result, success=success)

    def _with_result(self, claim: Claim, call: Call, started_ms: int, result: Any, *, success: bool) -> Ending:
        """An ending that keeps the result as long as arq's settings say."""
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
        if data is None:  # neither it nor its arguments can be written
            return Ending("done")
        return Ending("done", result=data, result_ms=-1 if forever else round(keep_s * 1000))


async def call_hook(hook: Callable[[dict[Any, Any]], Awaitable[Any]] | None, ctx: dict[Any, Any]) -> None:
    """A hook that fails does not undo what the job did: run again, it would have its effect twice."""
    try:
        if hook:
            await hook(ctx)
    except BaseException:  # whatever it is, it is the hook's
        if is_being_cancelled():
            raise
        log.exception("a hook of the worker failed", job=ctx["job_id"])


def is_being_cancelled() -> bool:
    """Whether this task was cancelled from outside; a job may also raise CancelledError by itself."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
