"""Answers other than 200: empty, and logged without the path, because the path holds the token."""

import structlog
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from receiver.tally import tally

log = structlog.get_logger()


class RefusedAfterReading(HTTPException):
    """A refusal that leaves the connection open: the request was read completely, or the server is stopping."""


class OnlyFor:
    """An ASGI application for some methods. Others are answered 405; an HTTPException becomes an answer."""

    def __init__(self, application: ASGIApp, *methods: str) -> None:
        self._application, self._methods = application, methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._check(scope["method"])
            await self._application(scope, receive, send)
        except HTTPException as error:
            answer = _answer(scope, error)
        else:
            return
        await answer(scope, receive, send)  # outside of `except`: the exception keeps the received body in memory

    def _check(self, method: str) -> None:
        if method not in self._methods:
            raise HTTPException(405, headers={"allow": ", ".join(self._methods)})


class OnlyAt:
    """An ASGI application for one port: on every other one there is nothing at its path."""

    def __init__(self, application: ASGIApp, port: int) -> None:
        self._application, self._port = application, port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["server"][1] != self._port:
            raise HTTPException(404)
        await self._application(scope, receive, send)


async def not_found(scope: Scope, receive: Receive, send: Send) -> None:
    """The application for unknown paths: 404."""
    await _answer(scope, HTTPException(404))(scope, receive, send)


def _answer(scope: Scope, error: HTTPException) -> Response:
    tally.count(f"refused {error.status_code}")
    log.info("refused", status=error.status_code, method=scope["method"])
    ending = {} if isinstance(error, RefusedAfterReading) else {"connection": "close"}
    return Response(status_code=error.status_code, headers={**(error.headers or {}), **ending})
