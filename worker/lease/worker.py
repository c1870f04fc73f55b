"""arq's Worker with leases: no claimed job is lost, and a job whose lease was lost is not finished twice.

Stock arq 0.28 deletes a job silently in seven ways, waits minutes after a kill -9, ends when Redis is away for three
seconds and drops a healthy job at the sixth restart. This subclass keeps the documented semantics of a job (context,
`Retry`, time-outs, results, hooks) and replaces how jobs are claimed, run and finished:

* jobs are claimed in batches; a blocking pop on a wake list starts a claim at once;
* leases of a few seconds are renewed from a separate thread, so that a handler that blocks the event loop for a moment
  does not lose its job, and a killed worker's jobs run elsewhere within one lease;
* a claim ends under its fencing token, so that a worker that was frozen and lost its lease changes nothing;
* the worker waits while Redis is away; no exception or cancellation of a job ends the worker's loop;
* a job that cannot be run, or must not be run again, goes to `bury` with its payload.

Differences for callers of arq's `enqueue_job`: a running job is not in the queue, so `Job.result()` finds it only after
it has ended; cron jobs, aborting and the options in `UNSUPPORTED` are refused.

Tests in `tests/worker/lease/test_arq_contract.py` hold the internals of arq that this class uses: the layout of a job
(`deserialize_job_raw`) and of a result (`serialize_result`), the keys' names, `Worker.functions`, `tasks`,
`allow_pick_jobs`, `main`, `close`, `record_health`, `_add_signal_handler` and the two signal handlers.
"""

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

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
"""Most seconds between two claims when nothing wakes the worker, and least seconds when a job is due soon."""
UNSUPPORTED = frozenset(
    {"cron_jobs", "allow_abort_jobs", "retry_jobs", "max_burst_jobs", "poll_delay", "queue_read_limit"}
)
"""Options of arq that would have no effect here."""

log = structlog.get_logger()


class _Asked(NamedTuple):
    """A claim on its way: the most jobs and bytes that it may bring, and its reply."""

    want: int
    room: int
    reply: "asyncio.Task[list[Claim]]"


def _bytes_of(claims: Sequence[Claim]) -> int:
    return sum([len(claim.data or b"") for claim in claims])


class LoopWatch(Protocol):
    """Monitors the worker's event loop from the lease's thread. `seen`: when it last responded (monotonic s)."""

    seen: float

    async def run(self) -> None:
        """Monitor until cancelled."""


