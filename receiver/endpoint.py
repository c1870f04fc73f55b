"""The sentence: who is it, how big, which key, stored, 200.

Glartek takes 200 and 201 as success and nothing else, waits ten seconds, and reads neither headers nor body of an
answer; so there is one good answer, given at once, and it is empty.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypedDict

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from receiver import auth
from receiver.delivery import Sources
from receiver.intake import Intake, NotStored
from receiver.settings import ReceiverSettings

log = structlog.get_logger()


class State(TypedDict):
    """What the lifespan hands to every request."""

    intake: Intake
    door: "Door"


class Door:
    """What a request is measured against, worked out once from the settings."""

    def __init__(self, settings: ReceiverSettings) -> None:
        self.tokens = [token.get_secret_value() for token in settings.webhook_token]
        self.signing_secrets = [secret.get_secret_value() for secret in settings.signing_secrets]
        self.sources: Sources = settings.sources()
        self.body_timeout = settings.body_timeout
        self.max_body_bytes = settings.max_body_bytes
        self.room = settings.max_buffered_bytes

    @asynccontextmanager
    async def room_for(self, request: Request[State]) -> AsyncIterator[None]:
        """Memory for one body, given back at the end. Raises 503 when all of it is in use."""
        size = int(request.headers.get("content-length", self.max_body_bytes))
        if size > self.room:
            raise HTTPException(503, headers={"retry-after": "1"})
        self.room -= size
        try:
            yield
        finally:
            self.room += size


async def receive(request: Request[State]) -> Response:
    """`POST /webhooks/glartek/{token}`: a 200 means that the delivery, or its equal, is safe on a disk."""
    door, intake = request.state["door"], request.state["intake"]
    if not auth.is_one_of(request.path_params["token"], door.tokens):
        raise HTTPException(404)
    async with door.room_for(request):
        body = await _body(request, within=door.body_timeout)
        headers = {name.lower(): value for name, value in request.headers.items()}
        if door.signing_secrets and not auth.verify(door.signing_secrets, headers, body, time.time()):
            raise HTTPException(401)
        delivery = door.sources.delivery(headers, body, time.time_ns() // 1000)
        try:
            fate = await intake.accept(delivery)
        except NotStored:
            raise HTTPException(503, headers={"retry-after": "5"}) from None
    log.debug(
        "accepted", delivery=delivery.id, fate=fate.name.lower(), source=delivery.source, type=delivery.event_type
    )
    return Response()


async def healthy(request: Request[State]) -> Response:
    """`GET /healthz`: 200 while deliveries can be stored somewhere."""
    intake = request.state["intake"]
    redis = "away" if intake.redis_away else "nearly full" if intake.redis_full else "ok"
    return JSONResponse({"status": "ok", "redis": redis, "spooled": intake.spool.depth})


async def refused(request: Request, error: Exception) -> Response:
    """Any answer that is not 200: as empty as the good one, and on the log, without the path that holds the token."""
    assert isinstance(error, HTTPException)  # noqa: S101 - Starlette calls this for HTTPException alone
    log.info("refused", status=error.status_code, method=request.method)
    return Response(status_code=error.status_code, headers=error.headers)


async def _body(request: Request[State], within: float) -> bytes:
    try:
        async with asyncio.timeout(within):
            return await request.body()
    except TimeoutError:
        raise HTTPException(408) from None
    except ClientDisconnect:
        raise HTTPException(400) from None  # the sender hung up in mid-request: nobody hears this answer
