"""The sentence: who is it, how big, which key, stored, 200.

Glartek takes 200 and 201 as success and nothing else, waits ten seconds, and reads neither headers nor body of an
answer; so there is one good answer, given at once, and it is empty.

The endpoint is an ASGI application of its own: what Starlette would put between (a request object, a body limit that
looks at the headers again, a timer for each body) costs more than the delivery itself.
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TypedDict

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send

from receiver import auth
from receiver.intake import Intake, NotStored
from receiver.settings import ReceiverSettings

LINGER_SECONDS = 1.0
LINGER_BYTES = 2 * 1024 * 1024
ACCEPTED: tuple[Message, ...] = (
    {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]},
    {"type": "http.response.body"},
)

log = structlog.get_logger()


class State(TypedDict):
    """What the lifespan hands to every request."""

    intake: Intake


class Endpoint:
    """`POST /webhooks/glartek/{token}`: a 200 means that the delivery, or its equal, is safe on a disk."""

    def __init__(self, settings: ReceiverSettings) -> None:
        self._tokens = [token.get_secret_value() for token in settings.webhook_token]
        self._signing_secrets = [secret.get_secret_value() for secret in settings.signing_secrets]
        self._sources = settings.sources()
        self._max_body_bytes = settings.max_body_bytes
        self._room = settings.max_buffered_bytes
        self.patience = Patience(settings.body_timeout)
        self._log = log.bind()  # made ready once: the module's is looked up anew at each call

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._store(scope, receive)
        except HTTPException as error:
            answer = await refused(Request(scope), error)
            await answer(scope, receive, send)
        else:
            for message in ACCEPTED:
                await send(message)

    async def _store(self, scope: Scope, receive: Receive) -> None:
        """Return once the delivery is safe. Raises HTTPException with the status of any other answer."""
        if not auth.is_one_of(scope["path_params"]["token"], self._tokens):
            raise HTTPException(404)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        size = self._expected_size(headers)
        self._room -= size
        try:
            body = await self._read(receive)
            if self._signing_secrets and not auth.verify(self._signing_secrets, headers, body, time.time()):
                raise RefusedAfterReading(401)
            delivery = self._sources.delivery(headers, body, time.time_ns() // 1000)
            fate = await scope["state"]["intake"].accept(delivery)
        except NotStored:
            raise RefusedAfterReading(503, headers={"retry-after": "5"}) from None
        except asyncio.CancelledError:  # the server stops and has waited long enough for this sender
            raise RefusedAfterReading(503, headers={"retry-after": "1"}) from None
        finally:
            self._room += size
        self._log.debug("accepted", delivery=delivery.id, fate=fate.name.lower(), key_from=delivery.source)

    def _expected_size(self, headers: Mapping[str, str]) -> int:
        """Bytes to keep free for this body. Raises 413 when it says that it is too large, 503 when there is no room."""
        size = int(headers.get("content-length", self._max_body_bytes))
        if size > self._max_body_bytes:
            raise HTTPException(413)
        if size > self._room:
            raise HTTPException(503, headers={"retry-after": "1"})
        return size

    async def _read(self, receive: Receive) -> bytes:
        """The whole body. Raises 413 as soon as there is too much of it, 408 when it does not arrive in time."""
        parts, size, more = [], 0, True
        with self.patience:
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise HTTPException(400)  # the sender hung up in mid-request: nobody hears this answer
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                more = message.get("more_body", False)
                if size > self._max_body_bytes:
                    raise HTTPException(413)
        return b"".join(parts)


class Patience:
    """How long a body may take: one clock for all of them, because a timer for each costs as much as its parsing.

    `with patience:` around the waiting; `run` must be running, and looks four times a second.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting: dict[asyncio.Task[object], float] = {}
        self._late: set[asyncio.Task[object]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> None:
        self._waiting[self._this_task()] = time.monotonic() + self._seconds

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        task = self._this_task()
        self._waiting.pop(task, None)
        if task in self._late:
            self._late.discard(task)
            if kind is asyncio.CancelledError and not task.uncancel():
                raise HTTPException(408)

    async def run(self) -> None:
        """Cancel whoever waits too long; it comes out of its `with` as a 408."""
        self._loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(0.25)
            now = time.monotonic()
            for task in [task for task, deadline in self._waiting.items() if deadline < now]:
                del self._waiting[task]
                self._late.add(task)
                task.cancel()

    def _this_task(self) -> asyncio.Task[object]:
        task = asyncio.current_task(self._loop)  # told the loop it need not ask the system whose process this is
        assert task is not None  # noqa: S101 - an ASGI application runs in a task
        return task


async def healthy(request: Request[State]) -> Response:
    """`GET /healthz`: 200 while deliveries can be stored somewhere."""
    intake = request.state["intake"]
    redis = "away" if intake.redis_away else "nearly full" if intake.redis_full else "ok"
    return JSONResponse({"status": "ok", "redis": redis, "spooled": intake.spool.depth})


class RefusedAfterReading(HTTPException):
    """A refusal after which nothing more is read: the request was, or the server stops."""


async def refused(request: Request, error: Exception) -> Response:
    """Any answer that is not 200: as empty as the good one, and on the log, without the path that holds the token."""
    assert isinstance(error, HTTPException)  # noqa: S101 - Starlette calls this for HTTPException alone
    log.info("refused", status=error.status_code, method=request.method)
    answer = Response if isinstance(error, RefusedAfterReading) else Refusal
    return answer(status_code=error.status_code, headers=error.headers)


class Refusal(Response):
    """A refusal that did not wait for the body; it closes the connection if there is more of it.

    Otherwise the server would go on reading what nobody wants. What is on its way is read for a moment and thrown
    away: closing at once would reset the connection, and the sender might never see the answer (RFC 9112, 9.6).
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        headers = [*self.raw_headers, (b"connection", b"close")]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        await send({"type": "http.response.body", "more_body": True})
        thrown_away, more = 0, True
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while more and thrown_away < LINGER_BYTES:
                    message = await receive()
                    thrown_away += len(message.get("body", b""))
                    more = message.get("more_body", False)
        await send({"type": "http.response.body"})
