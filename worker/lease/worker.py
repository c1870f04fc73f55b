"""arq's Worker with a lease: nothing it claims is lost, and nothing it lost is finished twice.

Stock arq 0.28 deletes a job silently in seven ways, waits minutes after a kill -9, dies when Redis is away for three
seconds and drops a healthy job on the sixth restart. This subclass keeps what arq's documentation says of a job (its
context, `Retry`, time-outs, results, hooks) and replaces how jobs are claimed, run and finished:

* a batch is claimed in one call; a blocking pop on a wake list starts it at once;
* a lease of a few seconds is renewed from a thread of its own, so that a handler that blocks the event loop for a
  moment does not lose its job, and a killed worker's jobs run elsewhere within one lease;
* a claim ends under its token, so that a worker that was frozen and overtaken changes nothing;
* any trouble with Redis is waited out; a job's own trouble never reaches the loop, whatever it raises or cancels;
* what cannot be run or must not be run again goes to `bury`, payload and all.

What differs for those who enqueue with arq: a running job is not in the queue, so that `Job.result()` finds nothing
until it has ended; cron jobs, aborting and the options in `UNSUPPORTED` are refused.

Internals of arq this leans on, each held by a test in `tests/worker/lease/test_arq_contract.py`: the layout of a job
(`deserialize_job_raw`) and of a result (`serialize_result`), the keys' names, `Worker.functions`, `tasks`,
`allow_pick_jobs`, `main`, `close`, `record_health`, `_add_signal_handler` and the two signal handlers.
"""

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import structlog
from arq.connections import ArqRedis
from arq.worker import Function, Worker
from redis.exceptions import OutOfMemoryError

from receiver.queue.connection import REDIS_ERRORS, outage, until_redis_answers
from receiver.queue.jobs import pack, unpack
from receiver.queue.keys import Keys
from worker.lease.calls import Bury, Calls, StillRunning, call_hook
from worker.lease.claims import CLAIM_BYTES, Claim, Claims, Ending

POLL, SHORTEST_POLL = 0.5, 0.01
"""Seconds between looks at the queue when nothing wakes the worker, and at least between two because a job is due."""
UNSUPPORTED = frozenset(
    {"cron_jobs", "allow_abort_jobs", "retry_jobs", "max_burst_jobs", "poll_delay", "queue_read_limit"}
)
"""Options of arq's that would do nothing here."""

log = structlog.get_logger()


class LoopWatch(Protocol):
    """What looks at the worker's event loop from the lease's thread. `seen`: when it last answered (monotonic s)."""

    seen: float

    async def run(self) -> None:
        """Look until cancelled."""


