"""One handler run by itself, without queue and outcomes: what came of it, and which HTTP requests it made."""

import asyncio
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import httpx2

from receiver.client import Client
from worker.error_text import describe
from worker.event import Event
from worker.handler import Context, Handler, RetryLater, Skip, finished
from worker.retries import Again, Policy, decide
from worker.tracing import place

Answer = int | httpx2.Response | Callable[[httpx2.Request], httpx2.Response]
"""What a request is answered: a status, a response, or a function that makes one of the request."""


class Sent(NamedTuple):
    """An HTTP request that a handler made. Header names are in lower case."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON. Raises ValueError when it is none."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one run of a handler.

    `reason` says why for all but done. `seconds` is the wait that a `RetryLater` asked for, None where the kit's own
    back-off decides. `at` is the line at which the handler failed, `error` what it raised.
    """

    state: Literal["done", "skipped", "retry", "dead"]
    reason: str = ""
    seconds: float | None = None
    at: str = ""
    error: BaseException | None = None
    requests: Sequence[Sent] = ()


def answering(*answers: Answer) -> httpx2.AsyncClient:
    """A client that sends nothing: its requests get these answers in turn, and the last one from then on."""
    left = list(answers) or [200]

    def answer(request: httpx2.Request) -> httpx2.Response:
        chosen = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(chosen, int):
            return httpx2.Response(chosen, json={})
        if isinstance(chosen, httpx2.Response):
            return httpx2.Response(chosen.status_code, headers=chosen.headers, content=chosen.content)
        return chosen(request)

    return Client(transport=httpx2.MockTransport(answer))


async def run(handler: Handler, event: Event, ctx: Context, *, limit: float = 30.0) -> Result:
    """Run the handler once, for `limit` seconds at most; its requests through `ctx.http` are in the result."""
    sent: list[Sent] = []

    async def record(request: httpx2.Request) -> None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        sent.append(Sent(request.method, str(request.url), headers, await request.aread()))

    hooks = ctx.http.event_hooks["request"]
    hooks.append(record)
    try:
        async with asyncio.timeout(limit):
            await finished(handler, event, ctx)
    except BaseException as error:
        task = asyncio.current_task()
        if isinstance(error, KeyboardInterrupt) or (task and task.cancelling()):
            raise  # Ctrl-C, not the handler
        return _failed(error, ctx.attempt, sent)
    finally:
        hooks.remove(record)
    return Result("done", requests=sent)


def _failed(error: BaseException, attempt: int, sent: Sequence[Sent]) -> Result:
    if isinstance(error, Skip):
        return Result("skipped", describe(error), error=error, requests=sent)
    decision = decide(error, attempt - 1, 0, Policy(), random.Random(0))  # noqa: S311 - of a wait that nobody waits
    if isinstance(decision, Again):
        seconds = decision.wait if isinstance(error, RetryLater) else None
        return Result("retry", decision.reason, seconds, place(error), error, sent)
    return Result("dead", decision.reason, None, place(error), error, sent)
