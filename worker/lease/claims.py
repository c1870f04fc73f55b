"""Claims of jobs under a lease: claimed in batches, renewed, and ended under a fencing token.

Each of these is one idempotent script, because a reply may be lost and the call repeated.
"""

import json
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgpack
from arq.connections import ArqRedis
from arq.constants import result_key_prefix

from receiver.queue.batching import Batcher
from receiver.queue.connection import until_redis_answers
from receiver.queue.keys import IN_PROGRESS, JOB, OLD_QUEUE, RETRY, Keys
from receiver.queue.scripts import Script

CLAIM_BYTES = 4 << 20
"""Most bytes of jobs in one claim (at least one job), so that the reply arrives within its time-out."""

FIRST_BYTES = 1 << 20
"""What the first claim of a worker takes: then as many as arrive within a quarter of the lease."""
PAGE = 2000
"""Jobs of the old queue that one call looks at: about a millisecond of Redis."""
_CLAIM, _RENEW, _FINISH, _ADOPT = (Script.load(name) for name in ("claim.lua", "renew.lua", "finish.lua", "adopt.lua"))
_packer = msgpack.Packer(use_bin_type=False)  # shared, because each one allocates a buffer


class Claim(NamedTuple):
    """A claimed job, held while its lease is renewed. `score` is its due time (ms); `tries` includes this start.

    `fresh` means that it was never started before; `tries` alone cannot tell, because a released claim's try is undone.
    """

    job_id: str
    token: str
    score: float
    tries: int
    crashes: int
    fresh: bool
    data: bytes | None


class FirstWrite(NamedTuple):
    """What a job returns for a write in the same step as its end, possible only where nobody has started it before.

    `row` is what finish.lua takes. `otherwise` writes the same in a step of its own, whatever was written before.
    """

    row: Sequence[Any]
    otherwise: Callable[[], Awaitable[None]]


class Ending(NamedTuple):
    """How a claim ends: for good, to run again after `wait_ms`, or released as if it had never been claimed.

    A `result` is stored for `result_ms`, -1 for ever. `first` is written before the claim ends, lost or not.
    """

    how: Literal["done", "again", "release"]
    wait_ms: int = 0
    result: bytes = b""
    result_ms: int = 0
    first: FirstWrite | None = None


class Claims:
    """One worker's calls to the queue. `lease` in seconds.

    `next_due`: in how many seconds another job is due, according to the last `take`; None if there was none.
    `lines`: for each event type, the handlers with a line, and what each line is for: subject or handler.
    """

    def __init__(
        self,
        redis: ArqRedis,
        keys: Keys,
        queue: str,
        lease: float,
        lines: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self._redis, self._queue, self._keys = redis, queue, keys
        self._lease_ms = round(lease * 1000)
        self._stall_ms = self._lease_ms * 2 // 5
        self._lines = json.dumps(lines) if lines else ""
        self._claimed = keys.claimed(uuid.uuid4().hex)
        self._token = uuid.uuid4().hex
        self._place = 0  # position in the old queue
        self.next_due: float | None = None
        self.most = min(FIRST_BYTES, CLAIM_BYTES)
        """Bytes to claim at once: behind a slow link a lease would end before the reply is there."""
        self._ending: Batcher[tuple[Claim, Ending], bool] = Batcher(self._send_endings)

    async def take(self, want: int, *, alone: bool, room: int | None = None) -> list[Claim]:
        """Claim up to `want` jobs and `room` bytes (CLAIM_BYTES); `alone`: one may be a job that has lost workers.

        If the reply is lost, the next call returns the same claims.
        """
        began = time.monotonic()
        next_due, *flat = await _CLAIM(
            self._redis,
            keys=[self._queue, self._keys.leases, self._keys.lease_clock, self._keys.crashes, self._claimed],
            args=[
                *(want, CLAIM_BYTES if room is None else room, self._lease_ms, self._stall_ms, self._token, int(alone)),
                *(IN_PROGRESS, RETRY, JOB, self._keys.prefix, self._lines),
            ],
        )
        is_late = time.monotonic() - began > self._lease_ms / 4000
        self.most = max(1, self.most // 2) if is_late else min(CLAIM_BYTES, self.most * 2)
        token, self._token = self._token, uuid.uuid4().hex
        self.next_due = None if next_due < 0 else next_due / 1000
        claims = []
        for start in range(0, len(flat), 6):
            job_id, score, tries, crashes, fresh, data = flat[start : start + 6]
            claims.append(Claim(job_id.decode(), token, float(score), tries, crashes, bool(fresh), data))
        return claims

    async def renew(self, claims: Sequence[Claim]) -> list[str]:
        """Renew leases; returns the ids of jobs that another worker holds now."""
        pairs = [part for claim in claims for part in (claim.job_id, claim.token)]
        lost = await _RENEW(
            self._redis,
            keys=[self._keys.leases, self._keys.lease_clock],
            args=[self._lease_ms, self._stall_ms, IN_PROGRESS, *pairs],
        )
        return [job_id.decode() for job_id in lost]

    async def adopt(self) -> int:
        """Take over jobs of this prefix from version 0.1's queue, one page a call; returns how many."""
        self._place, moved = await _ADOPT(
            self._redis,
            keys=[OLD_QUEUE, self._queue, self._keys.wake],
            args=[self._place, PAGE, self._keys.delivery(""), IN_PROGRESS],
        )
        return int(moved)

    async def end(self, claim: Claim, ending: Ending) -> bool:
        """End a claim, and wait while Redis is away; False, without a change, if the lease was lost."""
        return await self._ending.add((claim, ending), len(ending.result))

    async def stop(self) -> None:
        """Wait briefly for endings in flight; the leases of the others expire."""
        await self._ending.stop(0.5)

    async def _send_endings(self, endings: Sequence[tuple[Claim, Ending]]) -> list[bool]:
        for claim, ending in endings:
            if ending.first and not claim.fresh:  # claimed here again: another worker may have run it meanwhile
                await ending.first.otherwise()
        rows = [
            (
                *(claim.job_id, claim.token, how, repr(claim.score) if how == "release" else "", wait_ms),
                *(result, result_ms, first.row if first and claim.fresh else ()),
            )
            for claim, (how, wait_ms, result, result_ms, first) in endings
        ]
        keys = [self._queue, self._keys.leases, self._keys.crashes, self._keys.counts]
        prefixes = (IN_PROGRESS, RETRY, JOB, result_key_prefix, self._keys.prefix)
        packed = [_packer.pack(value) for value in (prefixes, rows)]
        ended = await until_redis_answers(lambda: _FINISH(self._redis, keys, packed))
        for (claim, ending), has_ended in zip(endings, ended, strict=True):
            if ending.first and claim.fresh and not has_ended:  # the lease or a reply was lost
                await ending.first.otherwise()
        return [bool(one) for one in ended]
