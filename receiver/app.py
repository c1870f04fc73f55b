"""The receiver put together: routes, the intake behind them, and what refuses a body politely."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from receiver.connection import connect
from receiver.endpoint import Door, State, healthy, receive, refused
from receiver.intake import Intake
from receiver.keys import Keys
from receiver.settings import ReceiverSettings, SettingsError
from receiver.spool import Spool, SpoolError

PATH = "/webhooks/glartek/{token}"
LINGER_SECONDS = 1.0
LINGER_BYTES = 2 * 1024 * 1024
Headers = list[tuple[bytes, bytes]]


def create_app(settings: ReceiverSettings) -> Starlette:
    """The ASGI application. Raises `SettingsError` when the spool cannot be used; it connects when it starts."""
    try:
        spool = Spool(settings.spool_path)
    except SpoolError as error:
        raise SettingsError(f"SPOOL_PATH: cannot be used: {error}; expected a file that can be written") from None

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[State]:
        redis = connect(settings.redis_url.get_secret_value(), timeout=0.5, retries=1)
        intake = Intake(redis, Keys(settings.key_prefix), spool)
        watching = asyncio.create_task(intake.watch())
        try:
            yield {"intake": intake, "door": Door(settings)}
        finally:
            watching.cancel()
            await asyncio.wait([watching])
            await intake.settle()
            await spool.close()
            await redis.aclose()

    application = Starlette(
        routes=[
            Route(PATH, receive, methods=["POST"], max_body_size=settings.max_body_bytes),
            Route("/healthz", healthy, methods=["GET"]),
        ],
        middleware=[Middleware(RefusePolitely)],
        exception_handlers={HTTPException: refused},
        lifespan=lifespan,
    )
    application.router.redirect_slashes = False  # a 307 is neither success nor refusal, and would repeat the token
    return application


class RefusePolitely:
    """Makes every refusal empty, and closes the connection after one that did not wait for the whole body.

    Otherwise the server would go on reading what nobody wants. What is on its way is read for a moment and thrown
    away: closing at once would reset the connection, and the sender might never see the answer (RFC 9112, 9.6).
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = refused = complete = False

        async def watched_receive() -> Message:
            nonlocal complete
            message = await receive()
            complete = not message.get("more_body", False)
            return message

        async def polite_send(message: Message) -> None:
            nonlocal started, refused
            if message["type"] == "http.response.start":
                started = True
                refused = message["status"] >= HTTPStatus.BAD_REQUEST
                if refused:
                    message["headers"] = _refusal_headers(message["headers"], complete=complete)
            elif refused:
                await send({"type": "http.response.body", "more_body": True})
                await _linger(watched_receive, lambda: complete)
                message = {"type": "http.response.body"}
            await send(message)

        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            await self.app(scope, watched_receive, polite_send)
        except asyncio.CancelledError:  # the server stops and has waited long enough for this sender
            if not started:
                headers = _refusal_headers([(b"retry-after", b"1")], complete=False)
                await send({"type": "http.response.start", "status": 503, "headers": headers})
            await send({"type": "http.response.body"})


def _refusal_headers(headers: Headers, *, complete: bool) -> Headers:
    kept = [(name, value) for name, value in headers if name in {b"allow", b"retry-after"}]
    return [*kept, (b"content-length", b"0"), *([] if complete else [(b"connection", b"close")])]


async def _linger(receive: Receive, complete: Callable[[], bool]) -> None:
    size = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while not complete() and size < LINGER_BYTES:
                size += len((await receive()).get("body", b""))
