"""The console put together: its paths, its Redis, its server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypedDict

import structlog
import uvicorn
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from redis.asyncio import Redis
from redis.exceptions import RedisError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from receiver.figures import read
from receiver.idempotency import IdempotencyRule
from receiver.port.listening import address, listen, run
from receiver.queue.connection import REDIS_ERRORS, connect
from receiver.queue.keys import Keys
from worker.console import dead_pages, delivery_pages, run_pages
from worker.console.access import Access, Gate
from worker.console.live import Live, kept_up, live
from worker.console.metrics import render
from worker.console.overview import Remembered, overview
from worker.console.page import HERE, problem, trouble_of
from worker.console.payload import Masking
from worker.console.runs import Runs
from worker.console.saved_test import saved_test
from worker.console.settings import ConsoleSettings

SCRAPE = 5.0
"""Seconds that a scrape waits for Redis; Prometheus waits for ten."""
log = structlog.get_logger()


class State(TypedDict):
    """What the lifespan hands to every request."""

    redis: Redis
    keys: Keys
    rule: IdempotencyRule
    masking: Masking
    runs: Runs
    live: Live
    remembered: Remembered


ROUTES = (
    Route("/", kept_up(overview)),
    Route("/deliveries", kept_up(delivery_pages.deliveries)),
    Route("/deliveries/{delivery}", kept_up(delivery_pages.delivery)),
    Route("/deliveries/{delivery}/replay", delivery_pages.replay, methods=["POST"]),
    Route("/dead", kept_up(dead_pages.groups)),
    Route("/dead/letters", dead_pages.letters),
    Route("/dead/letters/{letter:path}", dead_pages.letter),
    Route("/dead/tests/{letter:path}", saved_test),
    Route("/dead/note", dead_pages.note, methods=["POST"]),
    Route("/dead/preview", run_pages.preview),
    Route("/dead/run", run_pages.run, methods=["POST"]),
    Route("/runs", kept_up(run_pages.runs)),
    Route("/runs/{run}", kept_up(run_pages.show_run)),
    Route("/runs/{run}/stop", run_pages.stop_run, methods=["POST"]),
    Route("/live", live),
    Mount("/static", StaticFiles(directory=HERE / "static")),
)
"""The pages; `/healthz` and `/metrics` are beside them."""


def create_app(settings: ConsoleSettings) -> Starlette:
    """The ASGI application; it connects when it is first asked for something. Raises `SettingsError`."""
    masking = Masking(settings.masks(), settings)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[State]:
        redis, runs = connect(settings.redis_url.get_secret_value()), Runs()
        remembered = Remembered()
        try:
            yield {
                "redis": redis,
                "keys": Keys(settings.key_prefix),
                "rule": settings.idempotency_rule(),
                "masking": masking,
                "runs": runs,
                "live": Live(),
                "remembered": remembered,
            }
        finally:
            await runs.stop()
            await remembered.stop()
            await redis.aclose()

    return Starlette(
        routes=[Route("/healthz", healthz), Route("/metrics", metrics), *ROUTES],
        middleware=[Middleware(Gate, Access(settings))],
        exception_handlers={RedisError: redis_away, OSError: redis_away, ClientDisconnect: gone},
        lifespan=lifespan,
    )


async def redis_away(request: Request, error: Exception) -> Response:
    """What a page says while Redis does not answer, or refuses what it asks."""
    return await problem(request, 503, trouble_of(error))


async def gone(_: Request, __: Exception) -> Response:
    """For a browser that went in the middle of its form: nobody reads this, and nothing was changed."""
    return Response(status_code=400)


async def healthz(request: Request) -> JSONResponse:
    """200 while the console answers; `redis` says whether it sees anything (`ok` or `away`)."""
    try:
        await request.state.redis.get(request.state.keys.life)
    except REDIS_ERRORS:
        return JSONResponse({"status": "ok", "redis": "away"})
    return JSONResponse({"status": "ok", "redis": "ok"})


async def metrics(request: Request) -> Response:
    """Prometheus' scrape; a Redis that is away is one of its figures, and no reason to answer anything but 200."""
    try:
        async with asyncio.timeout(SCRAPE):
            figures = await read(request.state.redis, request.state.keys)
    except REDIS_ERRORS:
        figures = None
    return Response(render(figures), media_type=CONTENT_TYPE_PLAIN_0_0_4)


def serve(settings: ConsoleSettings) -> None:
    """Listen and answer until SIGINT or SIGTERM. Raises `SettingsError` where the address cannot be had."""
    with listen(settings.console_host, settings.console_port, "CONSOLE_") as listener:
        log.info("console listening", address=address(settings.console_host, listener.getsockname()[1]))
        config = uvicorn.Config(
            create_app(settings),
            log_config=None,  # structlog's
            access_log=False,
            server_header=False,
            proxy_headers=False,
            loop="uvloop",
            http="httptools",
            ws="none",
            timeout_graceful_shutdown=3,
        )
        run(uvicorn.Server(config), [listener])
