"""arq's Worker with a lease: nothing it claims is lost, and nothing it lost is finished twice.

Stock arq 0.28 deletes a job silently in seven ways, waits minutes after a kill -9, dies when Redis is away for three
seconds and drops a healthy job on the sixth restart. This subclass keeps what arq's documentation says of a job (its
context, `Retry`, time-outs, results, hooks) and replaces how jobs are claimed, run and finished:

* `claim.lua` claims a batch in one call; a blocking pop on a wake list starts it at once;
* a lease of a few seconds is renewed from a thread of its own, so that a handler that blocks the event loop for a
  moment does not lose its job, and a killed worker's jobs run elsewhere within one lease;
* `finish.lua` ends a claim under its token, so that a worker that was frozen and overtaken changes nothing;
* any trouble with Redis is waited out; a job's own trouble never reaches the loop;
* what cannot be run or must not be run again goes to `bury`, payload and all.

Internals of arq this leans on, each held by a test in `tests/worker/test_arq_contract.py`: the layout of a job
(`deserialize_job_raw`), the keys' names, `Worker.functions`, `tasks`, `job_counter`, `allow_pick_jobs`, `main`,
`close`, and the two signal handlers.
"""

import asyncio
import contextlib
import json
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgpack
import structlog
from arq.connections import ArqRedis
from arq.constants import result_key_prefix
from arq.jobs import SerializationError, deserialize_job_raw, serialize_result
from arq.utils import ms_to_datetime, timestamp_ms
from arq.worker import Function, Retry, RetryJob, Worker
from redis.commands.core import AsyncScript

from receiver.connection import TROUBLE, insist
from receiver.delivery import unpack
from receiver.keys import IN_PROGRESS, JOB, RETRY, Keys
from receiver.together import Together

MAX_CRASHES = 5
"""Workers that may be lost while a job runs before it is buried instead of started; after two it runs beside no other suspect."""
POLL = 0.5
"""Seconds between looks at the queue when nothing wakes the worker: how late a deferred job may start."""

log = structlog.get_logger()


