"""The receiver put together: the endpoint, and the intake behind it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from receiver.connection import connect
from receiver.endpoint import Endpoint, State, refused
from receiver.health import healthy
from receiver.intake import Intake
from receiver.keys import Keys
from receiver.port.bodies import Bodies
from receiver.port.connections import Connections, affordable
from receiver.settings import ReceiverSettings, SettingsError
from receiver.spool import Spool, SpoolError
from receiver.spool.drain import ALONE_SECONDS
from receiver.upkeep import Upkeep

BASE = "/webhooks/glartek"
PATH = f"{BASE}/{{token}}"


class Application(Starlette):
    """Starlette, and ahead of its middleware and routing the one request that matters.

    They take a tenth of the receiver's time, and have nothing to say to a POST of a delivery.
    """

    def __init__(self, endpoint: Endpoint, **options: Any) -> None:
        super().__init__(**options)
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            base, _, token = scope["path"].rpartition("/")
            if base == BASE:
                scope["path_params"] = {"token": token}
                await self._endpoint(scope, receive, send)
                return
        await super().__call__(scope, receive, send)


def create_app(settings: ReceiverSettings) -> Starlette:
    """The ASGI application. Raises `SettingsError` when the spool cannot be used; it connects when it starts."""
    try:
        spool = Spool(settings.spool_path)
    except SpoolError as error:
        raise SettingsError(f"SPOOL_PATH: cannot be used: {error}; expected a file that can be written") from None
    bodies = Bodies(settings.max_buffered_bytes, settings.body_timeout)
    connections = Connections(
        most=affordable(settings.max_connections),
        per_address=settings.max_connections_per_address,
        max_head_bytes=settings.max_head_bytes,
        head_timeout=settings.head_timeout,
        keep_alive=settings.keep_alive,
    )
    endpoint = Endpoint(settings, bodies)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[State]:
        redis = connect(settings.redis_url.get_secret_value(), timeout=0.5, retries=1)
        draining = connect(settings.redis_url.get_secret_value(), timeout=ALONE_SECONDS, retries=0)
        intake = Intake(redis, draining, Keys(settings.key_prefix), spool, settings.wait_replicas)
        patient = connect(settings.redis_url.get_secret_value(), timeout=5, retries=1)
        upkeep = Upkeep(patient, Keys(settings.key_prefix), settings.spool_path, replicas=settings.wait_replicas > 0)
        runs = (intake.watch.run(), upkeep.run(), bodies.run(), connections.run())
        watching = [asyncio.create_task(run) for run in runs]
        try:
            yield {"intake": intake, "connections": connections}
        finally:
            for task in watching:
                task.cancel()
            await asyncio.wait(watching)
            await intake.settle()
            await spool.close()
            await redis.aclose()
            await draining.aclose()
            await patient.aclose()

    application = Application(
        endpoint,
        routes=[
            Route(PATH, endpoint, methods=["POST"]),
            Route("/healthz", healthy, methods=["GET"]),
        ],
        exception_handlers={HTTPException: refused},
        lifespan=lifespan,
    )
    application.router.redirect_slashes = False  # a 307 is neither success nor refusal, and would repeat the token
    return application
