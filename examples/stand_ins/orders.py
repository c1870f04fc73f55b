"""Failures that a test or a user requests from a stand-in."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

WANTED = (
    'expected {"answers": [503, …], "retry_after": 2, "delay": 0.5, "applied": false, "page": false, '
    '"method": "PATCH"}, all optional'
)


@dataclass
class Orders:
    """The statuses of the next answers, their `Retry-After`, and a delay of every answer in seconds.

    `applied`: the system applies the request before it fails, as when an answer is lost. `page`: the answers are HTML,
    such as a login page with 200, or the page of a hibernating instance. `method`: only for requests of this method.
    """

    answers: deque[int] = field(default_factory=deque)
    retry_after: str | None = None
    delay: float = 0.0
    applied: bool = False
    page: bool = False
    method: str | None = None

    @classmethod
    def parse(cls, wanted: Mapping[str, Any]) -> "Orders":
        """The orders in a control request. Raises ValueError, TypeError or AttributeError."""
        after = wanted.get("retry_after")
        return cls(
            answers=deque(int(status) for status in wanted.get("answers", ())),
            retry_after=str(after) if after is not None else None,
            delay=float(wanted.get("delay", 0.0)),
            applied=bool(wanted.get("applied", False)),
            page=bool(wanted.get("page", False)),
            method=wanted.get("method"),
        )

    async def answer(self, request: Request, do: Callable[[Request], Awaitable[Response]]) -> Response:
        """The answer of `do`, or the ordered failure; with `applied`, `do` runs before the failure."""
        failure = await self.next_failure(request.method)
        if failure is None or self.applied:
            done = await do(request)
        return failure or done

    async def next_failure(self, method: str | None = None) -> Response | None:
        """Wait for the delay and return the failure ordered for this request; None for a normal answer."""
        if self.delay:
            await asyncio.sleep(self.delay)
        if not self.answers or self.method not in {None, method}:
            return None
        headers = {"retry-after": self.retry_after} if self.retry_after is not None else None
        if self.page:
            return HTMLResponse("<!doctype html><title>Log in</title>", self.answers.popleft(), headers)
        return JSONResponse({"error": "as ordered"}, self.answers.popleft(), headers)
