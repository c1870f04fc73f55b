"""Causes the planned faults. Lanes run concurrently; within a lane, one fault ends before the next begins."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress

from receiver.queue.connection import until_redis_answers
from tests.faults.cluster import Cluster
from tests.faults.proxy import QUIET, Proxy
from tests.faults.schedule import DAMAGE, Fault
from tests.faults.spools import damage

LOSS = 0.04
"""The share of messages lost while connections are being dropped."""
SLOW = 200_000.0
"""Bytes a second through a slow link: a large delivery exceeds the receiver's time-out for Redis."""
FILLER = "filler:"
SIGNALS = {"kill": signal.SIGKILL, "terminate": signal.SIGTERM, DAMAGE: signal.SIGKILL}


class Chaos:
    """Causes faults. `trouble` has the spans (Unix seconds) in which Valkey was unavailable.

    Workers reach Valkey through `proxy`, receivers through `link`.
    """

    def __init__(self, cluster: Cluster, proxy: Proxy, link: Proxy, tell: Callable[[str], None]) -> None:
        self._cluster, self._proxy, self._receivers_link, self._tell = cluster, proxy, link, tell
        self.trouble: list[tuple[float, float]] = []
        self.happened: Counter[str] = Counter()

    async def happen(self, faults: Sequence[Fault]) -> None:
        """Return when all faults are over and every process runs again."""
        start = time.monotonic()
        lanes = {fault.lane: [other for other in faults if other.lane == fault.lane] for fault in faults}
        async with asyncio.TaskGroup() as group:
            for lane in lanes.values():
                group.create_task(self._run_lane(lane, start))

    async def _run_lane(self, lane: Sequence[Fault], start: float) -> None:
        for fault in lane:
            await asyncio.sleep(start + fault.at - time.monotonic())
            where = "both of " if fault.target < 0 else ""
            self._tell(f"{fault.kind} {where}{fault.lane}")
            self.happened[f"{fault.lane}: {fault.kind}"] += 1
            await getattr(self, f"_{fault.lane}")(fault)

    async def _receivers(self, fault: Fault) -> None:
        """Wait until the receiver answers again before the next fault, so that never both are down."""
        receiver = self._cluster.receivers[fault.target]
        await receiver.strike(SIGNALS[fault.kind], fault.seconds)
        if fault.kind == DAMAGE:
            damage(self._cluster.spools[fault.target])
        await asyncio.sleep(fault.seconds)
        await receiver.until_ready()

    async def _workers(self, fault: Fault) -> None:
        workers = self._cluster.workers if fault.target < 0 else [self._cluster.workers[fault.target]]
        await asyncio.gather(*(worker.strike(SIGNALS[fault.kind], fault.seconds) for worker in workers))
        await asyncio.sleep(fault.seconds)

    async def _connections(self, fault: Fault) -> None:
        self._proxy.loss = self._receivers_link.loss = LOSS
        await asyncio.sleep(fault.seconds)
        self._proxy.loss = self._receivers_link.loss = QUIET

    async def _link(self, fault: Fault) -> None:
        self._receivers_link.rate = SLOW
        await asyncio.sleep(fault.seconds)
        self._receivers_link.rate = None

    async def _target(self, fault: Fault) -> None:
        """The external system fails, sends Retry-After, applies updates without an answer, or answers late."""
        orders = {
            "refuse for now": {"answers": [500, 503, 408] * 20},
            "ask for a pause": {"answers": [429] * 3, "retry_after": 1},
            "lose answers": {"answers": [502] * 20, "applied": True},
            "answer late": {"delay": 1.4},
        }
        control = f"{self._cluster.sink_url}/control/external"
        await self._cluster.http.post(control, json=orders[fault.kind])
        await asyncio.sleep(fault.seconds)
        await self._cluster.http.post(control, json={})

    async def _valkey(self, fault: Fault) -> None:
        began = time.time()
        match fault.kind:
            case "kill" | "terminate":
                await self._gone(SIGNALS[fault.kind], fault.seconds)
            case "take away":
                await self._gone(signal.SIGTERM, fault.seconds)
            case "freeze":
                self._cluster.valkey.freeze(frozen=True)
                await asyncio.sleep(fault.seconds)
                self._cluster.valkey.freeze(frozen=False)
                await self._cluster.valkey.until_ready()
            case _:
                await self._full(fault)
        self.trouble.append((began, time.time()))

    async def _gone(self, number: signal.Signals, seconds: float) -> None:
        await self._cluster.valkey.strike(number, seconds)
        await asyncio.sleep(seconds)
        await self._cluster.valkey.until_ready()

    async def _full(self, fault: Fault) -> None:
        redis = self._cluster.redis
        room = 0 if fault.kind == "lower its memory limit" else 4 << 20
        used = (await until_redis_answers(lambda: redis.info("memory")))["used_memory"]
        await until_redis_answers(lambda: redis.config_set("maxmemory", used + room))
        await self._fill(room)
        await asyncio.sleep(fault.seconds)
        await until_redis_answers(lambda: redis.config_set("maxmemory", 0))
        await until_redis_answers(lambda: redis.delete(*(f"{FILLER}{i}" for i in range(64))))

    async def _fill(self, room: int) -> None:
        with suppress(Exception):  # running out of memory is the purpose
            for number in range(room >> 16):
                await self._cluster.redis.set(f"{FILLER}{number}", b"x" * (1 << 16))