def script(name: str) -> str:
    """The text of one of this package's Lua scripts."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that is ours while its lease is renewed. `score` is its due time (ms), `tries` counts this start.

    `fresh` says that nobody has ever started it: `tries` may be 1 again where a try was given back.
    """

    job_id: str
    token: str
    score: float
    tries: int
    crashes: int
    fresh: bool
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Ending:
    """How a claim ends: for good, again at `score`, or given back as if it had never been claimed."""

    how: Literal["done", "again", "release"]
    score: float = 0
    result: bytes = b""
    result_ms: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a function returned or raised, and when it was enqueued and started (Unix ms)."""

    started_ms: int
    enqueued_ms: int
    result: Any
    success: bool


Bury = Callable[[Claim, str], Awaitable[None]]
"""Keeps a job that will not be run again, with the reason; must be idempotent, and is called before the job ends."""


class LeasedWorker(Worker):
    """See the module. Takes arq's own arguments, and `connect` (a client for each use), `keys`, `bury`, `lease` (s) and
    `ordered` (handlers that take one subject's events in order, by event type).
    """

    def __init__(
        self,
        functions: Sequence[Function],
        *,
        connect: Callable[[], ArqRedis],
        keys: Keys,
        bury: Bury,
        lease: float = 5.0,
        ordered: Mapping[str, Sequence[str]] | None = None,
        **options: Any,
    ) -> None:
        options = {"job_deserializer": unpack, "job_serializer": pack, "log_results": False, **options}
        super().__init__(functions, redis_pool=connect(), **options)
        self._connect, self._keys, self._bury = connect, keys, bury
        self._lease_ms = round(lease * 1000)
        self._stall_ms = self._lease_ms * 2 // 5
        self._ordered = json.dumps(ordered) if ordered else ""
        self._claims: dict[str, Claim] = {}
        self._claimed = keys.claimed(uuid.uuid4().hex)
        self._token = uuid.uuid4().hex
        self._claim_script = self.pool.register_script(script("claim.lua"))
        self._finish_script = self.pool.register_script(script("finish.lua"))
        self._finishing: Together[tuple[Claim, Ending], bool] = Together(self._send_endings)
        self._slot_freed = asyncio.Event()
        self._loop_seen = time.monotonic()
        self._stop_renewing = threading.Event()

    async def main(self) -> None:
        """Claim and run until cancelled (or, with `burst`, until nothing is left)."""
        self.ctx["redis"] = self.pool
        if self.on_startup:
            await self.on_startup(self.ctx)
        threading.Thread(target=lambda: asyncio.run(self._renew()), name="lease", daemon=True).start()
        while not (self.burst and await self._is_idle()):
            await self._round()

    async def close(self) -> None:
        """Let what was cancelled give its claims back, then close; Redis may be away."""
        if not self._handle_signals:
            self.allow_pick_jobs = False
            for task in self.tasks.values():
                task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks.values(), timeout=2)
        await self._abandon()
        self._stop_renewing.set()
        if self.on_shutdown:
            await self.on_shutdown(self.ctx)
        with contextlib.suppress(*TROUBLE):
            async with asyncio.timeout(1):
                await self.pool.delete(self.health_check_key)
        with contextlib.suppress(*TROUBLE):
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
        self._loop_seen = time.monotonic()
        try:
            free = self.max_jobs - len(self.tasks)
            if not self.allow_pick_jobs or free == 0:
                await self._until_a_slot_is_free()
                return
            claims = await self._claim_or_give_back(free)
            for claim in claims:
                self._start(claim)
            await self.heart_beat()  # arq's: its health key, and cron jobs if there are any
            if self._is_with_a_suspect():
                await asyncio.sleep(0.05)  # the next one may start when this one ends: nobody would wake us for it
            elif len(claims) < free:
                await self.pool.execute_command("BLPOP", self._keys.wake, POLL)
        except TROUBLE as error:
            log.warning("redis is away: waiting to claim", error=f"{type(error).__name__}: {error}")
            await asyncio.sleep(0.2)
        except Exception:  # the loop must outlive whatever it is: arq's would stay up and never poll again
            log.exception("claiming failed")
            await asyncio.sleep(1)

    async def _claim_or_give_back(self, want: int) -> list[Claim]:
        """Claim; jobs that arrive when the worker has just been told to stop go back unharmed."""
        claiming = asyncio.create_task(self._claim(want))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            with contextlib.suppress(*TROUBLE):
                async with asyncio.timeout(1):
                    endings = [(claim, Ending("release", claim.score)) for claim in await claiming]
                    await asyncio.gather(*(self._finishing.add(ending) for ending in endings))
            raise

    async def _claim(self, want: int) -> list[Claim]:
        """Claim up to `want` jobs. Should the answer be lost, the next call asks for the same ones again."""
        alone = not self._is_with_a_suspect()
        flat = await self._claim_script(
            keys=[self.queue_name, self._keys.leases, self._keys.lease_clock, self._keys.crashes, self._claimed],
            args=[
                *(want, self._lease_ms, self._stall_ms, self._token, int(alone), IN_PROGRESS, RETRY, JOB),
                *(self._keys.prefix, self._ordered),
            ],
        )
        token, self._token = self._token, uuid.uuid4().hex
        return [
            Claim(job_id.decode(), token, float(score), tries, crashes, bool(fresh), data)
            for job_id, score, tries, crashes, fresh, data in zip(*[iter(flat)] * 6, strict=True)
        ]

    def _is_with_a_suspect(self) -> bool:
        """Whether a job runs here whose workers were lost twice: only one such at a time."""
        return any(claim.crashes > 1 for claim in self._claims.values())

    def _start(self, claim: Claim) -> None:
        self._claims[claim.job_id] = claim
        task = self.loop.create_task(self._run(claim))
        self.tasks[claim.job_id] = task
        task.add_done_callback(lambda _: self._ended(claim))

    def _ended(self, claim: Claim) -> None:
        del self.tasks[claim.job_id], self._claims[claim.job_id]
        self._slot_freed.set()

    async def _until_a_slot_is_free(self) -> None:
        self._slot_freed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL):
                await self._slot_freed.wait()

    async def _is_idle(self) -> bool:
        waiting = await self.pool.zcard(self.queue_name) + await self.pool.zcard(self._keys.leases)
        return waiting == 0 and not self.tasks

    # ── renew ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _renew(self) -> None:
        redis = self._connect()
        renew = redis.register_script(script("renew.lua"))
        wait = self._lease_ms / 4000
        while not self._stop_renewing.is_set():
            await asyncio.sleep(wait)
            try:
                await self._renew_once(renew)
                wait = self._lease_ms / 4000
            except TROUBLE:
                wait = 0.1  # once Redis is back the lease clock goes on: do not let it run far
            except Exception:  # a worker that no longer renews would lose every job that it runs
                log.exception("renewing failed")
        await redis.aclose()

    async def _renew_once(self, renew: AsyncScript) -> None:
        claims = list(self._claims.values())
        blocked = time.monotonic() - self._loop_seen
        if not claims or blocked > self.job_timeout_s + self._lease_ms / 1000:  # a loop that hangs for good: let go
            return
        pairs = [part for claim in claims for part in (claim.job_id, claim.token)]
        lost = await renew(
            keys=[self._keys.leases, self._keys.lease_clock],
            args=[self._lease_ms, self._stall_ms, IN_PROGRESS, *pairs],
        )
        for job_id in lost:
            self.loop.call_soon_threadsafe(self._drop, job_id.decode())

    def _drop(self, job_id: str) -> None:
        """Another worker has this job now: what it runs here must not go on."""
        if (task := self.tasks.get(job_id)) and job_id in self._claims:
            log.warning("lease lost: another worker has taken over", job=job_id)
            task.cancel()

    # ── run ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _run(self, claim: Claim) -> None:
        """One job, from its claim to its ending."""
        try:
            ending = await self._execute(claim)
        except asyncio.CancelledError:  # the worker stops, or the lease was lost: the try did not count
            ending = Ending("release", claim.score)
        await asyncio.shield(self._finishing.add((claim, ending), len(ending.result)))

    async def _execute(self, claim: Claim) -> Ending:
        if claim.data is None:
            return await self._end_buried(claim, "its payload is gone from Redis")
        if claim.crashes >= MAX_CRASHES:
            return await self._end_buried(claim, f"its worker was lost {claim.crashes} times while it ran")
        try:
            name, args, kwargs, _, enqueued_ms = deserialize_job_raw(claim.data, deserializer=self.job_deserializer)
        except SerializationError:
            return await self._end_buried(claim, "it cannot be read: expected an arq job in msgpack")
        function = self.functions.get(name)
        if function is None:
            return await self._end_buried(claim, f"no function {name!r} in this worker")
        if claim.tries > (self.max_tries if function.max_tries is None else function.max_tries):
            return await self._end_buried(claim, f"it was started {claim.tries - 1} times without an end")
        return await self._call(claim, function, args, kwargs, enqueued_ms)

    async def _call(self, claim: Claim, function: Any, args: Any, kwargs: Any, enqueued_ms: int) -> Ending:
        ctx = {
            **self.ctx,
            "job_id": claim.job_id,
            "job_try": claim.tries,
            "fresh": claim.fresh,
            "enqueue_time": ms_to_datetime(enqueued_ms),
            "score": int(claim.score),
        }
        started = timestamp_ms()
        try:
            async with asyncio.timeout(self.job_timeout_s if function.timeout_s is None else function.timeout_s):
                if self.on_job_start:
                    await self.on_job_start(ctx)
                result: Any = await function.coroutine(ctx, *args, **kwargs)
                if self.on_job_end:
                    await self.on_job_end(ctx)
        except (Retry, RetryJob) as again:
            self.jobs_retried += 1
            return Ending("again", timestamp_ms() + (getattr(again, "defer_score", None) or 0))
        except (Exception, asyncio.CancelledError) as error:
            if _is_being_cancelled():
                raise
            self.jobs_failed += 1
            await self._bury(claim, f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
            result, success = error, False
        else:
            self.jobs_complete += 1
            success = True
        return self._keep_result(claim, function, Outcome(started, enqueued_ms, result, success))

    async def _end_buried(self, claim: Claim, reason: str) -> Ending:
        self.jobs_failed += 1
        log.error("job buried", job=claim.job_id, reason=reason)
        await self._bury(claim, reason)
        return Ending("done")

    def _keep_result(self, claim: Claim, function: Any, outcome: Outcome) -> Ending:
        """An ending that keeps the result as long as arq's settings say."""
        keep_s = self.keep_result_s if function.keep_result_s is None else function.keep_result_s
        forever = self.keep_result_forever if function.keep_result_forever is None else function.keep_result_forever
        if not (forever or keep_s):
            return Ending("done")
        data = serialize_result(
            function.name, (), {}, claim.tries, outcome.enqueued_ms, outcome.success, outcome.result,
            outcome.started_ms, timestamp_ms(), f"{claim.job_id}:{function.name}", self.queue_name, claim.job_id,
            serializer=self.job_serializer,
        )  # fmt: skip
        return Ending("done", result=data or b"", result_ms=-1 if forever else round(keep_s * 1000))

    # ── finish ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _send_endings(self, endings: Sequence[tuple[Claim, Ending]]) -> list[bool]:
        rows = [(c.job_id, c.token, e.how, repr(e.score), e.result, e.result_ms) for c, e in endings]
        keys = [self.queue_name, self._keys.leases, self._keys.crashes]
        prefixes = (IN_PROGRESS, RETRY, JOB, result_key_prefix)
        packed = [msgpack.packb(value, use_bin_type=False) for value in (prefixes, rows)]
        return [bool(ended) for ended in await insist(lambda: self._finish_script(keys=keys, args=packed))]


def _is_being_cancelled() -> bool:
    """Whether this task was cancelled from outside; a job may also raise CancelledError by itself."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def pack(value: Any) -> bytes:
    """A job or a result in msgpack; what msgpack does not know (an exception) is kept as its text, never pickled."""
    packed: bytes = msgpack.packb(value, default=repr)
    return packed
