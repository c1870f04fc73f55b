"""The worker put together: settings, routes, clients, arq's worker with a lease."""

import asyncio
import json
import math
import os
import random
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import structlog
from arq.connections import ArqRedis
from arq.worker import Function, func

from receiver import logs, variables
from receiver.alerts.alerting import Alerting
from receiver.alerts.settings import AlertSettings
from receiver.background import Run, background
from receiver.client import Client
from receiver.environment import SettingsError, load
from receiver.queue.connection import REDIS_ERRORS, connect
from receiver.queue.jobs import FUNCTION
from receiver.queue.keys import Keys
from receiver.tally import Reports
from receiver.traces import Traces
from worker import burying, importing, job
from worker.error_text import describe
from worker.handling import Threads
from worker.lease.claims import Claim, Claims
from worker.lease.worker import LeasedWorker
from worker.loop_watch import Watch
from worker.memory import PER_BYTE, Memory
from worker.outcomes import Outcomes
from worker.process import Within
from worker.routes import RouteTable
from worker.services import Services
from worker.settings import WorkerSettings
from worker.sightings import Sightings
from worker.time_limit import TimeLimit
from worker.transitions import RETRY_FUNCTION
from worker.upkeep import Upkeep

log = structlog.get_logger()
CLOSING = 6.0
"""Seconds after the grace in which a worker has to have ended: to cancel handlers, give claims back, close."""


def functions() -> list[Function]:
    """The kit's two arq functions, without a time-out: handlers have theirs, and recording waits for Redis."""
    return [
        func(job.deliver, name=FUNCTION, timeout=math.inf, keep_result=0, max_tries=1_000_000),
        func(job.retry, name=RETRY_FUNCTION, timeout=math.inf, keep_result=0, max_tries=1_000_000),
    ]


def create_services(settings: WorkerSettings, table: RouteTable, redis: ArqRedis) -> Services:
    """What the jobs of one process need. Raises `SettingsError` if TRACES needs a package that is missing."""
    return Services(
        settings=settings,
        routes=table,
        outcomes=Outcomes(redis, Keys(settings.key_prefix), settings, settings.keep(), table.orders),
        memory=Memory(settings.max_held_bytes, settings.max_jobs),
        policy=settings.policy(),
        time_limit=TimeLimit(settings.handler_timeout),
        redis=redis,
        http=Client(),
        rng=random.Random(),  # noqa: S311 - jitter is no secret
        sightings=Sightings(redis, Keys(settings.key_prefix), settings.remember_events),
        traces=Traces(Keys(settings.key_prefix).queue) if settings.traces else None,
    )


def create_worker(
    settings: WorkerSettings, table: RouteTable, make_client: Callable[[], ArqRedis], **options: Any
) -> LeasedWorker:
    """The worker of this process; call it inside a running event loop."""
    services = create_services(settings, table, make_client())

    async def bury(claim: Claim, reason: str | BaseException) -> None:
        why = reason if isinstance(reason, str) else describe(reason)
        await burying.bury(services, claim.job_id, claim.data, why)

    async def on_shutdown(_: dict[Any, Any]) -> None:
        await services.outcomes.stop()
        await services.sightings.stop()
        await services.http.end()
        await services.redis.aclose()

    worker = LeasedWorker(
        functions(),
        connect=make_client,
        keys=Keys(settings.key_prefix),
        bury=bury,
        watch=Watch,
        lease=settings.lease,
        lines=table.lines,
        ctx={"services": services},
        max_jobs=settings.max_jobs,
        job_timeout=settings.handler_timeout,
        job_completion_wait=max(settings.shutdown_grace, 0.1),  # arq takes 0 for "do not even let them clean up"
        health_check_interval=5,
        keep_result=0,
        on_shutdown=on_shutdown,
        **options,
    )
    worker.room = lambda: services.memory.free // PER_BYTE
    return worker


async def run(settings: WorkerSettings, table: RouteTable, within: Within = lambda _: None) -> None:
    """Run until SIGINT or SIGTERM, then let running handlers end within the grace period.

    `within` is told in how many seconds the process has to have ended, once it was asked to.
    """
    alerts = load(AlertSettings)
    asyncio.get_running_loop().set_default_executor(Threads(max(settings.max_jobs, 32)))
    worker = create_worker(settings, table, lambda: connect(settings.redis_url.get_secret_value()))
    worker.stop_asked = lambda: within(settings.shutdown_grace + CLOSING)
    keys = Keys(settings.key_prefix)
    upkeep = Upkeep(worker.pool, keys, Claims(worker.pool, keys, keys.queue, settings.lease), worker.stop)
    alerting = Alerting(alerts, worker.pool, keys)
    with suppress(*REDIS_ERRORS):  # a Redis that is away is waited for
        async with asyncio.timeout(1):
            await upkeep.is_allowed()
    try:
        if worker.allow_pick_jobs and not upkeep.refused:  # a signal may have come meanwhile
            await _work(settings, table, worker, {"upkeep": upkeep.run, "alerts": alerting.run})
    finally:
        await worker.close()
    if upkeep.refused:
        raise SettingsError(*upkeep.refused)
    log.info("worker stopped")


async def _work(
    settings: WorkerSettings,
    table: RouteTable,
    worker: LeasedWorker,
    beside: Mapping[str, Run],
) -> None:
    """Work, with `beside` and what needs the worker in the background."""
    log.info("worker running", handlers=sorted(table.by_name))
    said = {"handlers": sorted(table.by_name), "modules": importing.importable(table)}
    reports = Reports(worker.pool, Keys(settings.key_prefix), "worker", lambda: {**said, "running": len(worker.tasks)})
    sightings = worker.ctx["services"].sightings
    announce = partial(_announce, settings, table, worker.pool)
    with suppress(asyncio.CancelledError):  # how arq ends its main loop
        try:
            async with background(announce=announce, reports=reports.run, sightings=sightings.run, **beside):
                await worker.async_run()
        finally:
            worker.allow_pick_jobs = False
            await reports.end()


async def _announce(settings: WorkerSettings, table: RouteTable, redis: ArqRedis) -> None:
    """Say every 5 seconds that this worker runs, and how: for `doctor` and `make run`, which cannot know otherwise."""
    names = ("handler_timeout", "lease", "shutdown_grace", "max_age", "dedupe_window", "max_body_bytes")
    about = {
        "handlers": sorted(table.by_name),
        "settings": variables.of_this_process(),
        **{name: getattr(settings, name) for name in names},
    }
    key = Keys(settings.key_prefix).worker(f"{socket.gethostname()}:{os.getpid()}")
    try:
        while True:
            with suppress(*REDIS_ERRORS):  # whoever claims tells of a Redis that is away
                await redis.set(key, json.dumps({**about, "dropped_log_lines": logs.dropped()}), ex=15)
            await asyncio.sleep(5)
    finally:
        with suppress(*REDIS_ERRORS):
            async with asyncio.timeout(0.5):
                await redis.delete(key)
