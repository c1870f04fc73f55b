"""Failures to order from a stand-in."""

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
    """The next answers' statuses, what they say of `Retry-After`, and a delay of every answer in seconds.

    With `applied` the system does what it is asked before it fails: an answer that got lost. With `page` the answers
    are HTML: with 200 a login page, or that of an instance that hibernates. With `method` they are for its requests.
    """

    answers: deque[int] = field(default_factory=deque)
    retry_after: str | None = None
    delay: float = 0.0
    applied: bool = False
    page: bool = False
    method: str | None = None

    @classmethod
    def parse(cls, wanted: Mapping[str, Any]) -> "Orders":
        """What a control request asks for. Raises ValueError, TypeError or AttributeError."""
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
        """What `do` answers, or the failure that was ordered; with `applied` it is done before it fails."""
        failure = await self.next_failure(request.method)
        if failure is None or self.applied:
            done = await do(request)
        return failure or done

    async def next_failure(self, method: str | None = None) -> Response | None:
        """The answer that was ordered for this request, after the delay; None when it is to be answered as usual."""
        if self.delay:
            await asyncio.sleep(self.delay)
        if not self.answers or self.method not in {None, method}:
            return None
        headers = {"retry-after": self.retry_after} if self.retry_after is not None else None
        if self.page:
            return HTMLResponse("<!doctype html><title>Log in</title>", self.answers.popleft(), headers)
        return JSONResponse({"error": "as ordered"}, self.answers.popleft(), headers)
