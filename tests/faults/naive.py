"""A naive receiver without protection against crashes: SET NX, `enqueue_job`, a stock arq worker.

`python -m tests.faults.naive receiver|worker`. The harness has to find that it loses events, which shows that it would
find a loss by the kit.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from arq import Retry, Worker, create_pool
from arq.connections import RedisSettings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.faults.handlers import NAMES, act
from worker.handler import GiveUp


def redis_settings() -> RedisSettings:
    url = urlsplit(os.environ["REDIS_URL"])
    return RedisSettings(host=url.hostname or "", port=url.port or 6379)


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Any]]:
    yield {"redis": await create_pool(redis_settings())}


async def receive(request: Request) -> Response:
    body = await request.body()
    event = json.loads(body)["id"]
    if await request.state.redis.set(f"seen:{event}", 1, nx=True):
        await request.state.redis.enqueue_job("handle", event, _job_id=event)
    return Response()


async def healthy(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def handle(ctx: dict[str, Any], event: str) -> None:
    """Run all three handlers; if one fails, run all again after a second."""
    results = await asyncio.gather(*(act(event, name, ctx["job_try"]) for name in NAMES), return_exceptions=True)
    if any(isinstance(result, Exception) and not isinstance(result, GiveUp) for result in results):
        raise Retry(defer=1)


def app() -> Starlette:
    routes = [Route("/webhooks/glartek/{token}", receive, methods=["POST"]), Route("/healthz", healthy)]
    return Starlette(routes=routes, lifespan=lifespan)


def main(role: str) -> None:
    if role == "receiver":
        uvicorn.run(app(), port=int(os.environ["PORT"]), log_level="warning")
    else:
        Worker([handle], redis_settings=redis_settings()).run()


if __name__ == "__main__":
    main(sys.argv[1])
