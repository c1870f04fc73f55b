"""One run: starts a cluster, sends load, causes faults, waits for the drain, and checks the ledger."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from receiver.queue.connection import REDIS_ERRORS
from tests.faults import books, effects, handlers, other_sides, schedule, spools
from tests.faults.chaos import Chaos
from tests.faults.cluster import TOKEN, Cluster, Kind, running
from tests.faults.ledger import Evidence
from tests.faults.load import Load
from tests.faults.proxy import Proxy
from tests.faults.verdict import Verdict, judge, judge_kit

DRAIN = 60.0
"""Seconds in which all work has to be done after the last fault and the last delivery."""
NAIVE_DRAIN = 10.0
"""The same for the naive receiver: do not wait for its interrupted jobs, which arq blocks for five minutes."""
KIT = Kind(
    receiver=("-m", "receiver"),
    worker=("-m", "worker"),
    env={
        "HANDLERS": f"{handlers.__name__}:ROUTES",
        "RETRY_BASE": "0.2s",
        "RETRY_CAP": "2s",
        "SHUTDOWN_GRACE": "1s",  # shorter than the slowest handlers, so that SIGTERM interrupts some
        "LOG_FORMAT": "json",
        "EXTERNAL_TIMEOUT": "1s",
        "EXTERNAL_BREAKER_OPEN": "1s",
    },
)
NAIVE = Kind(receiver=("-m", "tests.faults.naive", "receiver"), worker=("-m", "tests.faults.naive", "worker"), env={})


@dataclass(frozen=True)
class Order:
    """What to run: `seconds` at `rate` unique events a second, with the faults of `seed`."""

    seed: int
    seconds: float
    rate: float
    naive: bool = False

    def kind(self) -> Kind:
        """With even seeds the receivers share a spool, with odd ones each has its own."""
        return NAIVE if self.naive else replace(KIT, shared_spool=self.seed % 2 == 0)


async def run(order: Order, directory: Path, tell: Callable[[str], None]) -> Verdict:
    """Run once, with files in `directory`, and return the verdict; `tell` is called with progress."""
    async with (
        running(order.kind(), directory) as cluster,
        Proxy(cluster.proxy_port, cluster.valkey_port, order.seed) as proxy,
        Proxy(cluster.link_port, cluster.valkey_port, order.seed + 1) as link,
    ):
        for member in (cluster.sink, *cluster.receivers):
            await member.until_ready()
        load = Load(
            [f"{url}/webhooks/glartek/{TOKEN}" for url in cluster.urls],
            seed=order.seed, rate=order.rate, seconds=order.seconds,
        )  # fmt: skip
        chaos = Chaos(
            cluster, proxy, link, lambda what: tell(f"{len(load.answers.acknowledged)} acknowledged · {what}")
        )
        await asyncio.gather(load.send(), chaos.happen(schedule.plan(order.seed, order.seconds)))
        proxy.loss = link.loss = 0.0
        tell("draining")
        recovered = await asyncio.to_thread(spools.recover, set(cluster.spools))
        drained_after = await _drained(cluster, within=NAIVE_DRAIN if order.naive else DRAIN)
        evidence = await _evidence(order, cluster, load, chaos)
        verdict = (judge if order.naive else judge_kit)(evidence, load.answers, cluster, drained_after)
        verdict.numbers["damaged spools recovered"] = recovered
        return verdict


async def _drained(cluster: Cluster, within: float) -> float | None:
    """Seconds until no job waited or ran and the spools were empty; None if that took too long."""
    began = time.monotonic()
    while time.monotonic() - began < within:
        if await _is_drained(cluster):
            return time.monotonic() - began
        await asyncio.sleep(0.2)
    return None


async def _is_drained(cluster: Cluster) -> bool:
    healths = [await cluster.health(index) for index in range(len(cluster.receivers))]
    try:
        return all(health and not health.get("spooled") for health in healths) and not await books.work_left(
            cluster.redis
        )
    except REDIS_ERRORS:
        return False


async def _evidence(order: Order, cluster: Cluster, load: Load, chaos: Chaos) -> Evidence:
    runs = list(effects.read(cluster.directory))
    others: list[str] = []
    if order.naive:
        found = await books.read_naive(cluster.redis, handlers.NAMES)
        # arq keeps no record of a job that gave up: use the handler's journal
        found.outcomes |= {(run.event, run.handler): books.Recorded("dead") for run in runs if run.how == "gave up"}
    else:
        found = await books.read(cluster.redis, handlers.NAMES)
        others = await other_sides.mistakes(cluster, runs, load.answers.work_orders)
    kills = {life: kill for member in cluster.members for life, kill in member.kills.items()}
    return Evidence(load.answers.acknowledged, runs, kills, found, handlers.NAMES, chaos.trouble, others)
