"""The textbook: `SET NX` against duplicates, `enqueue_job`, a stock arq worker, one job for each handler.

`python -m tests.bench.textbook receiver|worker`, with REDIS_SOCKET, PORT, JOBS (jobs for each event) and, for a worker
that is tuned as far as arq's own options go, TUNED=1.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from arq import Worker, create_pool, func
from arq.connections import RedisSettings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.bench.bare import serve
from tests.bench.handlers import note_start

SETTINGS = RedisSettings(unix_socket_path=os.environ.get("REDIS_SOCKET"))
JOBS = int(os.environ.get("JOBS", "1"))
TUNED: dict[str, Any] = {"max_jobs": 100, "queue_read_limit": 20_000, "poll_delay": 0.02}


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Any]]:
    yield {"redis": await create_pool(SETTINGS)}


async def receive(request: Request) -> Response:
    event = json.loads(await request.body())
    redis = request.state.redis
    if await redis.set(f"seen:{event['id']}", 1, nx=True, ex=7 * 86400):
        for number in range(JOBS):
            await redis.enqueue_job("handle", event, _job_id=f"{event['id']}:{number}")
    return Response()


async def handle(ctx: dict[str, Any], event: dict[str, Any]) -> None:  # noqa: ARG001 - arq goes by its name
    """A trivial handler; what arq keeps of it (a result, for an hour) is its outcome."""
    note_start(event)


def main(role: str) -> None:
    if role == "receiver":
        serve(Starlette(routes=[Route("/webhooks/glartek/{token}", receive, methods=["POST"])], lifespan=lifespan))
    else:
        asyncio.set_event_loop(asyncio.new_event_loop())
        Worker([func(handle)], redis_settings=SETTINGS, **(TUNED if os.environ.get("TUNED") else {})).run()


if __name__ == "__main__":
    main(sys.argv[1])