class LeasedWorker(Worker):
    """See the module. Takes arq's own arguments, and `connect` (a client for each use), `keys`, `bury`, `watch` (makes
    a `LoopWatch` of a loop and a job's time-out), `lease` (s) and `lines` (for each event type the handlers that take
    events in order, and what each has a line for).

    Whoever made it may set `room`, which says how many bytes of jobs may be claimed now, and `stop_asked`, which a
    signal's handler calls before anything else.
    """

    room: Callable[[], int] = staticmethod(lambda: CLAIM_BYTES)
    stop_asked: Callable[[], None] = staticmethod(lambda: None)

    def __init__(  # noqa: PLR0913 - arq's own arguments and ours, each by its name
        self,
        functions: Sequence[Function],
        *,
        connect: Callable[[], ArqRedis],
        keys: Keys,
        bury: Bury,
        watch: Callable[[asyncio.AbstractEventLoop, float], LoopWatch],
        lease: float = 5.0,
        lines: Mapping[str, Mapping[str, str]] | None = None,
        **options: Any,
    ) -> None:
        if refused := UNSUPPORTED & options.keys():
            raise TypeError(f"LeasedWorker does not support {', '.join(sorted(refused))}")
        codec = {"job_deserializer": unpack, "job_serializer": pack}
        options = {"queue_name": keys.queue, "log_results": False, **codec, **options}
        super().__init__(functions, redis_pool=connect(), **options)
        self.pool.job_serializer, self.pool.job_deserializer = self.job_serializer, self.job_deserializer
        self.pool.default_queue_name = self.queue_name
        self._connect, self._keys, self._lease = connect, keys, lease
        self._claims = Claims(self.pool, keys, self.queue_name, lease, lines)
        self._calls = Calls(self, bury)
        self._held: dict[str, Claim] = {}
        self._ending: set[str] = set()
        self._lost: set[str] = set()
        self._slot_freed = asyncio.Event()
        self._watch = watch(self.loop, self.job_timeout_s)
        self._stop_renewing = threading.Event()

    async def main(self) -> None:
        """Claim and run until cancelled (or, with `burst`, until nothing is left)."""
        self.ctx |= {"redis": self.pool, "is_stopping": self.is_stopping}
        if self.on_startup:
            await self.on_startup(self.ctx)
        threading.Thread(target=self._keep_leases, name="lease", daemon=True).start()
        while True:
            try:
                if self.burst and await self._is_idle():
                    return
                await self._round()
            except asyncio.CancelledError:
                if not self._handle_signals or not self.allow_pick_jobs:
                    raise
                log.error("the worker was cancelled from within: only a signal stops it")  # noqa: TRY400 - no traceback

    def _add_signal_handler(self, signum: signal.Signals, handler: Callable[[signal.Signals], None]) -> None:
        """As arq's, by a handler of Python's: the loop's own forget a signal when an exception leaves the loop."""

        def stop(*_: object) -> None:
            self.allow_pick_jobs = False
            self.stop_asked()
            if not self.loop.is_closed():
                self.loop.call_soon_threadsafe(handler, signum)

        signal.signal(signum, stop)

    def is_stopping(self, job_id: str) -> bool:
        """Whether a job that is cancelled is cancelled by the worker: because it stops, or has lost the job's lease."""
        return not self.allow_pick_jobs or job_id in self._lost

    def stop(self) -> None:
        """End `main`, as a signal does."""
        self.allow_pick_jobs = False
        if self.main_task:
            self.main_task.cancel()

    async def close(self) -> None:
        """Let what was cancelled give its claims back, then close; Redis may be away."""
        if not self._handle_signals:
            self.allow_pick_jobs = False
            for task in self.tasks.values():
                task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks.values(), timeout=2)
        await self._abandon()
        await self._claims.stop()
        self._stop_renewing.set()
        if self.on_shutdown:
            await self.on_shutdown(self.ctx)
        with contextlib.suppress(*REDIS_ERRORS):
            async with asyncio.timeout(1):
                await self.pool.delete(self.health_check_key)
        with contextlib.suppress(*REDIS_ERRORS):
            await self.pool.aclose(close_connection_pool=True)

    async def _abandon(self) -> None:
        """End what still waits for a Redis that is away, one wait after the other; a lease's end hands it on."""
        for _ in range(20):
            if not self.tasks:
                return
            for task in self.tasks.values():
                task.cancel()
            await asyncio.wait(self.tasks.values(), timeout=0.05)

    # ── claim ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _round(self) -> None:
        try:
            free, room = self.max_jobs - len(self.tasks), min(self.room(), self._claims.most)
            if not self.allow_pick_jobs or free == 0 or room <= 0:
                await self._until_a_slot_is_free()
                return
            claims = await self._claim_or_give_back(free, room)
            for claim in claims:
                self._start(claim)
            with contextlib.suppress(OutOfMemoryError):  # a full Redis has to be drained all the same
                await self.record_health()  # arq's: its health key
            if self._is_with_a_suspect():
                await asyncio.sleep(0.05)  # the next one may start when this one ends: nobody would wake us for it
            elif len(claims) < free and sum(len(claim.data or b"") for claim in claims) < room:
                next_due = self._claims.next_due
                wait = POLL if next_due is None else min(max(next_due, SHORTEST_POLL), POLL)
                await self.pool.execute_command("BLPOP", self._keys.wake, wait)
        except REDIS_ERRORS as error:
            outage.trouble(self, error)
            await asyncio.sleep(0.2)
        except Exception:  # the loop must outlive whatever it is: arq's would stay up and never poll again
            log.exception("claiming failed")
            await asyncio.sleep(1)
        else:
            outage.over(self)

    async def _claim_or_give_back(self, want: int, room: int) -> list[Claim]:
        """Claim; jobs that arrive when the worker has just been told to stop go back unharmed."""
        claiming = asyncio.create_task(self._claims.take(want, alone=not self._is_with_a_suspect(), room=room))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            with contextlib.suppress(*REDIS_ERRORS):
                async with asyncio.timeout(1):
                    claims = await claiming
                    await asyncio.gather(*(self._claims.end(claim, Ending("release")) for claim in claims))
            raise

    def _is_with_a_suspect(self) -> bool:
        """Whether a job runs here whose workers were lost twice: only one such at a time."""
        return any(claim.crashes > 1 for claim in self._held.values())

    def _start(self, claim: Claim) -> None:
        self._held[claim.job_id] = claim
        if claim.job_id in self.tasks:  # its lease ran out because only renewing failed: it goes on under the new one
            return
        task = self.loop.create_task(self._run(claim))
        self.tasks[claim.job_id] = task
        task.add_done_callback(lambda _: self._ended(claim))

    def _ended(self, claim: Claim) -> None:
        del self.tasks[claim.job_id], self._held[claim.job_id]
        self._ending.discard(claim.job_id)
        self._lost.discard(claim.job_id)
        self._slot_freed.set()

    async def _until_a_slot_is_free(self) -> None:
        self._slot_freed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL):
                await self._slot_freed.wait()

    async def _is_idle(self) -> bool:
        keys = (self.queue_name, self._keys.leases)
        return not self.tasks and not await until_redis_answers(lambda: self.pool.zunion(keys))

    # ── renew ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _keep_leases(self) -> None:
        """The lease's thread: renews, and watches the event loop, until the worker closes, whatever goes wrong."""
        while not self._stop_renewing.is_set():
            try:
                asyncio.run(self._renew())
            except BaseException:  # a worker that no longer renews would lose every job that it runs
                log.exception("renewing failed")
                self._stop_renewing.wait(self._lease / 4)

    async def _renew(self) -> None:
        watching = asyncio.create_task(self._watch.run())
        redis = self._connect()
        claims = Claims(redis, self._keys, self.queue_name, self._lease)
        wait = self._lease / 4
        while not self._stop_renewing.is_set():
            await asyncio.sleep(wait)
            try:
                await self._renew_once(claims)
                wait = self._lease / 4
                outage.over(claims)
            except REDIS_ERRORS as error:
                outage.trouble(claims, error)
                wait = 0.1  # once Redis is back the lease clock goes on: do not let it run far
            except Exception:  # a worker that no longer renews would lose every job that it runs
                log.exception("renewing failed")
        watching.cancel()
        await redis.aclose()

    async def _renew_once(self, claims: Claims) -> None:
        held = list(self._held.values())
        blocked = time.monotonic() - self._watch.seen
        if not held or blocked > self.job_timeout_s + self._lease:  # a loop that hangs for good: let go
            return
        lost = set(await claims.renew(held))
        for claim in held:
            if claim.job_id in lost:
                self.loop.call_soon_threadsafe(self._drop, claim)

    def _drop(self, claim: Claim) -> None:
        """Another worker has this job now: what it runs here must not go on. What is ending needs no lease any more."""
        if self._held.get(claim.job_id) is claim and claim.job_id not in self._ending:
            log.warning("lease lost: another worker has taken over", job=claim.job_id)
            self._lost.add(claim.job_id)
            self.tasks[claim.job_id].cancel()

    # ── run ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _run(self, claim: Claim) -> None:
        """One job, from its claim to its ending."""
        ctx = None
        try:
            ending, ctx = await self._calls.make(claim)
        except asyncio.CancelledError:  # the try counts, unless it was the worker that cancelled it
            ending = Ending("release") if self.is_stopping(claim.job_id) else Ending("again", wait_ms=1000)
        except StillRunning:  # nothing is written, and its lease hands it on
            return
        except BaseException:  # it could not even be buried: the same
            log.exception("job not ended", job=claim.job_id)
            return
        self._ending.add(claim.job_id)
        await asyncio.shield(self._end(claim.job_id, ending))
        if ctx:
            await call_hook(self.after_job_end, ctx)

    async def _end(self, job_id: str, ending: Ending) -> None:
        """End the claim that is held by now: a later one than it was started with, where renewing failed meanwhile."""
        tried = None
        while tried is not (held := self._held[job_id]) and not await self._claims.end(held, ending):
            tried = held