class LeasedWorker(Worker):
    """See the module. In addition to arq's arguments: `connect` makes a client, `keys`, `bury`, `watch` makes a
    `LoopWatch` for a loop and a job's time-out, `lease` in seconds, `lines` has for each event type the handlers with
    a line, and what each line is for.

    Two hooks may be set: `room` returns how many bytes of jobs may be claimed now; `stop_asked` is called first when a
    stop signal arrives.
    """

    room: Callable[[], int] = staticmethod(lambda: CLAIM_BYTES)
    stop_asked: Callable[[], None] = staticmethod(lambda: None)

    def __init__(  # noqa: PLR0913 - keyword arguments
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
        self._asked: _Asked | None = None
        self._watch = watch(self.loop, self.job_timeout_s)
        self._stop_renewing = threading.Event()

    async def main(self) -> None:
        """Claim and run jobs until cancelled, or with `burst` until none is left."""
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
        """As arq's, but with `signal.signal`: the loop's own handlers lose a signal if an exception leaves the loop."""

        def stop(*_: object) -> None:
            self.allow_pick_jobs = False
            self.stop_asked()
            if not self.loop.is_closed():
                self.loop.call_soon_threadsafe(handler, signum)

        signal.signal(signum, stop)

    def is_stopping(self, job_id: str) -> bool:
        """Whether the worker cancels this job: because it stops, or has lost the job's lease."""
        return not self.allow_pick_jobs or job_id in self._lost

    def stop(self) -> None:
        """End `main`, as a signal does."""
        self.allow_pick_jobs = False
        if self.main_task:
            self.main_task.cancel()

    async def close(self) -> None:
        """Release the claims of cancelled jobs, then close; calls of a Redis that may be away wait at the same time."""
        await asyncio.gather(self._give_back(), self._take_back_health())
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
            await self.pool.aclose(close_connection_pool=True)

    async def _abandon(self) -> None:
        """Cancel tasks that wait for Redis, repeatedly, because a task may wait again; their leases expire."""
        for _ in range(20):
            if not self.tasks:
                return
            for task in self.tasks.values():
                task.cancel()
            await asyncio.wait(self.tasks.values(), timeout=0.05)

    # ── claim ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _round(self) -> None:
        try:
            if (asked := self._asked or self._ask()) is None:
                await self._until_a_slot_is_free()
                return
            claims = await self._reply_to(asked)
            are_all = len(claims) < asked.want and _bytes_of(claims) < asked.room
            if not are_all:
                self._ask(claims)  # on its way while these run
            for claim in claims:
                self._start(claim)
            with contextlib.suppress(OutOfMemoryError):  # a full Redis must be drained too
                await self.record_health()  # arq's: its health key
            if self._is_with_a_suspect():
                await asyncio.sleep(0.05)  # poll: nothing wakes the worker when the suspect ends and the next may start
            elif are_all:
                next_due = self._claims.next_due
                wait = POLL if next_due is None else min(max(next_due, SHORTEST_POLL), POLL)
                await self.pool.execute_command("BLPOP", self._keys.wake, wait)
        except REDIS_ERRORS as error:
            outage.trouble(self, error)
            await asyncio.sleep(0.2)
        except Exception:  # the loop must go on; arq's worker would keep running without polling
            log.exception("claiming failed")
            await asyncio.sleep(1)
        else:
            outage.over(self)

    def _ask(self, claims: Sequence[Claim] = ()) -> _Asked | None:
        """Ask for jobs to run beside the running ones and `claims`, which are about to run; None if there is no room.

        For half of what may run, so that Redis claims and ends one half while the other runs. A job that only waits for
        its end to be written needs no slot.
        """
        running, most = len(self.tasks) - len(self._ending) + len(claims), self.max_jobs
        want = min(most - running, 2 * most - len(self.tasks) - len(claims), (most + 1) // 2)
        room = min(self.room() - _bytes_of(claims), self._claims.most)
        if not self.allow_pick_jobs or want <= 0 or room <= 0:
            return None
        take = self._claims.take(want, alone=not self._is_with_a_suspect(claims), room=room)
        self._asked = _Asked(want, room, self.loop.create_task(take))
        return self._asked

    async def _reply_to(self, asked: _Asked) -> list[Claim]:
        await asyncio.wait([asked.reply])  # if this is cancelled, `close` gives back what arrives
        self._asked = None
        return asked.reply.result()

    async def _give_back(self) -> None:
        """Release the jobs of a claim on its way: they were claimed for a worker that stops."""
        if self._asked:
            with contextlib.suppress(*REDIS_ERRORS):
                async with asyncio.timeout(1):
                    claims = await self._reply_to(self._asked)
                    await asyncio.gather(*(self._claims.end(claim, Ending("release")) for claim in claims))

    async def _take_back_health(self) -> None:
        """Delete arq's health key, so that nobody thinks that this worker runs."""
        with contextlib.suppress(*REDIS_ERRORS):
            async with asyncio.timeout(1):
                await self.pool.delete(self.health_check_key)

    def _is_with_a_suspect(self, claims: Sequence[Claim] = ()) -> bool:
        """Whether a job runs here, or is about to, that has lost two workers: a worker runs one such job at a time."""
        return any(claim.crashes > 1 for claim in (*self._held.values(), *claims))

    def _start(self, claim: Claim) -> None:
        self._held[claim.job_id] = claim
        if claim.job_id in self.tasks:  # its lease expired and was claimed again here: it goes on under the new claim
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
        """The lease's thread: renews leases and monitors the event loop until the worker closes."""
        while not self._stop_renewing.is_set():
            try:
                asyncio.run(self._renew())
            except BaseException:  # without renewal the worker would lose all its jobs
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
                wait = 0.1  # renew soon after Redis is back, because the lease clock goes on then
            except Exception:  # without renewal the worker would lose all its jobs
                log.exception("renewing failed")
        watching.cancel()
        await redis.aclose()

    async def _renew_once(self, claims: Claims) -> None:
        held = list(self._held.values())
        blocked = time.monotonic() - self._watch.seen
        if not held or blocked > self.job_timeout_s + self._lease:  # the loop hangs: let the leases expire
            return
        lost = set(await claims.renew(held))
        for claim in held:
            if claim.job_id in lost:
                self.loop.call_soon_threadsafe(self._drop, claim)

    def _drop(self, claim: Claim) -> None:
        """Cancel a job that another worker has taken over, unless it is already ending."""
        if self._held.get(claim.job_id) is claim and claim.job_id not in self._ending:
            log.warning("lease lost: another worker has taken over", job=claim.job_id)
            self._lost.add(claim.job_id)
            self.tasks[claim.job_id].cancel()

    # ── run ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _run(self, claim: Claim) -> None:
        """Run one job from its claim to its ending."""
        ctx = None
        try:
            ending, ctx = await self._calls.make(claim)
        except asyncio.CancelledError:  # a cancellation by the worker does not count as a try
            ending = Ending("release") if self.is_stopping(claim.job_id) else Ending("again", wait_ms=1000)
        except StillRunning:  # do not end the claim: another worker gets the job when the lease expires
            return
        except BaseException:  # burying failed: as above
            log.exception("job not ended", job=claim.job_id)
            return
        self._ending.add(claim.job_id)
        self._slot_freed.set()
        await self._end(claim.job_id, ending)  # cancelled here, it is sent all the same
        if ctx:
            await call_hook(self.after_job_end, ctx)

    async def _end(self, job_id: str, ending: Ending) -> None:
        """End the job's claim; if this worker has claimed its own job again, end it under the newer token."""
        tried = None
        while tried is not (held := self._held[job_id]) and not await self._claims.end(held, ending):
            tried = held
