"""`GET /live`: tells a page that something has changed, by server-sent events; the page then asks for itself anew.

No content is sent here, so escaping and masking are done in one place, where the page is made. A page carries a mark of
what there was when it was begun, and names it here: what arrives before its stream is open is not missed.
"""

import asyncio
import functools
import hashlib
from collections.abc import AsyncIterator

from redis.asyncio import Redis
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from receiver.queue.connection import REDIS_ERRORS
from receiver.queue.keys import Keys
from worker.console.page import Endpoint

EVERY = 1.0
"""Seconds between two looks."""
MOST = 32
"""Pages that are kept up to date at once, by one console; others show what was when they were loaded."""


class Live:
    """How many pages listen."""

    def __init__(self) -> None:
        self.listening = 0


def kept_up(page: Endpoint) -> Endpoint:
    """A page that is loaded again after a change: its mark is taken before anything on it is read."""

    @functools.wraps(page)
    async def marked(request: Request) -> Response:
        request.state.mark = await _mark(request.state.redis, request.state.keys)
        return await page(request)

    return marked


async def live(request: Request) -> Response:
    """A stream that lasts as long as the page is open and not hidden; `since` is the page's mark, "" without one."""
    state = request.state
    if state.live.listening >= MOST:
        return PlainTextResponse("too many pages are open; load this one again to see what is new\n", 503)
    headers = {"x-accel-buffering": "no"}
    return StreamingResponse(
        _changes(state.redis, state.keys, state.live, request.query_params.get("since", "")),
        media_type="text/event-stream",
        headers=headers,
    )


async def _changes(redis: Redis, keys: Keys, listeners: Live, last: str) -> AsyncIterator[str]:
    listeners.listening += 1
    try:
        yield "retry: 3000\n\n"
        while True:
            try:
                now = await _mark(redis, keys)
            except REDIS_ERRORS:
                now = "away"
            if last and now != last:
                yield "event: changed\ndata: \n\n"
            else:
                yield ": \n\n"  # so that a page that is gone is noticed
            last = now
            await asyncio.sleep(EVERY)
    finally:
        listeners.listening -= 1


async def _mark(redis: Redis, keys: Keys) -> str:
    """A text that differs once a page would."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.hgetall(keys.counts)
        pipe.zcard(keys.dead)
        pipe.zcard(keys.queue)
        pipe.zcard(keys.leases)
        told = await pipe.execute()
    return hashlib.sha256(repr([sorted(told[0].items()), *told[1:]]).encode()).hexdigest()[:16]
