"""The receiver put together: the endpoint, and the intake behind it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route

from receiver.connection import connect
from receiver.endpoint import Endpoint, State, healthy, refused
from receiver.intake import Intake
from receiver.keys import Keys
from receiver.settings import ReceiverSettings, SettingsError
from receiver.spool import Spool, SpoolError

PATH = "/webhooks/glartek/{token}"


def create_app(settings: ReceiverSettings) -> Starlette:
    """The ASGI application. Raises `SettingsError` when the spool cannot be used; it connects when it starts."""
    try:
        spool = Spool(settings.spool_path)
    except SpoolError as error:
        raise SettingsError(f"SPOOL_PATH: cannot be used: {error}; expected a file that can be written") from None
    endpoint = Endpoint(settings)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[State]:
        redis = connect(settings.redis_url.get_secret_value(), timeout=0.5, retries=1)
        intake = Intake(redis, Keys(settings.key_prefix), spool, settings.wait_replicas)
        watching = [asyncio.create_task(watch) for watch in (intake.watch(), endpoint.patience.run())]
        try:
            yield {"intake": intake}
        finally:
            for task in watching:
                task.cancel()
            await asyncio.wait(watching)
            await intake.settle()
            await spool.close()
            await redis.aclose()

    application = Starlette(
        routes=[
            Route(PATH, endpoint, methods=["POST"]),
            Route("/healthz", healthy, methods=["GET"]),
        ],
        exception_handlers={HTTPException: refused},
        lifespan=lifespan,
    )
    application.router.redirect_slashes = False  # a 307 is neither success nor refusal, and would repeat the token
    return application
